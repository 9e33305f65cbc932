/**
 * Asks every storage node for its report at an interval: which grants are in force, who is connected, how much room is
 * left. If a node's service does not answer, finds out whether its disks are still served.
 */
import { messageOf } from '../../../base/errors.ts';
import type { Generation, StorageName, VmId } from '../../../base/ids.ts';
import { type ClockOffset, clockOffset } from '../../model/clock-offset.ts';
import type { StorageObservation } from '../../model/observation.ts';
import type { Clock } from '../../ports/clock.ts';
import type { StorageLink, StorageReport } from '../../ports/storage-link.ts';

interface WatchedNode {
  state: 'answers' | 'silent' | 'unknown';
  report: StorageReport | null;
  at: number | null;
  error: string | null;
  clock: ClockOffset | null;
  /** While the service is silent: whether a host can connect to one of its disks; null if unknown. */
  served: boolean | null;
  /** Whether hosts are being asked now whether its disks are served. */
  isServedAsked: boolean;
  stopped: boolean;
}

/** Callbacks about storage nodes. */
export interface StorageListener {
  /** Called when a node begins or ceases to answer. */
  readonly onState: (node: StorageName) => void;
  readonly onReport: (node: StorageName, report: StorageReport) => void;
  /** Called when a node is no longer watched. */
  readonly onGone: (node: StorageName) => void;
}

/**
 * Why a service counts as silent. `ageMs`: time since its last report was requested; null if this leader never had one.
 */
export interface StorageSilence {
  readonly error: string;
  readonly served: boolean | null;
  readonly ageMs: number | null;
}

const POLL_MS = 1_000;
const DEADLINE_MS = 1_500;

/**
 * Observes storage nodes. One per leader; a question every second with a deadline of its own, `stop` ends all of them.
 */
export class StorageObserver {
  readonly #clock: Clock;
  readonly #link: StorageLink;
  readonly #nodes = new Map<StorageName, WatchedNode>();
  readonly #told: StorageListener;
  readonly #isServed: (node: StorageName) => Promise<boolean | null>;

  /**
   * `isServed`: whether a host can connect to one of the node's disks, within a bounded time; null if unknown. Never
   * rejects.
   */
  constructor(
    ports: { clock: Clock; storage: StorageLink; isServed: (node: StorageName) => Promise<boolean | null> },
    told: StorageListener,
  ) {
    this.#clock = ports.clock;
    this.#link = ports.storage;
    this.#isServed = ports.isServed;
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
      const unseen = { report: null, at: null, error: null, clock: null, served: null } as const;
      const node: WatchedNode = { state: 'unknown', ...unseen, isServedAsked: false, stopped: false };
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

  /** Returns true if the node did not answer the last request. */
  isSilent(name: StorageName): boolean {
    return this.#nodes.get(name)?.state === 'silent';
  }

  /** Returns the offset of a node's wall clock from ours; null if unknown. */
  clockOffset(name: StorageName): ClockOffset | null {
    return this.#nodes.get(name)?.clock ?? null;
  }

  /** Returns the nodes whose services do not answer, with the facts known about them; usually empty. */
  silences(): ReadonlyMap<StorageName, StorageSilence> {
    const silent = [...this.#nodes].filter(([, { state }]) => state === 'silent');
    return new Map(
      silent.map(([name, { error, served, at }]) => {
        const ageMs = at === null ? null : Math.round(this.#clock.monotonicMs() - at);
        return [name, { error: error ?? '', served, ageMs }];
      }),
    );
  }

  report(name: StorageName): StorageReport | null {
    return this.#nodes.get(name)?.report ?? null;
  }

  /** The view that `name` has of one incarnation of a VM. */
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
        node.served = null;
        if (!node.stopped) this.#told.onReport(name, node.report);
      } catch (error) {
        node.state = 'silent';
        node.error = messageOf(error);
      }
      if (before !== node.state) this.#told.onState(name);
      if (node.state === 'silent') void this.#findServed(name, node);
      await new Promise<void>((resolve) => void this.#clock.after(POLL_MS, resolve));
    }
  }

  /** Beside the questions to the node: hosts may take seconds to answer, and the node may be back by then. */
  async #findServed(name: StorageName, node: WatchedNode): Promise<void> {
    if (node.isServedAsked) return;
    node.isServedAsked = true;
    const served = await this.#isServed(name);
    node.isServedAsked = false;
    if (node.state === 'silent') node.served = served;
  }
}
