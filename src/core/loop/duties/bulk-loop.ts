/**
 * Carries out requests on many VMs, step by step (core/request/bulk.ts decides). Everything that it knows is in the
 * tasks: a new leader goes on where the last one stopped.
 *
 * Guarantees: one step at a time, a wake-up during it is not lost; between two steps of one task the event loop turns;
 * how far a task is gets written at most once a second; nothing begins after `stop`.
 */
import { messageOf } from '../../../base/errors.ts';
import type { TaskId } from '../../../base/ids.ts';
import { sleep } from '../../../base/sleep.ts';
import type { BulkWork, TaskRecord } from '../../model/cluster.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import type { VmRecord } from '../../model/vm.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { RandomHex } from '../../ports/random.ts';
import type { LeaderStore } from '../../ports/store.ts';
import { bulkStep } from '../../request/bulk.ts';
import type { WishBasis } from '../../request/vm-wishes.ts';

export interface BulkLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly index: ClusterIndex;
  readonly randomHex: RandomHex;
  readonly seesRunning: (vm: VmRecord) => boolean;
}

/** Between two steps that ask VMs, in ms. */
const NEXT_MS = 20;
/** Between two notes of how far a task is, in ms. */
const NOTE_MS = 1_000;
/** After a step that failed, in ms. */
const FAILED_MS = 2_000;

const NO_NAMES: WishBasis['records']['vmNames'] = new Map();

/** One per leader; `stop` is final. */
export class BulkLoop {
  readonly #ports: BulkLoopPorts;
  /** Tasks over many VMs that run, with the time before which their progress is not written again (monotonic ms). */
  readonly #running = new Map<TaskId, number>();
  #isActive = false;
  #again = false;
  #isStopped = false;
  #cancelTimer: (() => void) | null = null;

  constructor(ports: BulkLoopPorts) {
    this.#ports = ports;
  }

  /** Takes up what an earlier leader left. */
  start(): void {
    for (const id of this.#ports.store.snapshot.tasks.keys()) this.taskChanged(id);
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelTimer?.();
  }

  /** A task was written or deleted. */
  taskChanged(id: TaskId): void {
    const task = this.#ports.store.snapshot.tasks.get(id)?.value;
    if (task?.bulk !== undefined && task.state === 'running') {
      if (!this.#running.has(id)) this.#running.set(id, 0);
    } else if (task?.parent === undefined) return void this.#running.delete(id);
    if (this.#running.size > 0) this.#wake();
  }

  #wake(): void {
    if (this.#isStopped) return;
    this.#again = true;
    if (this.#isActive) return;
    this.#isActive = true;
    void this.#activate();
  }

  async #activate(): Promise<void> {
    const { clock, log } = this.#ports;
    let againInMs: number | null = null;
    try {
      while (this.#again && !this.#isStopped) {
        this.#again = false;
        againInMs = await this.#steps();
        await sleep(clock, NEXT_MS);
      }
    } catch (error) {
      log.warn('a step of a request on many VMs failed', { error: messageOf(error) });
      againInMs = FAILED_MS;
    } finally {
      this.#isActive = false;
      this.#cancelTimer?.();
      this.#cancelTimer = againInMs === null || this.#isStopped ? null : clock.after(againInMs, () => this.#wake());
    }
  }

  /** One step of each task; returns when to look again, null: when something changes. */
  async #steps(): Promise<number | null> {
    const { clock, store } = this.#ports;
    let againInMs: number | null = null;
    for (const [id, notedUntilMs] of [...this.#running]) {
      const task = store.snapshot.tasks.get(id)?.value;
      if (task === undefined || !isBulk(task) || task.state !== 'running' || !store.leads()) continue;
      const step = bulkStep(this.#basis(), { vms: { seesRunning: this.#ports.seesRunning } }, task);
      if (step === null) continue;
      const now = clock.monotonicMs();
      if (step.asked === 0 && !step.isOver && now < notedUntilMs) {
        againInMs = Math.min(againInMs ?? NOTE_MS, notedUntilMs - now);
        continue;
      }
      const outcome = await store.commit({ changes: step.changes, events: [] });
      if (outcome === 'deposed') return null;
      this.#running.set(id, clock.monotonicMs() + NOTE_MS);
      // More VMs wait, or somebody else was faster.
      if (step.asked > 0 || outcome === 'conflict') this.#again = true;
    }
    return againInMs;
  }

  #basis(): WishBasis {
    const { store, index, clock, randomHex } = this.#ports;
    const { snapshot } = store;
    const { vms, tasks, disks, hosts, storage, unreadable, sharedDisks } = snapshot;
    return {
      records: {
        ...snapshot,
        ...{ vms, tasks, disks, hosts, storage, unreadable, sharedDisks },
        disksOf: (vm) => snapshot.disksOf(vm),
        vmNames: NO_NAMES,
      },
      index,
      now: clock.wallMs(),
      randomHex,
    };
  }
}

const isBulk = (task: TaskRecord): task is TaskRecord & { readonly bulk: BulkWork } => task.bulk !== undefined;
