/**
 * The controller's side of the machines' identities (core/ports/identity-link.ts), over mutual TLS. Guarantees: answers
 * are checked; the key of an authority goes to control nodes only, and reports of other machines about authorities are
 * ignored.
 */
import { CodedError } from '../../base/errors.ts';
import { parseControlName, parseHostName, parseStorageName } from '../../base/ids.ts';
import type { MachineIdentity } from '../../base/machine-identity.ts';
import { PORTS } from '../../core/model/ports.ts';
import type { IdentityLink, MachineRef } from '../../core/ports/identity-link.ts';
import type { Snapshot } from '../../core/ports/store.ts';
import type { RpcTarget } from '../../rpc/client.ts';
import { arrayOf, integer, nullable, openObject, optional, type Parser, text } from '../../rpc/parse.ts';
import type { HostClients } from './host-link.ts';

const parseIdentity: Parser<MachineIdentity> = openObject({
  certificate: openObject({
    serial: text({ charsMax: 64, pattern: /^[0-9A-F]+$/ }),
    notBefore: integer({ min: 0 }),
    notAfter: integer({ min: 0 }),
    authority: text({ charsMax: 100 }),
  }),
  requestPem: text({ charsMax: 16_384 }),
  trust: nullable(text({ charsMax: 200 })),
  authorities: optional(arrayOf(text({ charsMax: 100 }), { itemsMax: 16 })),
});
const anything: Parser<void> = () => undefined;

/** All machines of the cluster, reached at their control addresses. */
export function createIdentityLink(
  clients: HostClients,
  snapshot: Pick<Snapshot, 'hosts' | 'storage' | 'controls'>,
): IdentityLink {
  const to = (machine: MachineRef): ReturnType<HostClients['to']> => clients.to(targetOf(machine, snapshot));
  return {
    read: async (machine, { deadlineMs }) => {
      const said = await to(machine).call({ method: 'GET', path: '/v1/identity', deadlineMs, parse: parseIdentity });
      return machine.kind === 'control' ? said : { ...said, authorities: undefined };
    },
    give: async (machine, order, { deadlineMs }) => {
      if (order.authority !== undefined && machine.kind !== 'control')
        throw new CodedError('bad-input', `${machine.kind} ${machine.name} may not have the key of an authority.`, {
          advice: 'Nothing was sent.',
        });
      await to(machine).call({ method: 'PUT', path: '/v1/identity', body: order, deadlineMs, parse: anything });
    },
  };
}

function targetOf(
  { kind, name }: MachineRef,
  { hosts, storage, controls }: Pick<Snapshot, 'hosts' | 'storage' | 'controls'>,
): RpcTarget {
  const missing = (): never => {
    throw new CodedError('conflict', `${kind} ${name} is no member of the cluster.`);
  };
  switch (kind) {
    case 'host': {
      const host = parseHostName(name);
      const address = hosts.get(host)?.value.addresses.control ?? missing();
      return { address, port: PORTS.agent, identity: { kind, name: host } };
    }
    case 'storage': {
      const node = parseStorageName(name);
      const address = storage.get(node)?.value.addresses.control ?? missing();
      return { address, port: PORTS.storage, identity: { kind, name: node } };
    }
    case 'control': {
      const address = controls.get(name)?.value.address ?? missing();
      return { address, port: PORTS.controlPeer, identity: { kind, name: parseControlName(name) } };
    }
  }
}
