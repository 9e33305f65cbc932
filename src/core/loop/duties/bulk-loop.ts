/**
 * Carries out requests on many VMs, step by step (core/request/bulk.ts decides). Everything that it knows is in the
 * tasks: a new leader goes on where the last one stopped.
 *
 * Guarantees: one step at a time, a wake-up during it is not lost; between two steps of one task the event loop turns;
 * how far a task is gets written at most once a second; nothing begins after `stop`; a start that would break something
 * is refused as it is for one VM, unless whoever asked signed for it.
 */
import { CodedError, messageOf } from '../../../base/errors.ts';
import type { HostName, TaskId } from '../../../base/ids.ts';
import { sleep } from '../../../base/sleep.ts';
import type { BulkWork, TaskRecord } from '../../model/cluster.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import type { HostObservation } from '../../model/observation.ts';
import type { VmRecord } from '../../model/vm.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { RandomHex } from '../../ports/random.ts';
import type { LeaderStore } from '../../ports/store.ts';
import type { Admitted, Observed } from '../../request/basis.ts';
import { type BulkStep, bulkStep, type StepOptions } from '../../request/bulk.ts';
import { isFree, needsAcceptance, withDebts } from '../../request/debts.ts';
import { type Effect, effectOf } from '../../request/effect.ts';
import type { WishBasis } from '../../request/vm-wishes.ts';

export interface BulkLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly index: ClusterIndex;
  readonly randomHex: RandomHex;
  readonly seesRunning: (vm: VmRecord) => boolean;
  readonly seeHost: (host: HostName) => HostObservation;
  /** What is kept of hosts (estate-keeper.ts). */
  readonly estate: Pick<Observed['estate'], 'judge' | 'inTurn' | 'expect' | 'expected'>;
}

type BulkTask = TaskRecord & { readonly bulk: BulkWork };

/** Between two steps that ask VMs, in ms. */
const NEXT_MS = 20;
/** Between two notes of how far a task is, in ms. */
const NOTE_MS = 1_000;
/** After a step that failed, in ms. */
const FAILED_MS = 2_000;

const NO_NAMES: WishBasis['records']['vmNames'] = new Map();

/** A step with what is written besides, and the VMs whose room is kept for them. */
interface Step extends BulkStep {
  readonly events: NonNullable<Admitted<null>['events']>;
  readonly expected: readonly Parameters<Observed['estate']['expect']>[0][];
}

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
    const { store } = this.#ports;
    let againInMs: number | null = null;
    for (const [id, notedUntilMs] of [...this.#running]) {
      const task = this.#taskThatRuns(id);
      if (task === null || !store.leads()) continue;
      const told =
        task.bulk.action === 'start'
          ? await this.#ports.estate.inTurn(async () => this.#make(id, await this.#guardedStep(id), notedUntilMs))
          : await this.#make(id, this.#stepOf(id), notedUntilMs);
      if (told === 'over') return null;
      if (told !== null) againInMs = Math.min(againInMs ?? NOTE_MS, told);
    }
    return againInMs;
  }

  /** Writes a step; returns in how many ms to look again, null: when something changes. */
  async #make(id: TaskId, step: Step | 'outdated' | null, notedUntilMs: number): Promise<number | null | 'over'> {
    const { clock, store } = this.#ports;
    if (this.#isStopped) return 'over';
    if (step === 'outdated') this.#again = true;
    if (step === 'outdated' || step === null) return null;
    const now = clock.monotonicMs();
    if (step.asked === 0 && !step.isOver && now < notedUntilMs) return notedUntilMs - now;
    const outcome = await store.commit({ changes: step.changes, events: step.events });
    if (outcome === 'deposed') return 'over';
    if (outcome === 'committed') for (const vm of step.expected) this.#ports.estate.expect(vm);
    this.#running.set(id, clock.monotonicMs() + NOTE_MS);
    // More VMs wait, or somebody else was faster.
    if (step.asked > 0 || outcome === 'conflict') this.#again = true;
    return null;
  }

  /** The next step of a task; null: there is nothing to note, or it does not run any more. */
  #stepOf(id: TaskId, options: StepOptions = {}): Step | null {
    const task = this.#taskThatRuns(id);
    if (task === null) return null;
    const step = bulkStep(this.#basis(), { vms: { seesRunning: this.#ports.seesRunning } }, task, options);
    return step === null ? null : { ...step, events: [], expected: [] };
  }

  #taskThatRuns(id: TaskId): BulkTask | null {
    const task = this.#ports.store.snapshot.tasks.get(id)?.value;
    return task !== undefined && isBulk(task) && task.state === 'running' ? task : null;
  }

  /** Starts are judged together, and one by one where something would break: so it is known which VM is refused. */
  async #guardedStep(id: TaskId): Promise<Step | 'outdated' | null> {
    const together = await this.#judged(id, {});
    return together === 'breaks' ? this.#judged(id, { most: 1 }) : together;
  }

  /**
   * The step as it is now if nothing breaks; 'outdated' where it would do something else by now than what was judged.
   * One that asks one VM is signed for, or refuses it; any other that breaks something is not made.
   */
  async #judged(id: TaskId, options: { readonly most: 1 }): Promise<Step | 'outdated' | null>;
  async #judged(id: TaskId, options: { readonly most?: 1 }): Promise<Step | 'outdated' | 'breaks' | null>;
  async #judged(id: TaskId, options: { readonly most?: 1 }): Promise<Step | 'outdated' | 'breaks' | null> {
    const before = this.#stepOf(id, options);
    if (before === null || before.asked === 0) return before;
    const effect = this.#effectOf(before);
    const { changes, ties } = effect;
    const price = { ties, broken: changes.length === 0 ? [] : await this.#ports.estate.judge(changes) };
    const step = this.#stepOf(id, options);
    if (step === null || JSON.stringify(this.#effectOf(step)) !== JSON.stringify(effect)) return 'outdated';
    const expected = changes.flatMap((change) => (change.kind === 'vm' ? [change.vm] : []));
    if (isFree(price)) return { ...step, expected };
    if (options.most !== 1) return 'breaks';
    const signature = this.#taskThatRuns(id)?.bulk.accept;
    if (signature === undefined) return this.#stepOf(id, { ...options, refusal: needsAcceptance(price, 'changed') });
    try {
      const signed = { price, signature, what: `start of ${namesIn(step)}` };
      const { changes: written, events = [] } = withDebts(
        this.#basis(),
        { changes: step.changes, result: null },
        signed,
      );
      return { ...step, changes: written, events, expected };
    } catch (error) {
      if (error instanceof CodedError) return this.#stepOf(id, { ...options, refusal: error });
      throw error;
    }
  }

  #effectOf({ changes }: Step): Effect {
    return effectOf(this.#basis(), { observer: { see: this.#ports.seeHost }, estate: this.#ports.estate }, changes);
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

const isBulk = (task: TaskRecord): task is BulkTask => task.bulk !== undefined;

function namesIn({ changes }: BulkStep): string {
  return changes.flatMap((change) => (change.kind === 'vm' ? (change.value?.name ?? []) : [])).join(', ');
}
