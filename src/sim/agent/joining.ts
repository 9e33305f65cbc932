/**
 * How a host without an identity becomes a member again, as src/agent/main.ts and src/rpc/join.ts have it: it asks one
 * control node after the other until one has written its record. Of its certificate only the number is played, and no
 * token: somebody makes a new one as often as one is used up.
 */
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import { change } from '../../control/backend/changes.ts';
import { MACHINE_CERTIFICATE_DAYS } from '../../core/model/certificate.ts';
import { type Joining, joinChange } from '../../core/request/joining.ts';
import { joinedCertificate } from '../../core/request/member-certificates.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { Topology } from '../machines/topology.ts';
import { addressOf } from '../network/addresses.ts';
import type { Hop } from '../network/network.ts';

/** Less than a person would wait, so that a run has many attempts. */
const DEADLINE_MS = 3_000;
const RETRY_MS = 500;
/** Life of a machine's certificate, in ms. */
const LIFE_MS = MACHINE_CERTIFICATE_DAYS * 86_400_000;

/** As the host says who it is when it joins. */
export function hostJoining(name: HostName): Joining {
  const control = addressOf('control', name);
  const [storage, overlay] = [addressOf('storage', name), addressOf('overlay', name)];
  return { role: 'host', name, addresses: { control, storage, overlay } };
}

/**
 * Resolves with the number of its certificate when the record of the host was written; `process` is its agent.
 */
export async function joinPatiently(
  topology: Topology,
  process: SimProcess,
  { name, nextSerial }: { readonly name: HostName; readonly nextSerial: () => string },
): Promise<string> {
  for (;;) {
    for (const control of topology.controls.values()) {
      const hop: Hop = { network: 'control', to: control.machine, process: () => control.process };
      // An attempt whose answer was lost may have been carried out: its certificate is denied by the next one.
      const serial = nextSerial();
      const how = { deadlineMs: DEADLINE_MS, what: `The control node ${control.name}` };
      try {
        await topology.network.call(process, [hop], how, async () => {
          const { context: changes } = control;
          if (changes === null) throw new CodedError('unavailable', `${control.name} does not serve.`);
          await change(changes, (basis) => {
            const { now } = basis;
            const issued = { serial, notBefore: now, notAfter: now + LIFE_MS, authority: '' };
            const certified = joinedCertificate(basis, { kind: 'host', name }, issued);
            return { changes: [joinChange(basis, hostJoining(name)), certified], result: null };
          });
        });
        return serial;
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
      }
    }
    await sleep(process, RETRY_MS);
  }
}
