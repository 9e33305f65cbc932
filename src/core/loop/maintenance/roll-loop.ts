/**
 * Carries out rolls: one step after the other for each, as core/maintenance/roll-decision.ts decides. Drains
 * (drain-loop.ts) empty the hosts, and people's commands (core/request/roll-work.ts) do the work on them. The loop's
 * whole state is in the records: a new leader continues where the last one stopped.
 * Guarantees: one activation per roll at a time; a wave begins only after this wave and all later ones were planned
 * anew from the present hosts and VMs, and the checker, which shares no code with the planner, found nothing wrong with
 * the plan; the wave, its drain and its hosts' maintenance begin in one transaction; a host returns to service in the
 * same transaction that updates its roll.
 */
import { messageOf } from '../../../base/errors.ts';
import type { HostName, RollId, VmId } from '../../../base/ids.ts';
import { checkPlanInTurns } from '../../check/maintenance-plan.ts';
import { differencesOf, planApproved, planOfRecord, type WavesNow } from '../../maintenance/approved-plan.ts';
import type { ApprovedPlan, ApprovedWave } from '../../maintenance/approved-text.ts';
import { NOTHING_WRITTEN, touchedBy, type Writing } from '../../maintenance/drain-plan.ts';
import {
  type EstateSource,
  estateAroundInTurns,
  estateInTurns,
  policyOf,
  writerOf,
} from '../../maintenance/estate-records.ts';
import { writingOf } from '../../maintenance/fast-writers.ts';
import { inTurns } from '../../maintenance/in-turns.ts';
import type { MaintenancePlan, PlannedWave, Refusal } from '../../maintenance/plan.ts';
import { planOf } from '../../maintenance/planner.ts';
import { obstacleWords } from '../../maintenance/reasons.ts';
import { closing, decideRoll, HELD_DRAIN, type RollDecision } from '../../maintenance/roll-decision.ts';
import { openingAt } from '../../maintenance/roll-holds.ts';
import type { EventRecord } from '../../model/cluster.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import { LIMITS } from '../../model/limits.ts';
import type { HostObservation } from '../../model/observation.ts';
import {
  holdsHost,
  isHostOver,
  isRollOver,
  type RollHost,
  type RollRecord,
  withHosts,
  withRollDeviation,
} from '../../model/roll.ts';
import type { VmRecord } from '../../model/vm.ts';
import { quietObstacles } from '../../plan/guest-clusters/quiet-hours.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { RandomHex } from '../../ports/random.ts';
import type { Change, LeaderStore } from '../../ports/store.ts';
import { newDrain } from '../../request/drains.ts';
import { Activations } from './activations.ts';
import type { EstateKeeper } from './estate-keeper.ts';

export interface RollLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly index: ClusterIndex;
  readonly randomHex: RandomHex;
  readonly seeHost: (host: HostName) => HostObservation;
  /** How fast a VM's guest writes to memory, in MiB a second; null: not measured. */
  readonly dirtyRateOf: (vm: VmRecord) => number | null;
  /** The estate as the leader keeps it. */
  readonly estate: Pick<EstateKeeper, 'model'>;
}

/** The time between two looks at a roll, in ms: agents, windows and drains are checked again. */
const LOOK_MS = 1_000;
/** The time between two looks at a roll that has nothing under way, and begins nothing now. */
const IDLE_MS = 5_000;
/** The time until the next look after many steps, in ms. */
const SOON_MS = 50;
/**
 * The time until the next attempt after a wave that has no plan now, and after a step that failed: the first and the
 * longest, in ms.
 */
const AGAIN_MS = 5_000;
const AGAIN_MS_MAX = 60_000;
const STEPS_PER_ACTIVATION = 20;
/** Plans of a wave in a row that could not be used, before the record says so. */
const VAIN_MAX = 3;
/** More doublings than any longest time needs. */
const DOUBLINGS_MAX = 20;

type CommitResult = Awaited<ReturnType<LeaderStore['commit']>>;

/** The remaining waves of a roll, planned anew. */
interface PlannedAnew extends WavesNow {
  /** The first fault that the checker found; null: none. */
  readonly finding: string | null;
}

/** One per leader; `stop` is final. */
export class RollLoop {
  readonly #ports: RollLoopPorts;
  /** The time until which no wave of a roll is planned again, monotonic ms. */
  readonly #plannedUntilMs = new Map<RollId, number>();
  /** How many plans of a roll's next wave in a row could not be used. */
  readonly #vain = new Map<RollId, number>();
  readonly #activations: Activations<RollId>;

  constructor(ports: RollLoopPorts) {
    this.#ports = ports;
    this.#activations = new Activations({
      clock: ports.clock,
      look: (id) => this.#steps(id),
      onFailed: (id, reason) => this.#failed(id, reason),
      onGone: (id) => {
        this.#plannedUntilMs.delete(id);
        this.#vain.delete(id);
      },
      failedMs: AGAIN_MS,
      failedMsMax: AGAIN_MS_MAX,
    });
  }

  stop(): void {
    this.#activations.stop();
  }

  /** Looks at every roll that is not over. */
  wakeAll(): void {
    for (const { value } of this.#ports.store.snapshot.rolls.values()) if (!isRollOver(value)) this.wake(value.id);
  }

  wake(id: RollId): void {
    this.#activations.wake(id);
  }

  /** A step failed that will not succeed by being repeated: the record says so. */
  async #failed(id: RollId, reason: string): Promise<void> {
    const { log, store } = this.#ports;
    log.warn('roll: step failed', { roll: id, reason });
    const roll = store.snapshot.rolls.get(id)?.value;
    const held = `A step failed, and is tried again: ${reason}`;
    if (roll === undefined || isRollOver(roll) || roll.held === held || this.#activations.isStopped || !store.leads())
      return;
    try {
      await this.#commit({ ...roll, held }, []);
    } catch (error) {
      log.warn('roll: the record cannot be written', { roll: id, reason: messageOf(error) });
    }
  }

  /** Takes steps until one of them waits. Returns the ms until the next look; null if the roll is over. */
  async #steps(id: RollId): Promise<number | null> {
    for (let steps = 0; steps < STEPS_PER_ACTIVATION && !this.#activations.isStopped; steps++) {
      // Decisions wait while the code that woke this loop is still changing things.
      await Promise.resolve();
      const { store } = this.#ports;
      const roll = store.snapshot.rolls.get(id)?.value;
      if (roll === undefined || isRollOver(roll)) return null;
      if (!store.leads()) return LOOK_MS;
      const plan = this.#planOf(id);
      if (plan === null) return LOOK_MS;
      const decision = this.#decide(roll, plan);
      if (decision.do === 'wait') return isIdle(roll) ? IDLE_MS : LOOK_MS;
      const result = await this.#take(roll, plan, decision);
      if (result === 'wait') return LOOK_MS;
      if (result === 'deposed') return null;
      if (result === 'conflict') return SOON_MS;
    }
    return SOON_MS;
  }

  #planOf(id: RollId): ApprovedPlan | null {
    const record = this.#ports.store.snapshot.rollPlans.get(id)?.value;
    return record === undefined ? null : planOfRecord(record);
  }

  #decide(roll: RollRecord, plan: ApprovedPlan): RollDecision {
    const { store, index, seeHost, clock } = this.#ports;
    const now = clock.wallMs();
    return decideRoll({
      roll,
      plan,
      host: (name) => index.host(name),
      hosts: [...store.snapshot.hosts.values()].map(({ value }) => value),
      drain: (id) => index.drain(id),
      agent: (name) => seeHost(name).agent,
      rival: this.#rivalOf(roll),
      heldBack: (hosts) =>
        roll.quietOverride === undefined
          ? (quietObstacles(
              hosts.flatMap((name) => [...index.vmsOn(name)]),
              index,
              now,
            )[0] ?? null)
          : null,
      now,
    });
  }

  /** Two rolls may be admitted at the same moment: the earlier one has their hosts. */
  #rivalOf(roll: RollRecord): RollRecord | null {
    const own = new Set(roll.hosts.map(({ host }) => host));
    const isBefore = (other: RollRecord): boolean =>
      other.createdAt < roll.createdAt || (other.createdAt === roll.createdAt && other.id < roll.id);
    for (const { value: other } of this.#ports.store.snapshot.rolls.values()) {
      if (other.id === roll.id || isRollOver(other) || !isBefore(other)) continue;
      if (other.hosts.some(({ host }) => own.has(host))) return other;
    }
    return null;
  }

  async #take(
    roll: RollRecord,
    plan: ApprovedPlan,
    decision: Exclude<RollDecision, { do: 'wait' }>,
  ): Promise<CommitResult | 'wait'> {
    switch (decision.do) {
      case 'note':
        return this.#commit(decision.roll, []);
      case 'drain': {
        const stuck = decision.state === 'paused' ? HELD_DRAIN : null;
        return this.#commit(roll, [
          { kind: 'drain', id: decision.drain.id, value: { ...decision.drain, state: decision.state, stuck } },
        ]);
      }
      case 'return':
        return this.#return(roll, decision.host, decision.as);
      case 'end':
        return this.#end(roll, decision);
      case 'begin':
        return this.#beginWave(roll, plan, decision);
    }
  }

  async #beginWave(
    roll: RollRecord,
    plan: ApprovedPlan,
    decision: Extract<RollDecision, { do: 'begin' }>,
  ): Promise<CommitResult | 'wait'> {
    const { clock } = this.#ports;
    if (clock.monotonicMs() < (this.#plannedUntilMs.get(roll.id) ?? 0)) return 'wait';
    const waves = wavesLeft(roll, plan, decision);
    const outcome = await inTurns(this.#plan(roll, waves), clock, () => this.#activations.isStopped);
    if (outcome === null) return 'wait';
    const [first] = outcome.waves;
    const [wave] = waves;
    if (first === undefined || wave === undefined) {
      this.#plannedUntilMs.set(roll.id, clock.monotonicMs() + AGAIN_MS);
      return this.#hold(roll, `Wave ${decision.wave + 1} has no plan now: ${this.#words(outcome.refusal)}`);
    }
    return this.#commitWave(roll, { plan, wave, first, decision, doubt: this.#doubtOf(outcome) });
  }

  /**
   * Plans waves anew, and lets the checker judge all of them; in pieces, from a copy, because the kept estate changes
   * meanwhile. Null: the records are not read yet.
   */
  *#plan({ parallel, hosts }: RollRecord, waves: readonly ApprovedWave[]): Generator<void, PlannedAnew | null> {
    const view = { drain: null, parallel };
    const source = this.#source();
    const model = this.#ports.estate.model({ ...view, dirtyRateOf: source.dirtyRateOf })?.copy();
    if (model === undefined) return null;
    yield;
    const known = (host: HostName): boolean => model.host(host) >= 0;
    const left = waves.map((wave) => ({ ...wave, hosts: wave.hosts.filter(known) }));
    const done = hosts.flatMap(({ host, state }) => (state === 'done' && known(host) ? [host] : []));
    const now = yield* planApproved(model, left, done);
    const whole = planOf(now.waves, { after: 'back', releaseAfter: null });
    const [finding = null] = yield* checkPlanInTurns(yield* estateInTurns(source, view), whole);
    return { ...now, finding };
  }

  /** Judges a wave by the present records, not by the copy that it was planned from. */
  *#check({ parallel }: RollRecord, plan: MaintenancePlan): Generator<void, readonly string[]> {
    const view = { drain: null, parallel };
    return yield* checkPlanInTurns(yield* estateAroundInTurns(this.#source(), view, touchedBy(plan)), plan);
  }

  /** The reason why a later wave cannot be carried out as things are now; null: every wave can. */
  #doubtOf({ waves, refusal, finding }: PlannedAnew): string | null {
    if (refusal !== null)
      return `As things are now, a later wave (${waves.length} from here) has no plan: ${this.#words(refusal)}`;
    return finding === null ? null : `As things are now, what is left is not accepted by the checker: ${finding}.`;
  }

  async #commitWave(
    roll: RollRecord,
    {
      plan,
      wave,
      first,
      decision,
      doubt,
    }: {
      readonly plan: ApprovedPlan;
      readonly wave: ApprovedWave;
      readonly first: PlannedWave;
      readonly decision: Extract<RollDecision, { do: 'begin' }>;
      readonly doubt: string | null;
    },
  ): Promise<CommitResult | 'wait'> {
    const { clock, randomHex, store, index } = this.#ports;
    const one: MaintenancePlan = planOf([first], { after: 'away', releaseAfter: null });
    const findings = await inTurns(this.#check(roll, one), clock, () => this.#activations.isStopped);
    if (findings === null) return 'wait';
    // Planning took several turns: the decision is made again, from the records and the time as they are now.
    const now = store.snapshot.rolls.get(roll.id)?.value;
    if (now !== roll || !isSameBegin(this.#decide(roll, plan), decision))
      return this.#inVain(roll, decision, 'its records change during planning, again and again.');
    const [finding] = findings;
    if (finding !== undefined) return this.#inVain(roll, decision, `its plan was not accepted: ${finding}`);
    const late = this.#lateness(roll, decision, first);
    if (late !== null) {
      this.#plannedUntilMs.set(roll.id, clock.monotonicMs() + AGAIN_MS_MAX);
      return this.#hold(roll, late);
    }
    const moves = first.moves.length;
    if (moves > LIMITS.drainMoves.max)
      return this.#hold(roll, `Wave ${decision.wave + 1} needs ${moves} moves now, ${LIMITS.drainMoves.max} at most.`);
    const hosts = decision.hosts.flatMap((name) => index.host(name) ?? []);
    const at = clock.wallMs();
    const { who, reason, change, quietOverride, parallel, id } = roll;
    const writing = (vm: VmId): Writing => this.#writingOf(vm, roll);
    const request = {
      hosts,
      who,
      parallel,
      roll: id,
      writingOf: writing,
      reason: reason ?? undefined,
      change: change ?? undefined,
      quietOverride,
    };
    const drain = newDrain({ now: at, randomHex }, one, request);
    const begun = roll.hosts
      .filter(({ host }) => decision.hosts.includes(host))
      .map((host): RollHost => ({ ...host, state: 'draining', since: at, drain: drain.result, note: null }));
    let next: RollRecord = { ...withHosts(roll, begun), held: null };
    for (const difference of differencesOf(wave, first.moves))
      next = withRollDeviation(next, at, `Wave ${decision.wave + 1}: ${difference}.`);
    if (doubt !== null) next = withRollDeviation(next, at, doubt);
    const outcome = await this.#commit(next, drain.changes, drain.events);
    if (outcome === 'conflict')
      return this.#inVain(roll, decision, 'others change its records first, again and again.');
    this.#vain.delete(roll.id);
    return outcome;
  }

  /** Why a wave as it is planned now would not be over in time, which was approved with another duration; or null. */
  #lateness(
    roll: RollRecord,
    { wave }: Extract<RollDecision, { do: 'begin' }>,
    { durationMs }: PlannedWave,
  ): string | null {
    const now = this.#ports.clock.wallMs();
    const opening = openingAt(roll, now);
    return opening.isOpen ? closing(roll, { wave, movesMs: durationMs, until: opening.until, now }) : opening.why;
  }

  /** A wave was planned and cannot begin: again after longer and longer times, and the record says why. */
  async #inVain(
    { id }: RollRecord,
    { wave }: Extract<RollDecision, { do: 'begin' }>,
    why: string,
  ): Promise<CommitResult | 'wait'> {
    const { clock, store } = this.#ports;
    const before = this.#vain.get(id) ?? 0;
    this.#vain.set(id, before + 1);
    const restMs = Math.min(SOON_MS * 2 ** Math.min(before, DOUBLINGS_MAX), AGAIN_MS_MAX);
    this.#plannedUntilMs.set(id, clock.monotonicMs() + restMs);
    const roll = store.snapshot.rolls.get(id)?.value;
    if (before + 1 < VAIN_MAX || roll === undefined || roll.state !== 'running') return 'conflict';
    return this.#hold(roll, `Wave ${wave + 1} cannot begin yet, and is planned again: ${why}`);
  }

  #words(refusal: Refusal | null): string {
    if (refusal === null) return 'no part of it is left.';
    const names = refusal.vms.map((id) => this.#ports.index.vm(id)?.name ?? id);
    return `${obstacleWords(refusal.obstacle, names)}.`;
  }

  #hold(roll: RollRecord, held: string): Promise<CommitResult> | 'wait' {
    if (roll.held === held) return 'wait';
    return this.#commit(withRollDeviation({ ...roll, held }, this.#ports.clock.wallMs(), held), []);
  }

  #source(): EstateSource {
    const { store, index, seeHost, dirtyRateOf } = this.#ports;
    return { snapshot: store.snapshot, index, seeHost, dirtyRateOf };
  }

  /** The known facts about how fast guests write, for the moves of a wave. */
  #writingOf(id: VmId, { parallel }: RollRecord): Writing {
    const vm = this.#ports.index.vm(id);
    if (vm === null) return NOTHING_WRITTEN;
    return writingOf(vm, writerOf(vm, this.#source(), policyOf({ drain: null, parallel })));
  }

  #return(roll: RollRecord, host: RollHost, as: 'done' | 'skipped'): Promise<CommitResult> {
    const { clock, index } = this.#ports;
    const now = clock.wallMs();
    const note = as === 'done' ? null : 'Taken back before its work began: the roll was aborted.';
    const next = withHosts(roll, [{ ...host, state: as, since: now, work: null, note }]);
    const record = index.host(host.host);
    const back: Change[] =
      record === null ? [] : [{ kind: 'host', id: record.name, value: { ...record, maintenance: null } }];
    const message = `${host.host} is in service again (${roll.id}).`;
    return this.#commit(next, back, [eventOf(now, 'host-undrained', { host: host.host, message })]);
  }

  #end(roll: RollRecord, { state, message }: Extract<RollDecision, { do: 'end' }>): Promise<CommitResult> {
    const { clock, store } = this.#ports;
    const now = clock.wallMs();
    const task = store.snapshot.tasks.get(roll.taskId)?.value;
    const hosts = roll.hosts.map((host): RollHost => (isHostOver(host) ? host : { ...host, state: 'skipped' }));
    const isClean = state === 'completed' && hosts.every((host) => host.state !== 'failed');
    const outcome = state === 'aborted' ? 'cancelled' : isClean ? 'succeeded' : 'failed';
    const ended: Change[] =
      task?.state === 'running'
        ? [
            {
              kind: 'task',
              id: task.id,
              value: { ...task, state: outcome, message, progressPercent: 100, endedAt: now },
            },
          ]
        : [];
    const events = [eventOf(now, `roll-${state}`, { host: null, message: `${roll.id}: ${message}` })];
    return this.#commit({ ...roll, hosts, state, held: null, endedAt: now }, ended, events);
  }

  /** Writes the roll, its task's progress, and what goes with it. */
  #commit(roll: RollRecord, changes: readonly Change[], events: readonly EventRecord[] = []): Promise<CommitResult> {
    const { store } = this.#ports;
    const task = store.snapshot.tasks.get(roll.taskId)?.value;
    const progressPercent = Math.floor((roll.hosts.filter(isHostOver).length / roll.hosts.length) * 100);
    const isTold =
      task === undefined || task.state !== 'running' || isRollOver(roll) || task.progressPercent === progressPercent;
    const progress: Change[] = isTold ? [] : [{ kind: 'task', id: task.id, value: { ...task, progressPercent } }];
    return store.commit({ changes: [{ kind: 'roll', id: roll.id, value: roll }, ...progress, ...changes], events });
  }
}

/** Whether the roll has nothing under way, and may begin nothing as far as is known. */
function isIdle(roll: RollRecord): boolean {
  return (roll.state === 'paused' || roll.held !== null) && !roll.hosts.some(holdsHost);
}

/** Whether a new decision would still begin the same hosts. */
function isSameBegin(now: RollDecision, before: Extract<RollDecision, { do: 'begin' }>): boolean {
  return now.do === 'begin' && now.wave === before.wave && now.hosts.join() === before.hosts.join();
}

/** The hosts that begin now as a wave, then the remainder of each wave after it. */
function wavesLeft(
  roll: RollRecord,
  plan: ApprovedPlan,
  { wave, hosts }: Extract<RollDecision, { do: 'begin' }>,
): readonly ApprovedWave[] {
  const begins = new Set(hosts);
  const left = new Set(
    roll.hosts.flatMap((host) => (host.state === 'waiting' && !begins.has(host.host) ? [host.host] : [])),
  );
  const of = (number: number, chosen: ReadonlySet<HostName>): ApprovedWave[] => {
    const approved = plan.waves[number];
    const names = approved?.hosts.filter((host) => chosen.has(host)) ?? [];
    if (approved === undefined || names.length === 0) return [];
    const isOfOthers = (from: HostName): boolean => approved.hosts.includes(from) && !names.includes(from);
    return [{ ...approved, hosts: names, moves: approved.moves.filter(({ from }) => !isOfOthers(from)) }];
  };
  return [...of(wave, begins), ...plan.waves.flatMap((_, number) => (number < wave ? [] : of(number, left)))];
}

function eventOf(
  at: number,
  kind: string,
  { host, message }: { readonly host: HostName | null; readonly message: string },
): EventRecord {
  return { at, kind, vm: null, vmName: null, host, generation: null, message };
}
