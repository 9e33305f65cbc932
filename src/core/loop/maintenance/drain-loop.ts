/**
 * Carries out drains: one step after the other for each, as core/maintenance/drain-decision.ts decides. Its whole state
 * is in the records: a new leader continues where the last one stopped.
 * Guarantees: one activation per drain at a time, and a wake-up during it is not lost; a move and its migration begin
 * in one transaction; a plan is carried out only after the checker, which shares no code with the planner, found
 * nothing wrong with it; a step that fails is noted in the record and tried again after longer and longer times; after
 * FAILURES_MAX failures in a row, only after somebody resumes the drain.
 */
import { messageOf } from '../../../base/errors.ts';
import type { DrainId, HostName, VmId } from '../../../base/ids.ts';
import { checkPlanInTurns, type Progress } from '../../check/maintenance-plan.ts';
import { type DrainStep, decideDrain, withDeviation } from '../../maintenance/drain-decision.ts';
import { guestClustersOf } from '../../maintenance/drain-evidence.ts';
import { NOTHING_WRITTEN, noteOf, replanned, restOf, touchedBy, type Writing } from '../../maintenance/drain-plan.ts';
import { type EstateSource, estateAroundInTurns, policyOf, writerOf } from '../../maintenance/estate-records.ts';
import { writingOf } from '../../maintenance/fast-writers.ts';
import { atOnce, inTurns } from '../../maintenance/in-turns.ts';
import type { Model } from '../../maintenance/model.ts';
import type { MaintenancePlan, Refusal } from '../../maintenance/plan.ts';
import { planEvacuationInTurns } from '../../maintenance/planner.ts';
import { planReturn } from '../../maintenance/return-plan.ts';
import { openingAt } from '../../maintenance/roll-holds.ts';
import type { EventRecord, HostRecord, TaskRecord } from '../../model/cluster.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import { type DrainMove, type DrainRecord, type DrainWait, isDrainOver, openMoves } from '../../model/drain.ts';
import { keyOf } from '../../model/keys.ts';
import { LIMITS } from '../../model/limits.ts';
import type { HostObservation } from '../../model/observation.ts';
import type { VmRecord } from '../../model/vm.ts';
import { moveObstacle } from '../../plan/guest-clusters/guest-cluster-limits.ts';
import { drainObstacle } from '../../plan/guest-clusters/quiet-hours.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { RandomHex } from '../../ports/random.ts';
import type { Change, LeaderStore } from '../../ports/store.ts';
import { newTask } from '../../request/basis.ts';
import { Activations } from './activations.ts';
import type { EstateKeeper } from './estate-keeper.ts';

export interface DrainLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly index: ClusterIndex;
  readonly randomHex: RandomHex;
  readonly seeHost: (host: HostName) => HostObservation;
  readonly seesRunning: (vm: VmRecord) => boolean;
  /** How fast a guest writes to its memory, in MiB a second; null: not measured recently. */
  readonly dirtyRateOf: (vm: VmRecord) => number | null;
  /** The estate as the leader keeps it. */
  readonly estate: Pick<EstateKeeper, 'model'>;
}

/**
 * The time between two looks at a drain that waits, in ms: some conditions are in no record, such as a guest that is
 * seen to run again.
 */
const LOOK_MS = 1_000;
/** The time between two plans of a drain, and after an unsuccessful one, in ms. */
const REPLAN_MS = 1_000;
const STUCK_MS = 5_000;
/** The time until the next look after many steps, and at first after a conflicting transaction, in ms. */
const SOON_MS = 50;
/** The time until the next look after a first failed step, in ms; it doubles after each further failure. */
const FAILED_MS = 1_000;
/** The longest time until a step is tried again. */
const AGAIN_MS_MAX = 30_000;
/** Steps in a row that fail before the drain is paused: some three minutes. */
const FAILURES_MAX = 10;
/**
 * Within this time a transaction of this leader is written, or never will be; a transaction of an earlier leader is
 * refused. So VMs that were placed before the host was in maintenance are known by then.
 */
const SETTLED_MS = 4_000;
const STEPS_PER_ACTIVATION = 50;
/** The time between two notes of the reason why a drain waits, in ms. */
const WAIT_SAID_MS = 2_000;
/** The message about a return that is planned anew: the reason, and the VMs that stay. */
const RETURN_WORDS_MAX = 10;
/** How long a guest that is stopped for its move may take to shut down by itself. */
const STOP_PATIENCE_MS = 60_000;

type CommitResult = Awaited<ReturnType<LeaderStore['commit']>>;

/** The leader's knowledge of a drain beside its record: without it, some facts are only looked up again. */
interface DrainState {
  /** The time until which it is not planned again, monotonic ms. */
  plannedUntilMs: number;
  /** Transactions that others were faster than, one after the other. */
  conflicts: number;
  /** The reason that this loop wrote into `stuck` because no step could be taken; null: none. */
  said: string | null;
  /** The time until which the loop does not write again what it waits for, monotonic ms. */
  waitSaidUntilMs: number;
  /** When this leader first saw the drain, monotonic ms. */
  readonly sinceMs: number;
}

/** One per leader; `stop` is final. */
export class DrainLoop {
  readonly #ports: DrainLoopPorts;
  readonly #states = new Map<DrainId, DrainState>();
  readonly #activations: Activations<DrainId>;

  constructor(ports: DrainLoopPorts) {
    this.#ports = ports;
    this.#activations = new Activations({
      clock: ports.clock,
      look: (id) => this.#steps(id, this.#stateOf(id)),
      onFailed: (id, reason, failures) => this.#failed(id, reason, failures),
      onGone: (id) => void this.#states.delete(id),
      failedMs: FAILED_MS,
      failedMsMax: AGAIN_MS_MAX,
    });
  }

  stop(): void {
    this.#activations.stop();
  }

  /** Looks at every drain that is not over: something changed that may matter to it. */
  wakeAll(): void {
    for (const drain of this.#ports.index.drains()) if (!isDrainOver(drain)) this.wake(drain.id);
  }

  wake(id: DrainId): void {
    this.#activations.wake(id);
  }

  #stateOf(id: DrainId): DrainState {
    const sinceMs = this.#ports.clock.monotonicMs();
    const state = this.#states.get(id) ?? {
      ...{ plannedUntilMs: 0, conflicts: 0, said: null, waitSaidUntilMs: 0, sinceMs },
    };
    this.#states.set(id, state);
    return state;
  }

  /** Takes steps until one of them waits. Returns the ms until the next look; null if the drain is over. */
  async #steps(id: DrainId, state: DrainState): Promise<number | null> {
    for (let steps = 0; steps < STEPS_PER_ACTIVATION && !this.#activations.isStopped; steps++) {
      // Decisions wait while the code that woke this loop is still changing things.
      await Promise.resolve();
      const { store } = this.#ports;
      const drain = store.snapshot.drains.get(id)?.value;
      if (drain === undefined || isDrainOver(drain)) return null;
      if (!store.leads()) return LOOK_MS;
      const step = await this.#decide(drain, state);
      if (step === 'outdated') continue;
      const result = await this.#takeIfDue(drain, step, state);
      if (result === 'wait') return LOOK_MS;
      if (result === 'deposed') return null;
      if (result === 'conflict') return this.#activations.rest(id, SOON_MS * 2 ** Math.min(state.conflicts++, 20));
      state.conflicts = 0;
    }
    return SOON_MS;
  }

  async #takeIfDue(drain: DrainRecord, step: DrainStep, state: DrainState): Promise<CommitResult | 'wait'> {
    if (step.do === 'stick') return drain.stuck === step.why ? 'wait' : this.#say(drain, step.why, state);
    if (state.said !== null && drain.stuck === state.said && drain.state !== 'paused') return this.#unsay(drain, state);
    if (step.do === 'wait') return this.#await(drain, step.held ?? null, state);
    if (step.do === 'replan' && !this.#mayReplan(state)) return 'wait';
    return this.#take(drain, step, state);
  }

  /** Writes the reason for waiting when it changes, and not too often. */
  async #await(
    drain: DrainRecord,
    held: Omit<DrainWait, 'since'> | null,
    state: DrainState,
  ): Promise<CommitResult | 'wait'> {
    const { clock } = this.#ports;
    const { waits = null } = drain;
    if (waits?.what === held?.what || clock.monotonicMs() < state.waitSaidUntilMs) return 'wait';
    state.waitSaidUntilMs = clock.monotonicMs() + WAIT_SAID_MS;
    if (held === null) return this.#commit({ ...drain, waits: null }, []);
    const now = clock.wallMs();
    const since = waits?.forVm === held.forVm ? waits.since : now;
    const next: DrainRecord = { ...drain, waits: { ...held, since } };
    return this.#commit(held.forVm ? withDeviation(next, now, held.what) : next, []);
  }

  /** Writes why no step can be taken. */
  #say(drain: DrainRecord, stuck: string, state: DrainState): Promise<CommitResult> {
    state.said = stuck;
    return this.#commit(withDeviation({ ...drain, stuck }, this.#ports.clock.wallMs(), stuck), []);
  }

  #unsay(drain: DrainRecord, state: DrainState): Promise<CommitResult> {
    state.said = null;
    return this.#commit({ ...drain, stuck: null }, []);
  }

  /** A step that could not be taken, and that a repetition would not help: the record says so. */
  async #failed(id: DrainId, reason: string, failures: number): Promise<void> {
    const { log, store } = this.#ports;
    log.warn('drain: step failed', { drain: id, failures, reason });
    const drain = store.snapshot.drains.get(id)?.value;
    if (drain === undefined || isDrainOver(drain) || this.#activations.isStopped || !store.leads()) return;
    const isGivenUp = failures >= FAILURES_MAX && drain.state === 'running';
    const stuck = isGivenUp
      ? `Paused: ${failures} steps in a row failed: ${reason}. Then: gp maintenance resume ${id}.`
      : `A step failed, and is tried again: ${reason}.`;
    if (drain.stuck === stuck) return;
    try {
      await this.#say(isGivenUp ? { ...drain, state: 'paused' } : drain, stuck, this.#stateOf(id));
    } catch (error) {
      log.warn('drain: the record cannot be written', { drain: id, reason: messageOf(error) });
    }
  }

  /**
   * Decides the next step. The rest of the plan is judged only if a move may begin; that may take several turns, so the
   * step is then decided again from the present records. `outdated`: the drain's record has changed meanwhile.
   */
  async #decide(drain: DrainRecord, state: DrainState): Promise<DrainStep | 'outdated'> {
    const { clock, store } = this.#ports;
    let isJudged = true;
    const step = this.#stepOf(drain, state, () => {
      isJudged = false;
      return [];
    });
    if (isJudged) return step;
    const findings = await inTurns(this.#findingsOf(drain), clock, () => this.#activations.isStopped);
    if (findings === null || store.snapshot.drains.get(drain.id)?.value !== drain) return 'outdated';
    return this.#stepOf(drain, state, () => findings);
  }

  #stepOf(drain: DrainRecord, { sinceMs }: DrainState, findings: () => readonly string[]): DrainStep {
    const { index, seesRunning, clock, seeHost } = this.#ports;
    const now = clock.wallMs();
    return decideDrain({
      drain,
      index,
      obstacle: (vm) =>
        this.#rollObstacle(drain, now) ??
        drainObstacle(vm, { drain, index, now }) ??
        moveObstacle(vm, { index, seesRunning })?.why ??
        null,
      findings,
      unreadable: this.#unreadableOf(drain),
      strays: (host) => (seeHost(host).agent === 'alive' ? seeHost(host).occupiedSlots.length : 0),
      isSettled: clock.monotonicMs() - sinceMs >= SETTLED_MS,
      now,
    });
  }

  /**
   * The roll pauses a drain whose window has closed; until that is written, no move begins either. Without the roll's
   * record, its windows are unknown.
   */
  #rollObstacle({ id, roll = null }: DrainRecord, now: number): string | null {
    if (roll === null) return null;
    const { rolls, unreadable } = this.#ports.store.snapshot;
    const record = rolls.get(roll)?.value;
    if (record === undefined) {
      const finding = unreadable.get(keyOf.roll(roll));
      return finding === undefined
        ? `Its roll ${roll} has no record: its windows are not known. To end the drain: gp maintenance cancel ${id}.`
        : `What etcd holds at ${keyOf.roll(roll)} ${finding}. No move begins until it is mended.`;
    }
    if (record.state !== 'running') return `${record.id} is ${record.state}.`;
    const opening = openingAt(record, now);
    return opening.isOpen ? null : opening.why;
  }

  #unreadableOf({ hosts, home }: DrainRecord): string | null {
    const { unreadable } = this.#ports.store.snapshot;
    const key =
      unreadable.size === 0
        ? undefined
        : [...hosts, ...(home === undefined ? [] : [home])].map(keyOf.host).find((each) => unreadable.has(each));
    return key === undefined
      ? null
      : `What etcd holds at ${key} ${unreadable.get(key)}. Nothing begins until it is mended.`;
  }

  /** The faults of the rest of the drain's plan. */
  #findingsOf(drain: DrainRecord): Generator<void, readonly string[]> {
    const { plan, begun } = restOf(drain);
    return this.#check(drain, plan, { begun, ended: new Set(), isRest: true });
  }

  /** Judges a plan by the records, not by the planner's own data. */
  *#check(drain: DrainRecord, plan: MaintenancePlan, progress?: Progress): Generator<void, readonly string[]> {
    const view = { drain: drain.id, parallel: drain.parallel };
    const estate = yield* estateAroundInTurns(this.#source(drain), view, touchedBy(plan));
    return yield* checkPlanInTurns(estate, plan, progress);
  }

  /** Plans the rest of the drain and judges the plan; null: the loop was stopped, or the drain's record has changed. */
  async #plannedAnew(
    drain: DrainRecord,
    model: Model,
  ): Promise<{ readonly outcome: MaintenancePlan | Refusal; readonly findings: readonly string[] } | null> {
    const { clock, store } = this.#ports;
    const isStopped = (): boolean => this.#activations.isStopped;
    const outcome = await inTurns(planEvacuationInTurns(model.copy(), drain.hosts), clock, isStopped);
    const findings = outcome?.kind === 'plan' ? await inTurns(this.#check(drain, outcome), clock, isStopped) : [];
    if (outcome === null || findings === null || store.snapshot.drains.get(drain.id)?.value !== drain) return null;
    return { outcome, findings };
  }

  /** The model from which the rest of the drain is planned; null: the leader is new and still reads records. */
  #model(drain: DrainRecord): Model | null {
    const { dirtyRateOf } = this.#source(drain);
    return this.#ports.estate.model({ drain: drain.id, parallel: drain.parallel, dirtyRateOf });
  }

  /** A rate measured before the drain began counts until the next measurement. */
  #source(drain: DrainRecord): EstateSource {
    const { store, index, seeHost, dirtyRateOf } = this.#ports;
    const then = new Map(drain.moves.map(({ vm, dirtyMibPerSecond = null }) => [vm, dirtyMibPerSecond]));
    return {
      ...{ snapshot: store.snapshot, index, seeHost },
      dirtyRateOf: (vm) => dirtyRateOf(vm) ?? then.get(vm.id) ?? null,
    };
  }

  #writingOf(drain: DrainRecord): (vm: VmId) => Writing {
    const source = this.#source(drain);
    const policy = policyOf({ drain: drain.id, parallel: drain.parallel });
    return (id) => {
      const vm = this.#ports.index.vm(id);
      return vm === null ? NOTHING_WRITTEN : writingOf(vm, writerOf(vm, source, policy));
    };
  }

  #mayReplan({ plannedUntilMs }: DrainState): boolean {
    return this.#ports.clock.monotonicMs() >= plannedUntilMs;
  }

  async #take(
    drain: DrainRecord,
    step: Exclude<DrainStep, { do: 'wait' | 'stick' }>,
    state: DrainState,
  ): Promise<CommitResult> {
    switch (step.do) {
      case 'note':
        return this.#commit(step.drain, []);
      case 'begin': {
        const { move, vm } = step;
        const task = this.#moveTask(drain, step);
        const begun = {
          ...move,
          state: 'moving',
          taskId: task.id,
          startedAt: task.startedAt,
          note: noteOf(move),
        } as const;
        return this.#commit({ ...withMove(drain, begun), stuck: null, waits: null }, [
          { kind: 'vm', id: vm.id, value: askedToLeave(vm, move, task) },
          { kind: 'task', id: task.id, value: task },
        ]);
      }
      case 'restart': {
        const { move, vm } = step;
        const task = this.#task(vm, { kind: 'vm.start', message: `Starting again for ${drain.id}.` });
        const value: VmRecord = { ...vm, intent: 'running', startTask: task.id, failures: null };
        return this.#commit(withMove(drain, { ...move, restarted: true }), [
          { kind: 'vm', id: vm.id, value },
          { kind: 'task', id: task.id, value: task },
        ]);
      }
      case 'pause':
        return this.#pause(drain, step.why);
      case 'replan':
        return this.#replan(drain, step.why, state);
      case 'end':
        return this.#end(drain, step);
    }
  }

  #pause(drain: DrainRecord, why: string): Promise<CommitResult> {
    const at = this.#ports.clock.wallMs();
    const paused: DrainRecord = withDeviation({ ...drain, state: 'paused', stuck: why, waits: null }, at, why);
    return this.#commit(paused, [], [eventOf('drain-late', { at, host: drain.hosts[0] ?? null, message: why })]);
  }

  /** VMs that were to be brought back and cannot be now stay where they are. */
  #replanReturn(
    drain: DrainRecord,
    model: Model,
    { home, why }: { readonly home: HostName; readonly why: string },
  ): Promise<CommitResult> {
    const { clock, index } = this.#ports;
    const waiting = drain.moves.flatMap(({ vm, state }) => (state === 'waiting' ? [vm] : []));
    const { plan, stays } = planReturn(model, home, waiting);
    const isGood = atOnce(this.#check(drain, plan)).length === 0;
    const next = replanned(drain, isGood ? plan : { ...plan, waves: [] }, this.#writingOf(drain));
    const names = stays.map((each) => `${index.vm(each.vm)?.name ?? each.vm} stays: ${each.why}`);
    const said = [`Planned anew: ${why}`, ...names].slice(0, RETURN_WORDS_MAX).join(' ');
    return this.#commit(withDeviation(next, clock.wallMs(), said), []);
  }

  async #replan(drain: DrainRecord, why: string, state: DrainState): Promise<CommitResult> {
    const { clock } = this.#ports;
    const model = this.#model(drain);
    if (drain.home !== undefined || model === null) state.plannedUntilMs = clock.monotonicMs() + REPLAN_MS;
    if (model === null) return 'committed';
    if (drain.home !== undefined) return this.#replanReturn(drain, model, { home: drain.home, why });
    const planned = await this.#plannedAnew(drain, model);
    if (planned === null) return 'conflict';
    const { outcome, findings } = planned;
    const now = clock.wallMs();
    if (outcome.kind === 'plan' && findings.length === 0) {
      state.plannedUntilMs = clock.monotonicMs() + REPLAN_MS;
      const next = replanned(drain, outcome, this.#writingOf(drain));
      if (next.moves.length > LIMITS.drainMoves.max) return this.#pause(drain, tooManyWords(next));
      return this.#commit(withDeviation(next, now, `Planned anew: ${why}`), []);
    }
    state.plannedUntilMs = clock.monotonicMs() + STUCK_MS;
    const names = outcome.kind === 'refused' ? outcome.vms.map((id) => this.#ports.index.vm(id)?.name ?? id) : [];
    const stuck =
      outcome.kind === 'refused'
        ? `No host can take ${names.slice(0, 5).join(', ')} now (${outcome.obstacle}). ${why}`
        : `The plan was not accepted: ${findings[0] ?? ''}`;
    if (drain.stuck === stuck) return 'committed';
    return this.#commit(withDeviation({ ...drain, stuck }, now, stuck), []);
  }

  #end(drain: DrainRecord, { state, message }: Extract<DrainStep, { do: 'end' }>): Promise<CommitResult> {
    const { clock, store } = this.#ports;
    const now = clock.wallMs();
    const task = store.snapshot.tasks.get(drain.taskId)?.value;
    const outcome = state === 'cancelled' ? 'cancelled' : 'succeeded';
    const ended: Change[] =
      task === undefined || task.state !== 'running'
        ? []
        : [
            {
              kind: 'task',
              id: task.id,
              value: { ...task, state: outcome, message, progressPercent: 100, endedAt: now },
            },
          ];
    const hosts = drain.hosts.flatMap((name) => this.#hostAfter(name, drain.id, state));
    const moves = drain.moves.map((move) =>
      move.state === 'waiting' ? ({ ...move, state: 'gone', note: 'Cancelled.' } as const) : move,
    );
    const kind = state === 'drained' ? 'host-drained' : state === 'returned' ? 'vms-returned' : 'drain-cancelled';
    const about = drain.home === undefined ? drain.hosts : [drain.home];
    const events = about.map((host) => eventOf(kind, { at: now, host, message }));
    return this.#commit(
      {
        ...drain,
        state,
        moves,
        guestClusters: guestClustersOf(drain, this.#ports.index),
        stuck: null,
        waits: null,
        endedAt: now,
      },
      [...ended, ...hosts],
      events,
    );
  }

  /** A drain that was cancelled gives its hosts back. */
  #hostAfter(name: HostName, drain: DrainId, state: 'drained' | 'returned' | 'cancelled'): Change[] {
    const host: HostRecord | null = this.#ports.index.host(name);
    const { maintenance = null } = host ?? {};
    if (host === null || maintenance?.drain !== drain) return [];
    const after = state === 'drained' ? ({ ...maintenance, isEmpty: true } as const) : null;
    return [{ kind: 'host', id: name, value: { ...host, maintenance: after } }];
  }

  #moveTask({ id }: DrainRecord, { move, vm }: Extract<DrainStep, { do: 'begin' }>): TaskRecord {
    return move.remedy === 'stop'
      ? this.#task(vm, { kind: 'vm.stop', message: `Stopping for ${id}, as its owner allows.` })
      : this.#task(vm, { kind: 'vm.migrate', message: `Migrating for ${id}.` });
  }

  #task({ name }: VmRecord, about: Pick<TaskRecord, 'kind' | 'message'>): TaskRecord {
    const { clock, randomHex } = this.#ports;
    return newTask({ now: clock.wallMs(), randomHex }, { ...about, target: { kind: 'vm', name } });
  }

  /** Writes the drain, its task's progress, and what goes with it. */
  #commit(drain: DrainRecord, changes: readonly Change[], events: readonly EventRecord[] = []): Promise<CommitResult> {
    const task = this.#ports.store.snapshot.tasks.get(drain.taskId)?.value;
    const total = drain.moves.length;
    const progressPercent = total === 0 ? 0 : Math.floor(((total - openMoves(drain).length) / total) * 100);
    const message = messageFor(drain);
    const isTold =
      task === undefined ||
      task.state !== 'running' ||
      isDrainOver(drain) ||
      ((task.progressPercent ?? 0) === progressPercent && task.message === message);
    const progress: Change[] = isTold
      ? []
      : [{ kind: 'task', id: task.id, value: { ...task, progressPercent, message } }];
    return this.#ports.store.commit({
      changes: [{ kind: 'drain', id: drain.id, value: drain }, ...progress, ...changes],
      events,
    });
  }
}

/** The message that the task of a drain shows while it runs. */
function messageFor({ hosts, home, state, stuck, waits = null }: DrainRecord): string {
  const what = home === undefined ? `Draining ${hosts.join(', ')}.` : `Bringing VMs back to ${home}.`;
  const why = stuck ?? waits?.what ?? (state === 'paused' ? 'It is paused.' : null);
  return why === null ? what : `${what} ${why}`;
}

/** Moves that are over stay in the record: at some time it takes no more. */
function tooManyWords({ id, moves }: DrainRecord): string {
  return `Its record would have ${moves.length} moves, and takes ${LIMITS.drainMoves.max}. VMs that have moved stay: gp maintenance cancel ${id}, then drain the rest anew.`;
}

function withMove(drain: DrainRecord, move: DrainMove): DrainRecord {
  return { ...drain, moves: drain.moves.map((each) => (each.id === move.id ? move : each)) };
}

/** The VM with the wish that its move needs: a migration, or a stop. */
function askedToLeave(vm: VmRecord, { to, remedy }: DrainMove, { id, startedAt }: TaskRecord): VmRecord {
  if (remedy !== 'stop') return { ...vm, migrationRequest: { to, taskId: id, askedAt: startedAt } };
  return { ...vm, intent: 'stopped', stopRequest: { mode: 'acpi', patienceMs: STOP_PATIENCE_MS, taskId: id } };
}

function eventOf(kind: string, about: Pick<EventRecord, 'at' | 'host' | 'message'>): EventRecord {
  return { ...about, kind, vm: null, vmName: null, generation: null };
}
