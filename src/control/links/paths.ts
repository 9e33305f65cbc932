/** The paths from a control node to hosts (core/model/paths.ts), with the relays that stand on them. */
import { CodedError } from '../../base/errors.ts';
import type { ControlName, StorageName } from '../../base/ids.ts';
import { addressOn, type Path, pathsFrom } from '../../core/model/paths.ts';
import { PORTS } from '../../core/model/ports.ts';
import type { Paths } from '../../core/ports/paths.ts';
import type { StorageLink } from '../../core/ports/storage-link.ts';
import type { Snapshot } from '../../core/ports/store.ts';
import { probeTcp } from '../../os/tcp-probe.ts';
import type { RpcClient } from '../../rpc/client.ts';
import type { RpcClients } from './clients.ts';
import { parseProbe } from './storage-link.ts';

export interface PathsOptions {
  readonly self: string;
  readonly clients: RpcClients;
  readonly snapshot: Pick<Snapshot, 'storage'>;
  readonly storage: StorageLink & { client(node: StorageName): RpcClient };
  readonly controls: () => readonly { readonly name: string; readonly address: string }[];
}

/** The relay of a path, to connect through; null for the direct path. CodedError where it is none of the cluster's. */
export type RelayOf = (path: Path) => RpcClient | null;

/** The network paths of a control node. */
export interface ControlPaths extends Paths {
  readonly relayOf: RelayOf;
  /**
   * Whether a machine is at an address, by every path to that network: its kernel refuses or accepts a connection to a
   * port on which nothing listens. Null if there is no path, or none that works.
   */
  addressAnswers(network: Path['network'], address: string): Promise<boolean | null>;
}

/** All paths that exist while they are asked for. */
export function createPaths(options: PathsOptions): ControlPaths {
  const { self, clients, snapshot, storage, controls } = options;
  const list = (): readonly Path[] =>
    pathsFrom({
      self,
      controls: controls().map(({ name }) => name),
      storage: [...snapshot.storage.values()].flatMap(({ value }) => (value.lost === undefined ? [value.name] : [])),
    });
  const relayOf: RelayOf = (path) => {
    if (path.storage !== null) return storage.client(path.storage);
    if (path.control === null) return null;
    const control = controls().find(({ name }) => name === path.control);
    if (control === undefined) throw new CodedError('not-found', `Control node ${path.control} is not in the cluster.`);
    const identity = { kind: 'control', name: control.name as ControlName } as const;
    return clients.to({ address: control.address, port: PORTS.controlPeer, identity });
  };
  return {
    list,
    relayOf,
    probe: async (path, host, deadlineMs) => {
      const standing = list().find(({ name }) => name === path.name);
      return standing === undefined
        ? NO_PATH
        : probeVia(relayOf(standing), addressOn(standing, host.addresses), deadlineMs);
    },
    addressAnswers: async (network, address) => {
      const there = list().filter((path) => path.network === network);
      const probes = await Promise.all(there.map((path) => probeVia(relayOf(path), address, ANSWER_MS)));
      const outcomes = probes.map(({ outcome }) => outcome);
      if (outcomes.some((outcome) => outcome === 'refused' || outcome === 'accepted')) return true;
      return outcomes.includes('silent') ? false : null;
    },
  };
}

const NO_PATH = { outcome: 'no-path', lateMs: 0 } as const;
/** Longer than one retransmission of a lost SYN, which TCP repeats after a second. */
const ANSWER_MS = 1_500;

async function probeVia(relay: RpcClient | null, address: string, deadlineMs: number): ReturnType<Paths['probe']> {
  const target = { address, port: PORTS.reachability };
  if (relay === null) return probeTcp(target, deadlineMs);
  try {
    return await relay.call({
      method: 'POST',
      path: '/v1/probe',
      body: { ...target, deadlineMs },
      // The relay's own deadline ends first, so that its answer can report the outcome.
      deadlineMs: deadlineMs + 300,
      parse: parseProbe,
    });
  } catch {
    // The relay did not answer, which says nothing about the host.
    return NO_PATH;
  }
}
