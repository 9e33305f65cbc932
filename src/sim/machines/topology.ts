/** What stands where in a simulated cluster, as the links between its parts see it. */
import type { HostName, StorageName, Term } from '../../base/ids.ts';
import type { ChangeContext } from '../../control/backend/changes.ts';
import type { AgentService } from '../agent/wire.ts';
import type { Hop, SimNetwork } from '../network/network.ts';
import type { QemuProcess } from '../qemu/qemu-process.ts';
import type { SimStorageNode } from '../storage/sim-storage-node.ts';
import type { Note } from './note.ts';
import type { SimMachine, SimProcess } from './sim-machine.ts';

/** A control node; `process` is its server, null while it is down. */
export interface ControlNode {
  readonly name: string;
  readonly machine: SimMachine;
  readonly process: SimProcess | null;
  /** With what requests are answered there; null while it does not serve. */
  readonly changes: ChangeContext | null;
}

/** A host; its QEMUs outlive its agent. */
export interface HostNode {
  readonly name: HostName;
  readonly machine: SimMachine;
  readonly agent: { readonly process: SimProcess; readonly service: AgentService } | null;
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
  /** Of when the knowledge of a leader of that term is at best: now, or when its term was over, in true ms. */
  knownAt(term: Term): number;
}

/** A way from a control node to a host: the machines in between, then the host on `network`. */
export interface Way {
  readonly name: string;
  /** The storage node it leads through, or null. */
  readonly storage: StorageName | null;
  readonly relay: Hop | null;
  readonly network: 'control' | 'storage';
}

/** All ways from `from`: directly, through each other control node, through each storage node, as control/links/paths.ts has them. */
export function waysFrom(topology: Topology, from: string): readonly Way[] {
  const ways: Way[] = [{ name: 'direct', storage: null, relay: null, network: 'control' }];
  for (const node of topology.controls.values()) {
    if (node.name === from) continue;
    const relay: Hop = { network: 'control', to: node.machine, process: () => node.process };
    ways.push({ name: `via ${node.name}`, storage: null, relay, network: 'control' });
  }
  for (const node of topology.storage.values()) {
    const relay: Hop = { network: 'control', to: node.machine, process: () => node.listener };
    ways.push({ name: `via ${node.name}`, storage: node.name, relay, network: 'storage' });
  }
  return ways;
}

/** The hops of a way that ends in `process` on the host, or in its kernel (null). */
export function hopsOf(way: Way, host: SimMachine, process: Hop['process']): readonly Hop[] {
  const last: Hop = { network: way.network, to: host, process };
  return way.relay === null ? [last] : [way.relay, last];
}

/** Whether a packet finds its way to the host's kernel and back now, the machines in between included. */
export function isOpenWay(topology: Topology, from: SimMachine, way: Way, host: SimMachine): boolean {
  const { network } = topology;
  const both = (on: 'control' | 'storage', a: SimMachine, b: SimMachine): boolean =>
    network.isOpen(on, a, b) && network.isOpen(on, b, a);
  if (way.relay === null) return both('control', from, host);
  return (
    way.relay.process()?.isRunning === true &&
    both('control', from, way.relay.to) &&
    both(way.network, way.relay.to, host)
  );
}
