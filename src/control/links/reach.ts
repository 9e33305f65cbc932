/**
 * Measures which machines a control node reaches, from here or by another control node's peer service
 * (core/ports/reach.ts). Both try in the same way, so that their answers compare.
 */
import type { ControlName, HostName, StorageName } from '../../base/ids.ts';
import { PORTS } from '../../core/model/ports.ts';
import { REACH_TARGETS_MAX, type Reach, type ReachTarget } from '../../core/ports/reach.ts';
import type { Snapshot } from '../../core/ports/store.ts';
import { probeTcp } from '../../os/tcp-probe.ts';
import { arrayOf, nullable, openObject, parseBoolean } from '../../rpc/parse.ts';
import type { RpcClients } from './clients.ts';

/** Time that a peer gets beyond the deadline of its attempts, in ms. */
const ANSWER_MS = 300;

export interface ReachAddress {
  readonly address: string;
  readonly port: number;
}

const parseMet = openObject({
  /**
   * Asks a peer; results are by position. Null if the peer gives no result: its process was not scheduled in time, or
   * does not follow etcd.
   */
  met: nullable(arrayOf(parseBoolean, { itemsMax: REACH_TARGETS_MAX })),
});

/**
 * Tries one TCP connection to each address, all at once, and returns whether its kernel answered. Null if this process
 * was not scheduled in time.
 */
export async function tryAll(targets: readonly ReachAddress[], deadlineMs: number): Promise<readonly boolean[] | null> {
  const tried = await Promise.all(targets.map((target) => probeTcp(target, deadlineMs)));
  if (tried.some(({ outcome, lateMs }) => outcome === 'void' && lateMs > 0)) return null;
  return tried.map(({ outcome }) => outcome === 'accepted' || outcome === 'refused');
}

/** Measures reach from this control node and from those in its configuration. */
export function createReach(options: {
  readonly self: string;
  readonly clients: RpcClients;
  readonly snapshot: Pick<Snapshot, 'hosts' | 'storage'>;
  readonly controls: () => readonly { readonly name: string; readonly address: string }[];
}): Reach {
  const { self, clients, snapshot, controls } = options;
  const ask = async (
    name: string,
    targets: readonly ReachAddress[],
    deadlineMs: number,
  ): Promise<readonly boolean[] | null> => {
    const address = controls().find((control) => control.name === name)?.address;
    if (address === undefined) return null;
    const identity = { kind: 'control', name: name as ControlName } as const;
    const peer = clients.to({ address, port: PORTS.controlPeer, identity });
    const body = { targets, deadlineMs };
    const order = { method: 'POST', path: '/v1/reach', body, deadlineMs: deadlineMs + ANSWER_MS } as const;
    return (await peer.call({ ...order, parse: parseMet })).met;
  };
  return {
    self,
    peers: () => controls().flatMap(({ name }) => (name === self ? [] : [name])),
    tryFrom: async (from, targets, deadlineMs) => {
      const known = targets.flatMap((target) => {
        const address = addressOf(snapshot, target);
        return address === undefined ? [] : [{ target, address }];
      });
      const addresses = known.map(({ address }) => address);
      try {
        const met = await (from === self ? tryAll(addresses, deadlineMs) : ask(from, addresses, deadlineMs));
        if (met === null || met.length !== known.length) return null;
        return new Set(known.flatMap(({ target }, i) => (met[i] === true ? [target] : [])));
      } catch {
        // The peer did not answer: as far as this node can know, it could not lead either.
        return null;
      }
    },
  };
}

function addressOf(
  { hosts, storage }: Pick<Snapshot, 'hosts' | 'storage'>,
  { kind, name }: ReachTarget,
): ReachAddress | undefined {
  const record = kind === 'host' ? hosts.get(name as HostName) : storage.get(name as StorageName);
  if (record === undefined) return undefined;
  const port = kind === 'host' ? PORTS.agent : PORTS.storage;
  return { address: record.value.addresses.control, port };
}
