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

/** All paths, those through storage nodes last: they are the only ones on another network. */
export function createPaths(options: PathsOptions): Paths & { relays(): readonly RelayPath[] } {
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
    const viaStorage = [...snapshot.storage.keys()].map(
      (node): RelayPath => ({ name: `via ${node}`, storage: node, relay: storage.client(node), network: 'storage' }),
    );
    return [{ name: 'direct', storage: null, relay: null, network: 'control' }, ...viaControl, ...viaStorage];
  };
  return {
    relays,
    list: relays,
    probe: async (path, host, deadlineMs) => {
      const relay = relays().find(({ name }) => name === path.name);
      if (relay === undefined) return { outcome: 'no-path', lateMs: 0 };
      const target = { address: addressOn(relay, host), port: PORTS.reachability };
      if (relay.relay === null) return probeTcp(target, deadlineMs);
      try {
        return await relay.relay.call({
          method: 'POST',
          path: '/v1/probe',
          body: { ...target, deadlineMs },
          // The relay's own deadline ends first, so that its answer says what it met.
          deadlineMs: deadlineMs + 300,
          parse: parseProbe,
        });
      } catch {
        // The relay did not answer: that is no news about the host.
        return { outcome: 'no-path', lateMs: 0 };
      }
    },
  };
}

/** The address of a host that a path leads to. */
export function addressOn(path: Pick<RelayPath, 'network'>, host: Pick<HostRecord, 'addresses'>): string {
  return path.network === 'control' ? host.addresses.control : host.addresses.storage;
}
