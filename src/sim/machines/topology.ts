/** What stands where in a simulated cluster, as the links between its parts see it. */
import { present } from '../../base/assert.ts';
import type { HostName, StorageName, Term } from '../../base/ids.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import { type Path, pathsFrom } from '../../core/model/paths.ts';
import type { Hop, SimNetwork } from '../network/network.ts';
import type { WireService } from '../network/wire.ts';
import type { QemuProcess } from '../qemu/qemu-process.ts';
import type { SimStorageNode } from '../storage/sim-storage-node.ts';
import type { Note } from './note.ts';
import type { SimMachine, SimProcess } from './sim-machine.ts';

/** A control node; `process` is its server, null while it is down. */
export interface ControlNode {
  readonly name: string;
  readonly machine: SimMachine;
  readonly process: SimProcess | null;
  /** The surroundings of the API's backend there; null while it does not serve. */
  readonly context: BackendContext | null;
}

/** A host; its QEMUs outlive its agent. */
export interface HostNode {
  readonly name: HostName;
  readonly machine: SimMachine;
  readonly agent: { readonly process: SimProcess; readonly service: WireService } | null;
  /** Number of the certificate that its agent has. */
  readonly serial: string;
  /** Every QEMU that runs there. */
  readonly qemus: () => readonly QemuProcess[];
}

/** One cluster. */
export interface Topology {
  readonly network: SimNetwork;
  readonly controls: ReadonlyMap<string, ControlNode>;
  readonly storage: ReadonlyMap<StorageName, SimStorageNode>;
  readonly hosts: ReadonlyMap<HostName, HostNode>;
  readonly note: Note;
  readonly say: (text: () => string) => void;
  /** Returns false for a storage node that was declared lost, and for a host that was, or has no record, by what etcd holds. */
  isMember(name: string): boolean;
  /** Of when the knowledge of a leader of that term is at best: now, or when its term was over, in true ms. */
  knownAt(term: Term): number;
}

/** All paths from the control node `from` to hosts. */
export function pathsOf(topology: Topology, from: string): readonly Path[] {
  const { controls, storage } = topology;
  const nodes = [...storage.keys()].filter((name) => topology.isMember(name));
  return pathsFrom({ self: from, controls: controls.keys(), storage: nodes });
}

/** The hop to the relay of a path, as far as it is a path of this cluster; null for the direct one. */
export function relayOf(topology: Topology, { control, storage }: Path): Hop | null {
  if (storage !== null) {
    const node = present(topology.storage.get(storage), `storage node ${storage}`);
    return { network: 'control', to: node.machine, process: () => node.listener };
  }
  if (control === null) return null;
  const node = present(topology.controls.get(control), `control node ${control}`);
  return { network: 'control', to: node.machine, process: () => node.process };
}

/** The hops of a path that ends in `process` on the host, or in its kernel (null). */
export function hopsOf(topology: Topology, path: Path, host: SimMachine, process: Hop['process']): readonly Hop[] {
  const last: Hop = { network: path.network, to: host, process };
  const relay = relayOf(topology, path);
  return relay === null ? [last] : [relay, last];
}

/** Whether a packet finds its way to the host's kernel and back now, the machines in between included. */
export function isOpenPath(topology: Topology, from: SimMachine, path: Path, host: SimMachine): boolean {
  const { network } = topology;
  const both = (on: 'control' | 'storage', a: SimMachine, b: SimMachine): boolean =>
    network.isOpen(on, a, b) && network.isOpen(on, b, a);
  const relay = relayOf(topology, path);
  if (relay === null) return both('control', from, host);
  return relay.process()?.isRunning === true && both('control', from, relay.to) && both(path.network, relay.to, host);
}
