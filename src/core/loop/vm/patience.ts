/**
 * Limits how long a leader waits for one host. Guarantees: the wait for a launch ends shortly after the host's agent
 * stops answering; a result that arrives later is recorded, and changes nothing for an earlier generation.
 */
import { CodedError } from '../../../base/errors.ts';
import type { HostObservation } from '../../model/observation.ts';
import type { VmRecord } from '../../model/vm.ts';
import { hasLostPatience } from '../../plan/vm/decision.ts';
import type { Step } from '../../plan/vm/steps.ts';
import { LOST_ROUNDS } from '../../plan/vm/verdict.ts';
import type { Clock } from '../../ports/clock.ts';
import type { HostObserver } from '../observe/host-observer.ts';
import type { Acknowledgements } from './acknowledgements.ts';
import type { Executor } from './executor.ts';

const LOOK_MS = 250;

export interface PatiencePorts {
  readonly clock: Clock;
  readonly executor: Pick<Executor, 'perform'>;
  readonly observer: Pick<HostObserver, 'see'>;
}

/** Runs a step, and gives up a launch on a host that stopped answering: CodedError 'deadline'. */
export function orderPatiently(ports: PatiencePorts, vm: VmRecord, step: Step, notes: Acknowledgements): Promise<void> {
  const { clock, executor, observer } = ports;
  // From here on the guest may run, whatever the order's outcome.
  if (step.do === 'cont') notes.neverContinued.delete(step.incarnation.generation);
  const ordered = executor.perform(vm, step, notes);
  if (step.do !== 'launch') return ordered;
  const { generation, host } = step.incarnation;
  const launched = ordered.then(() => notes.waitsSince(generation, clock.monotonicMs()));
  return whileAgentAnswers(launched, clock, () => observer.see(host));
}

function whileAgentAnswers(order: Promise<void>, clock: Clock, see: () => HostObservation): Promise<void> {
  const since = clock.monotonicMs();
  return new Promise((resolve, reject) => {
    const look = (): void => {
      const host = see();
      const isGone = host.agent === 'silent' && host.kernel.kind === 'silent' && host.kernel.rounds >= LOST_ROUNDS;
      if (isGone || hasLostPatience(host, clock.monotonicMs() - since))
        reject(new CodedError('deadline', `The agent of ${host.host} stopped answering.`));
      else cancel = clock.after(LOOK_MS, look);
    };
    let cancel = clock.after(LOOK_MS, look);
    const end = (): void => cancel();
    order.then(resolve, reject).then(end, end);
  });
}
