/** The paths from a control node to hosts (core/model/paths.ts), with their relays. */
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { CodedError } from '../../base/errors.ts';
import type { ControlName, StorageName } from '../../base/ids.ts';
import { type PathProbes, type ProbeAttempt, pathProbes } from '../../core/loop/observe/path-probes.ts';
import { type Path, pathsFrom } from '../../core/model/paths.ts';
import { PORTS } from '../../core/model/ports.ts';
import type { ProbeResult } from '../../core/ports/probe-result.ts';
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

/** The relay of a path, to connect through; null for the direct path. CodedError for a relay that is no member. */
export type RelayOf = (path: Path) => RpcClient | null;

/** The network paths of a control node. */
export interface ControlPaths extends PathProbes {
  readonly relayOf: RelayOf;
  /**
   * Whether the machine that answers at an address is the expected one, by any path to that network. `isProved` asks on
   * a connection to its agent's port, and ends the connection.
   */
  addressProved(
    network: Path['network'],
    address: string,
    isProved: (stream: Duplex) => Promise<boolean>,
  ): Promise<boolean>;
}

/** Longer than one retransmission of a lost SYN, which TCP repeats after a second. */
const CONNECT_MS = 1_500;

/** All paths that exist at the moment of the call. */
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
  const attempt = async (path: Path, to: ProbeAttempt): Promise<ProbeResult> => {
    const { deadlineMs, relayDeadlineMs, ...target } = to;
    const relay = relayOf(path);
    return relay === null ? probeTcp(target, deadlineMs) : probeFrom(relay, { ...target, deadlineMs }, relayDeadlineMs);
  };
  const addressProved: ControlPaths['addressProved'] = async (network, address, isProved) => {
    const there = list().filter((path) => path.network === network);
    const proofs = there.map(async (path) => isProved(await streamBy(relayOf(path), address)));
    return (await Promise.allSettled(proofs)).some((proof) => proof.status === 'fulfilled' && proof.value);
  };
  return { ...pathProbes({ list, attempt }), relayOf, addressProved };
}

/** A connection to an agent's port through a relay, or from here. */
async function streamBy(relay: RpcClient | null, address: string): Promise<Duplex> {
  const target = { address, port: PORTS.agent };
  if (relay !== null) return relay.connectThrough(target, { deadlineMs: CONNECT_MS });
  return connect({ host: address, port: target.port });
}

/** One TCP attempt from a relay. Rejects where the relay does not answer within `deadlineMs`. */
export function probeFrom(
  relay: Pick<RpcClient, 'call'>,
  body: { readonly address: string; readonly port: number; readonly deadlineMs: number },
  deadlineMs: number,
): Promise<ProbeResult> {
  return relay.call({ method: 'POST', path: '/v1/probe', body, deadlineMs, parse: parseProbe });
}
