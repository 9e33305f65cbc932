/**
 * Which paths from a control node to a host have worked without interruption, and since when: what a verdict is judged
 * by. A fault of a machine or a message on a path interrupts it.
 */
import type { SimMachine } from '../machines/sim-machine.ts';
import { isOpenPath, pathsOf, relayOf, type Topology } from '../machines/topology.ts';

/** See the module's comment. */
export class PathTruth {
  /** When something befell a machine, or a message between two, last (`a|b`), in ms of the simulation. */
  readonly #troubledAt = new Map<string, number>();

  /** Something befell this machine, or is over. */
  machine(name: string, at: number): void {
    this.#troubledAt.set(name, at);
  }

  /** A message between two machines did not come as it should. */
  message(from: SimMachine, to: SimMachine, at: number): void {
    this.#troubledAt.set(from.name < to.name ? `${from.name}|${to.name}` : `${to.name}|${from.name}`, at);
  }

  /** The paths from a control node to a host that work, each with since when. */
  working(
    topology: Topology,
    from: { readonly name: string; readonly machine: SimMachine },
    host: SimMachine,
  ): Map<string, number> {
    const paths = new Map<string, number>();
    for (const path of pathsOf(topology, from.name)) {
      if (!isOpenPath(topology, from.machine, path, host)) continue;
      const relay = relayOf(topology, path);
      const machines = [from.machine, ...(relay === null ? [] : [relay.to]), host];
      let since = 0;
      for (const [i, machine] of machines.entries()) {
        since = Math.max(since, this.#troubledAt.get(machine.name) ?? 0);
        const next = machines[i + 1];
        if (next === undefined) continue;
        const pair = machine.name < next.name ? `${machine.name}|${next.name}` : `${next.name}|${machine.name}`;
        since = Math.max(since, this.#troubledAt.get(pair) ?? 0);
      }
      paths.set(path.name, since);
    }
    return paths;
  }
}
