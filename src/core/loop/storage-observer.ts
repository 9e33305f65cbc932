/** Asks every storage node for its report at an interval: which grants are in force, who is connected, how much room is left. */
import { messageOf } from '../../base/errors.ts';
import type { Generation, StorageName, VmId } from '../../base/ids.ts';
import { type ClockOffset, clockOffset } from '../model/clock-offset.ts';
import type { StorageObservation } from '../model/observation.ts';
import type { Clock } from '../ports/clock.ts';
import type { StorageLink, StorageReport } from '../ports/storage-link.ts';

interface WatchedNode {
  state: 'answers' | 'silent' | 'unknown';
  report: StorageReport | null;
  at: number | null;
  error: string | null;
  clock: ClockOffset | null;
  stopped: boolean;
}

/** Who hears of storage nodes. */
export interface StorageListener {
  /** A node began or ceased to answer. */
  readonly onState: (node: StorageName) => void;
  readonly onReport: (node: StorageName, report: StorageReport) => void;
  /** A node is not watched any more. */
  readonly onGone: (node: StorageName) => void;
}

const POLL_MS = 1_000;
const DEADLINE_MS = 1_500;

/** One per leader; a question every second with a deadline of its own, `stop` ends all of them. */
export class StorageObserver {
  readonly #clock: Clock;
  readonly #link: StorageLink;
  readonly #nodes = new Map<StorageName, WatchedNode>();
  readonly #told: StorageListener;

  constructor(ports: { clock: Clock; storage: StorageLink }, told: StorageListener) {
    this.#clock = ports.clock;
    this.#link = ports.storage;
    this.#told = told;
  }

  /** Watches exactly these nodes from now on. */
  watch(names: readonly StorageName[]): void {
    for (const [name, node] of this.#nodes) {
      if (names.includes(name)) continue;
      node.stopped = true;
      this.#nodes.delete(name);
      this.#told.onGone(name);
    }
    for (const name of names) {
      if (this.#nodes.has(name)) continue;
      const node: WatchedNode = { state: 'unknown', report: null, at: null, error: null, clock: null, stopped: false };
      this.#nodes.set(name, node);
      void this.#poll(name, node);
    }
  }

  stop(): void {
    this.watch([]);
  }

  answers(name: StorageName): boolean {
    return this.#nodes.get(name)?.state === 'answers';
  }

  /** True where it did not answer the last question. */
  isSilent(name: StorageName): boolean {
    return this.#nodes.get(name)?.state === 'silent';
  }

  /** How far a node's wall clock is from ours; null where it has not said. */
  clockOffset(name: StorageName): ClockOffset | null {
    return this.#nodes.get(name)?.clock ?? null;
  }

  report(name: StorageName): StorageReport | null {
    return this.#nodes.get(name)?.report ?? null;
  }

  /** What `name` sees of one incarnation of a VM. */
  see(name: StorageName, vm: VmId, generation: Generation | null, reachesHost: boolean | null): StorageObservation {
    const node = this.#nodes.get(name);
    if (node === undefined)
      return { node: name, state: 'unknown', ageMs: null, connections: 0, idleMs: null, reachesHost };
    const grants =
      node.report?.disks
        .flatMap((disk) => disk.grants)
        .filter((grant) => grant.vm === vm && grant.generation === generation) ?? [];
    const connections = grants.flatMap((grant) => grant.connections);
    const idle = connections.flatMap(({ idleMs }) => (idleMs === null ? [] : [idleMs]));
    return {
      node: name,
      state: node.state,
      ageMs: node.at === null ? null : Math.round(this.#clock.monotonicMs() - node.at),
      connections: connections.length,
      idleMs: idle.length === 0 ? null : Math.min(...idle),
      reachesHost,
    };
  }

  async #poll(name: StorageName, node: WatchedNode): Promise<void> {
    while (!node.stopped) {
      const before = node.state;
      const sentAt = this.#clock.monotonicMs();
      try {
        node.report = await this.#link.report(name, { deadlineMs: DEADLINE_MS });
        node.at = this.#clock.monotonicMs();
        node.state = 'answers';
        const { wallMs } = node.report;
        const ours = { receivedAt: this.#clock.wallMs(), roundTripMs: this.#clock.monotonicMs() - sentAt };
        node.clock = wallMs === undefined ? null : clockOffset(wallMs, ours);
        node.error = null;
        if (!node.stopped) this.#told.onReport(name, node.report);
      } catch (error) {
        node.state = 'silent';
        node.error = messageOf(error);
      }
      if (before !== node.state) this.#told.onState(name);
      await new Promise<void>((resolve) => void this.#clock.after(POLL_MS, resolve));
    }
  }
}
