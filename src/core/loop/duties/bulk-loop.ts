/**
 * Carries out requests on many VMs, step by step (core/request/bulk.ts decides). Its whole state is in the tasks: a new
 * leader continues where the last one stopped.
 * Guarantees: one step of a task at a time, and a wake-up during a step is not lost; between two steps of one task the
 * event loop turns; a task's progress is written at most once a second; nothing begins after `stop`; a start that would
 * break something is refused as for a single VM, unless the caller signed for it; starts, which wait for judgements,
 * delay nothing else, and after a failed step only that step's task pauses.
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
import { type WishBasis, wishBasisOf } from '../../request/vm-wishes.ts';

export interface BulkLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly index: ClusterIndex;
  readonly randomHex: RandomHex;
  readonly seesRunning: (vm: VmRecord) => boolean;
  readonly seeHost: (host: HostName) => HostObservation;
  /** The leader's model of hosts (estate-keeper.ts). */
  readonly estate: Pick<Observed['estate'], 'judge' | 'inTurn' | 'expect' | 'expected'>;
}

type BulkTask = TaskRecord & { readonly bulk: BulkWork };

/** The time between two steps that ask VMs, in ms. */
const NEXT_MS = 20;
/** The time between two notes of a task's progress, in ms. */
const NOTE_MS = 1_000;
/** The time before the next attempt after a step that failed, in ms. */
const FAILED_MS = 2_000;

/** When a task is next written, and looked at. */
interface Pace {
  /** The time before which the progress of the task is not written again, monotonic ms. */
  notedUntilMs: number;
  /** The time before which no step follows a failed one, monotonic ms. */
  restsUntilMs: number;
}

/** Tasks whose steps are taken one after the other. */
interface Lane {
  /** Whether the task has steps that are judged: starts. */
  readonly isJudged: boolean;
  isActive: boolean;
  again: boolean;
  cancelTimer: (() => void) | null;
}

const lane = (isJudged: boolean): Lane => ({ isJudged, isActive: false, again: false, cancelTimer: null });

/** A step with the additional writes, and the VMs whose room is kept for them. */
interface Step extends BulkStep {
  readonly events: NonNullable<Admitted<null>['events']>;
  readonly expected: readonly Parameters<Observed['estate']['expect']>[0][];
}

/** One per leader; `stop` is final. */
export class BulkLoop {
  readonly #ports: BulkLoopPorts;
  /** Tasks over many VMs that run. */
  readonly #running = new Map<TaskId, Pace>();
  /** A judgement may take seconds: steps without one do not wait for it. */
  readonly #lanes: readonly Lane[] = [lane(false), lane(true)];
  #isStopped = false;

  constructor(ports: BulkLoopPorts) {
    this.#ports = ports;
  }

  /** Continues the tasks that an earlier leader left. */
  start(): void {
    for (const id of this.#ports.store.snapshot.tasks.keys()) this.taskChanged(id);
  }

  stop(): void {
    this.#isStopped = true;
    for (const { cancelTimer } of this.#lanes) cancelTimer?.();
  }

  /** A task was written or deleted. */
  taskChanged(id: TaskId): void {
    const task = this.#ports.store.snapshot.tasks.get(id)?.value;
    if (task?.bulk !== undefined && task.state === 'running') {
      if (!this.#running.has(id)) this.#running.set(id, { notedUntilMs: 0, restsUntilMs: 0 });
    } else if (task?.parent === undefined) return void this.#running.delete(id);
    if (this.#running.size > 0) this.#wake();
  }

  #wake(): void {
    for (const each of this.#lanes) this.#wakeLane(each);
  }

  #wakeLane(its: Lane): void {
    if (this.#isStopped) return;
    its.again = true;
    if (its.isActive) return;
    its.isActive = true;
    void this.#activate(its);
  }

  async #activate(its: Lane): Promise<void> {
    const { clock } = this.#ports;
    let againInMs: number | null = null;
    while (its.again && !this.#isStopped) {
      its.again = false;
      againInMs = await this.#steps(its);
      await sleep(clock, NEXT_MS);
    }
    its.isActive = false;
    its.cancelTimer?.();
    its.cancelTimer = againInMs === null || this.#isStopped ? null : clock.after(againInMs, () => this.#wakeLane(its));
  }

  /** One step of each task; returns when to look again, null: when something changes. */
  async #steps(its: Lane): Promise<number | null> {
    const { clock, store } = this.#ports;
    let againInMs: number | null = null;
    for (const [id, pace] of [...this.#running]) {
      const task = this.#taskThatRuns(id);
      if (task === null || isJudged(task) !== its.isJudged || !store.leads()) continue;
      // Whole ms: what is left after a timer may be less than its clock can count.
      const restMs = Math.ceil(pace.restsUntilMs - clock.monotonicMs());
      const told = restMs > 0 ? restMs : await this.#step(its, id, pace);
      if (told === 'over') return null;
      if (told !== null) againInMs = Math.min(againInMs ?? told, told);
    }
    return againInMs;
  }

  /** One step of one task; after one that failed, this task alone waits. */
  async #step(its: Lane, id: TaskId, pace: Pace): Promise<number | null | 'over'> {
    const { clock, log, estate } = this.#ports;
    try {
      return its.isJudged
        ? await estate.inTurn(async () => this.#make(its, { pace, step: await this.#guardedStep(id) }))
        : await this.#make(its, { pace, step: this.#stepOf(id) });
    } catch (error) {
      log.warn('a step of a request on many VMs failed', { task: id, error: messageOf(error) });
      pace.restsUntilMs = clock.monotonicMs() + FAILED_MS;
      return FAILED_MS;
    }
  }

  /** Writes a step; returns in how many ms to look again, null: when something changes. */
  async #make(
    its: Lane,
    { pace, step }: { readonly pace: Pace; readonly step: Step | 'outdated' | null },
  ): Promise<number | null | 'over'> {
    const { clock, store } = this.#ports;
    if (this.#isStopped) return 'over';
    if (step === 'outdated') its.again = true;
    if (step === 'outdated' || step === null) return null;
    const leftMs = Math.ceil(pace.notedUntilMs - clock.monotonicMs());
    if (step.asked === 0 && !step.isOver && leftMs > 0) return leftMs;
    const outcome = await store.commit({ changes: step.changes, events: step.events });
    if (outcome === 'deposed') return 'over';
    if (outcome === 'committed') for (const vm of step.expected) this.#ports.estate.expect(vm);
    pace.notedUntilMs = clock.monotonicMs() + NOTE_MS;
    // More VMs wait, or somebody else was faster.
    if (step.asked > 0 || outcome === 'conflict') its.again = true;
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
   * The step at present if it breaks nothing; 'outdated' if it would now do something else than what was judged. A step
   * about one VM is signed for or refused; any other step that breaks something is not made.
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
    if (signature === undefined)
      return this.#stepOf(id, { ...options, refusal: needsAcceptance(price, 'changed', null) });
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
    return wishBasisOf(store.snapshot, { index, now: clock.wallMs(), randomHex });
  }
}

const isBulk = (task: TaskRecord): task is BulkTask => task.bulk !== undefined;

const isJudged = ({ bulk }: BulkTask): boolean => bulk.action === 'start';

function namesIn({ changes }: BulkStep): string {
  return changes.flatMap((change) => (change.kind === 'vm' ? (change.value?.name ?? []) : [])).join(', ');
}
