/** The independent ways from the leader to a host: directly, through each other control node, through each storage node. */
import type { ControlName, StorageName } from '../../base/ids.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import { PORTS } from '../../core/model/ports.ts';
import type { Path, Paths } from '../../core/ports/paths.ts';
import type { StorageLink } from '../../core/ports/storage-link.ts';
import type { Snapshot } from '../../core/ports/store.ts';
import { probeTcp } from '../../os/tcp-probe.ts';
import type { RpcClient } from '../../rpc/client.ts';
import type { RpcClients } from './clients.ts';
import { parseProbe } from './storage-link.ts';

/** A path with the way to use it. */
export interface RelayPath extends Path {
  /** The relay to connect through; null: directly. */
  readonly relay: RpcClient | null;
  /** Which of a host's addresses it leads to. */
  readonly network: 'control' | 'storage';
}

export interface PathsOptions {
  readonly self: string;
  readonly clients: RpcClients;
  readonly snapshot: Pick<Snapshot, 'storage'>;
  readonly storage: StorageLink & { client(node: StorageName): RpcClient };
  readonly controls: () => readonly { readonly name: string; readonly address: string }[];
}

/** The network paths of a control node. */
export interface ControlPaths extends Paths {
  relays(): readonly RelayPath[];
  /**
   * Whether a machine is at an address, by every path to that network: its kernel refuses or accepts a connection to a
   * port on which nothing listens. Null if there is no path, or none that works.
   */
  addressAnswers(network: RelayPath['network'], address: string): Promise<boolean | null>;
}

/** All paths, those through storage nodes last: they are the only ones on another network. */
export function createPaths(options: PathsOptions): ControlPaths {
  const { self, clients, snapshot, storage, controls } = options;
  const relays = (): readonly RelayPath[] => {
    const viaControl = controls()
      .filter(({ name }) => name !== self)
      .map(({ name, address }): RelayPath => {
        const relay = clients.to({
          address,
          port: PORTS.controlPeer,
          identity: { kind: 'control', name: name as ControlName },
        });
        return { name: `via ${name}`, storage: null, relay, network: 'control' };
      });
    const standing = [...snapshot.storage.values()].filter(({ value }) => value.lost === undefined);
    const viaStorage = standing.map(
      ({ value: { name: node } }): RelayPath => ({
        name: `via ${node}`,
        storage: node,
        relay: storage.client(node),
        network: 'storage',
      }),
    );
    return [{ name: 'direct', storage: null, relay: null, network: 'control' }, ...viaControl, ...viaStorage];
  };
  return {
    relays,
    list: relays,
    probe: async (path, host, deadlineMs) => {
      const relay = relays().find(({ name }) => name === path.name);
      return relay === undefined ? NO_PATH : probeVia(relay, addressOn(relay, host), deadlineMs);
    },
    addressAnswers: async (network, address) => {
      const there = relays().filter((path) => path.network === network);
      const probes = await Promise.all(there.map((path) => probeVia(path, address, ANSWER_MS)));
      const outcomes = probes.map(({ outcome }) => outcome);
      if (outcomes.some((outcome) => outcome === 'refused' || outcome === 'accepted')) return true;
      return outcomes.includes('silent') ? false : null;
    },
  };
}

const NO_PATH = { outcome: 'no-path', lateMs: 0 } as const;
/** Longer than one retransmission of a lost SYN, which TCP repeats after a second. */
const ANSWER_MS = 1_500;

async function probeVia(path: RelayPath, address: string, deadlineMs: number): ReturnType<Paths['probe']> {
  const target = { address, port: PORTS.reachability };
  if (path.relay === null) return probeTcp(target, deadlineMs);
  try {
    return await path.relay.call({
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

/** The address of a host that a path leads to. */
export function addressOn(path: Pick<RelayPath, 'network'>, host: Pick<HostRecord, 'addresses'>): string {
  return path.network === 'control' ? host.addresses.control : host.addresses.storage;
}
