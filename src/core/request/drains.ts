/**
 * Emptying hosts for maintenance, and taking them back. Pure: a drain is planned here, written as a record, and carried
 * out by the leader's loop.
 *
 * Guarantees: a drain is recorded only with a plan that the checker accepted, so that nothing is begun that cannot be
 * ended; its hosts are no destination from the same transaction on.
 */
import { CodedError } from '../../base/errors.ts';
import { type DrainId, type HostName, parseDrainId, type RollId, type VmId } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { type Explained, NoPlan } from '../../base/problem.ts';
import { checkPlan } from '../check/maintenance-plan.ts';
import { movesOfPlan, NOTHING_WRITTEN, touchedBy, type Writing } from '../maintenance/drain-plan.ts';
import {
  type EstateSource,
  estateAround,
  type PlanView,
  policyOf,
  withoutLost,
  writerOf,
} from '../maintenance/estate-records.ts';
import { type ExcludedVm, exclusionsOf } from '../maintenance/exclusions.ts';
import { type ExplainBudget, evacuationOf, explain } from '../maintenance/explain.ts';
import { explainedOf } from '../maintenance/explained.ts';
import { writingOf } from '../maintenance/fast-writers.ts';
import { atOnce } from '../maintenance/in-turns.ts';
import type { Model } from '../maintenance/model.ts';
import type { MaintenancePlan, Refusal } from '../maintenance/plan.ts';
import { planEvacuation } from '../maintenance/planner.ts';
import { obstacleWords, wordsOf } from '../maintenance/reasons.ts';
import { HELD_DRAIN } from '../maintenance/roll-decision.ts';
import type { EventRecord, HostRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { type DrainRecord, isDrainOver, isTooLate, PARALLEL_MOVES, type QuietOverride } from '../model/drain.ts';
import { keyOf, PREFIX } from '../model/keys.ts';
import { LIMITS } from '../model/limits.ts';
import { holdsHost, isRollOver, type RollRecord } from '../model/roll.ts';
import { demandReadable } from '../plan/vm/unreadable.ts';
import type { Change, Entry } from '../ports/store.ts';
import { type Admitted, type Basis, newTask, type Observed } from './basis.ts';

export interface DrainRequest {
  readonly hosts: readonly string[];
  /** Name of the token that asks. */
  readonly who: string;
  readonly reason?: string | undefined;
  readonly change?: string | undefined;
  /** The person who answers for moves in quiet hours of guest clusters, and why; absent: they wait. */
  readonly quietOverride?: QuietOverride | undefined;
  /** Moves at once from and to one host. */
  readonly parallel?: number | undefined;
  /** The deadline, Unix ms: no move begins that would end later. */
  readonly by?: number | undefined;
}

/** The part of a request that a plan depends on. */
export type EmptyingRequest = Pick<DrainRequest, 'hosts' | 'parallel'>;

interface NewDrain extends Omit<DrainRequest, 'hosts'> {
  readonly hosts: readonly HostRecord[];
  readonly roll?: RollId;
  readonly writingOf: (vm: VmId) => Writing;
}

/** VMs without a place that a refusal explains. */
const EXPLAINED_MAX = 3;
/** Attempts at displacing VMs for each way that is tried. */
const EXPLAINED_STEPS = 2_000;

/** The snapshot that a plan is made from. */
export function sourceOf(basis: Basis, { observer, dirtyRates }: DrainObserved): EstateSource {
  return {
    snapshot: basis.records,
    index: basis.index,
    seeHost: (host) => observer.see(host),
    dirtyRateOf: (vm) => dirtyRates.of(vm),
  };
}

/** The known facts about how fast each guest writes, for the moves of a plan. */
export function writingFor(
  basis: Basis,
  observed: DrainObserved,
  { parallel = PARALLEL_MOVES }: Pick<DrainRequest, 'parallel'>,
): (vm: VmId) => Writing {
  const source = sourceOf(basis, observed);
  const policy = policyOf({ drain: null, parallel });
  return (id) => {
    const vm = basis.index.vm(id);
    return vm === null ? NOTHING_WRITTEN : writingOf(vm, writerOf(vm, source, policy));
  };
}

/** The observations that a drain is planned from, beside the records. */
export type DrainObserved = Pick<Observed, 'observer' | 'dirtyRates' | 'estate'>;

/** Plans a drain and changes nothing. CodedError 'not-found', 'conflict', 'no-capacity' with the obstacles. */
export function planDrain(basis: Basis, observed: DrainObserved, request: DrainRequest): MaintenancePlan {
  const { names, view, lost, source } = askedOf(basis, observed, request);
  const model = keptModel(observed, { ...view, dirtyRateOf: source.dirtyRateOf, lost });
  const outcome = planEvacuation(model, names);
  if (outcome.kind === 'refused') throw drainRefusal(model, names, outcome);
  const [finding] = checkPlan(withoutLost(estateAround(source, view, touchedBy(outcome)), lost), outcome);
  if (finding !== undefined) throw planNotAccepted(finding);
  demandMoves(outcome.waves.reduce((sum, wave) => sum + wave.moves.length, 0));
  return outcome;
}

/**
 * Finds ways in which hosts could be emptied at once. Null: that is possible by now. CodedError 'not-found',
 * 'conflict', 'unavailable'.
 */
export function* explainDrain(
  basis: Basis,
  observed: DrainObserved,
  { request, budget }: { readonly request: EmptyingRequest; readonly budget: ExplainBudget },
): Generator<void, Explained | null> {
  const { names, view, lost, source } = askedOf(basis, observed, request);
  const model = keptModel(observed, { ...view, dirtyRateOf: source.dirtyRateOf, lost }).copy();
  const plan = evacuationOf(names, EXPLAINED_STEPS);
  yield;
  const refusal = yield* plan(model);
  if (refusal.kind === 'possible') return null;
  const explanation = yield* explain({ model, hosts: names, question: 'drain', refusal, plan }, budget);
  return explainedOf(model, cannotWords(names), explanation);
}

/** The input of the plan for a drain. CodedError 'not-found', 'conflict'. */
function askedOf(basis: Basis, observed: DrainObserved, request: EmptyingRequest) {
  const hosts = request.hosts.map((name) => findHost(basis, name).value);
  for (const host of hosts) demandFree(basis, host);
  return {
    names: hosts.map(({ name }) => name),
    view: { drain: null, parallel: request.parallel ?? PARALLEL_MOVES },
    lost: new Set(hosts.flatMap(({ name, quarantine }) => (quarantine === null ? [] : [name]))),
    source: sourceOf(basis, observed),
  };
}

/** CodedError 'too-large' for more moves than the record of one drain takes. */
export function demandMoves(moves: number): void {
  if (moves <= LIMITS.drainMoves.max) return;
  throw new CodedError(
    'too-large',
    `The plan has ${moves} moves for one drain, which has ${LIMITS.drainMoves.max} at most.`,
    { advice: 'Nothing was changed. Take fewer hosts at once out of service.' },
  );
}

/** The leader's model of the estate. CodedError 'unavailable' while records are read. */
export function keptModel({ estate }: Pick<Observed, 'estate'>, view: PlanView): Model {
  const model = estate.model(view);
  if (model !== null) return model;
  throw new CodedError('unavailable', 'The leader has not read every record yet.', {
    advice: 'Nothing was changed. Try again in a moment.',
  });
}

/** How long a plan takes, in ms. */
export function durationMsOf({ waves }: Pick<MaintenancePlan, 'waves'>): number {
  return waves.reduce((sum, { durationMs }) => sum + durationMs, 0);
}

/** CodedError 'conflict' where the plan would not have ended by the deadline. */
function demandFit({ now }: Basis, plan: MaintenancePlan, { by }: DrainRequest): void {
  if (by === undefined || now + durationMsOf(plan) <= by) return;
  const [ends, deadline] = [new Date(now + durationMsOf(plan)).toISOString(), new Date(by).toISOString()];
  throw new CodedError('conflict', `The drain would end at about ${ends}, and its deadline is ${deadline}.`, {
    advice: 'Nothing was changed. Give it more time, more moves at once (--parallel), or no deadline.',
  });
}

/**
 * Begins a drain. The errors of `planDrain`, and 'conflict' where the plan would not have ended by the deadline.
 */
export function startDrain(basis: Basis, observed: DrainObserved, request: DrainRequest): Admitted<DrainId> {
  const plan = planDrain(basis, observed, request);
  demandFit(basis, plan, request);
  const hosts = request.hosts.map((name) => findHost(basis, name).value);
  return newDrain(basis, plan, { ...request, hosts, writingOf: writingFor(basis, observed, request) });
}

/** A drain as a record, with its task, by a plan that the checker accepted. `roll`: the roll that it is a wave of. */
export function newDrain(
  basis: Pick<Basis, 'now' | 'randomHex'>,
  plan: MaintenancePlan,
  { hosts, who, reason, change: number, parallel, by, roll, quietOverride, writingOf }: NewDrain,
): Admitted<DrainId> {
  const id = parseDrainId(`drain-${basis.randomHex(6)}`);
  const names = hosts.map(({ name }) => name);
  const task = newTask(basis, {
    kind: 'host.drain',
    target: { kind: 'drain', name: id },
    message: `Draining ${names.join(', ')}.`,
  });
  const drain: DrainRecord = {
    id,
    hosts: names,
    by: by ?? null,
    state: 'running',
    who,
    reason: reason ?? null,
    roll: roll ?? null,
    change: number ?? null,
    ...(quietOverride === undefined ? {} : { quietOverride }),
    parallel: parallel ?? PARALLEL_MOVES,
    taskId: task.id,
    moves: movesOfPlan(plan, { firstId: 0, writingOf }),
    stuck: null,
    deviations: [],
    createdAt: basis.now,
    endedAt: null,
  };
  const signed =
    quietOverride === undefined ? '' : ` Quiet hours are overridden by ${quietOverride.owner}: ${quietOverride.reason}`;
  const maintenance = { drain: id, since: basis.now, reason: drain.reason };
  return {
    changes: [
      { kind: 'drain', id, value: drain },
      { kind: 'task', id: task.id, value: task },
      ...hosts.map((host): Change => ({ kind: 'host', id: host.name, value: { ...host, maintenance } })),
    ],
    events: names.map((host) =>
      eventOf(basis, host, 'drain-started', `${who} drains ${host} (${roll ?? id}).${signed}`),
    ),
    result: id,
  };
}

/**
 * Begins no further move, or goes on. CodedError 'not-found', 'conflict' for a drain that is over or being cancelled.
 */
export function pauseDrain(basis: Basis, id: string, isPaused: boolean): Admitted<DrainId> {
  const { value: drain } = findDrain(basis, id);
  if (isPaused || !pausedItself(drain)) demandOfNoRoll(basis, drain);
  demandOpen(drain);
  const state = isPaused ? ('paused' as const) : ('running' as const);
  if (drain.state === state) return { changes: [], result: drain.id };
  // A person who resumes a drain whose deadline has come wants it to go on.
  const by = isTooLate(drain, basis.now) ? null : (drain.by ?? null);
  const next: DrainRecord = isPaused ? { ...drain, state } : { ...drain, state, by, stuck: null, waits: null };
  return { changes: [{ kind: 'drain', id: drain.id, value: next }], result: drain.id };
}

/** Ends a drain once the moves under way have ended. VMs that have moved stay. CodedError 'not-found', 'conflict'. */
export function cancelDrain(basis: Basis, id: string): Admitted<DrainId> {
  const { value: drain } = findDrain(basis, id);
  demandOfNoRoll(basis, drain);
  if (drain.state === 'cancelling') return { changes: [], result: drain.id };
  demandOpen(drain);
  return { changes: [{ kind: 'drain', id: drain.id, value: { ...drain, state: 'cancelling' } }], result: drain.id };
}

/** Takes a host back into service. CodedError 'not-found', 'conflict' while its drain is not over. */
export function undrainHost(basis: Basis, name: string): Admitted<null> {
  const { value: host } = findHost(basis, name);
  const { maintenance = null } = host;
  if (maintenance === null)
    throw new CodedError('conflict', `${name} is not in maintenance.`, { advice: 'Nothing was changed.' });
  demandReadable(basis.records.unreadable, [keyOf.drain(maintenance.drain)]);
  demandNotRolled(basis, host.name);
  const drain = basis.records.drains.get(maintenance.drain)?.value;
  if (drain !== undefined && !isDrainOver(drain))
    throw new CodedError('conflict', `${name} is being drained (${drain.id}, ${drain.state}).`, {
      advice: `Nothing was changed. Cancel the drain first: gp maintenance cancel ${drain.id}.`,
    });
  return {
    changes: [{ kind: 'host', id: host.name, value: { ...host, maintenance: null } }],
    events: [eventOf(basis, host.name, 'host-undrained', `${name} is in service again.`)],
    result: null,
  };
}

/** A host that a roll is working on is taken back by the roll. */
function demandNotRolled({ records }: Basis, name: HostName): void {
  // A roll whose record cannot be read works on the hosts that it had when it was last read.
  const unread = [...records.lastReadable].flatMap(([key, last]) =>
    key.startsWith(PREFIX.roll) ? [last as RollRecord] : [],
  );
  for (const roll of [...recordsOf(records.rolls), ...unread]) {
    const host = isRollOver(roll) ? undefined : roll.hosts.find((each) => each.host === name && holdsHost(each));
    if (host === undefined) continue;
    throw new CodedError('conflict', `${name} is in ${roll.id} (${host.state}).`, {
      advice: `Nothing was changed. End the roll first: gp maintenance abort ${roll.id}.`,
    });
  }
}

/** The drain of an id. CodedError 'not-found'. */
export function findDrain({ records }: Pick<Basis, 'records'>, id: string): Entry<DrainRecord> {
  const entry = records.drains.get(id as DrainId);
  if (entry !== undefined) return entry;
  demandReadable(records.unreadable, [keyOf.drain(id as DrainId)]);
  throw new CodedError('not-found', `There is no drain ${id}.`, { advice: 'List them with "gp maintenance list".' });
}

/** The drain is stuck, whether or not it is a wave of a roll: then a person says that it continues. */
function pausedItself({ state, stuck }: DrainRecord): boolean {
  return state === 'paused' && stuck !== null && stuck !== HELD_DRAIN;
}

/** A wave of a roll is paused, resumed and ended with its roll; by itself once the roll has no record any more. */
function demandOfNoRoll({ records }: Basis, { id, roll = null, state }: DrainRecord): void {
  if (roll === null || (!records.rolls.has(roll) && !records.unreadable.has(keyOf.roll(roll)))) return;
  throw new CodedError('conflict', `${id} (${state}) is a wave of ${roll}.`, {
    advice: `Nothing was changed. Pause, resume or abort the roll: gp maintenance show ${roll}.`,
  });
}

function demandOpen({ id, state }: DrainRecord): void {
  if (state === 'running' || state === 'paused') return;
  throw new CodedError('conflict', `${id} is ${state}.`, { advice: 'Nothing was changed.' });
}

/** CodedError 'conflict' for a host that is in maintenance. */
export function demandFree({ records }: Basis, { name, maintenance = null }: HostRecord): void {
  if (maintenance === null) return;
  const drain = records.drains.get(maintenance.drain)?.value;
  const isOver = drain === undefined || isDrainOver(drain);
  throw new CodedError(
    'conflict',
    `${name} is ${isOver ? 'in maintenance already' : 'being drained already'} (${maintenance.drain}).`,
    {
      advice: isOver
        ? `Nothing was changed. Take it back first: gp host undrain ${name}.`
        : `Nothing was changed. See "gp maintenance show ${maintenance.drain}".`,
    },
  );
}

/** The host of a name. CodedError 'not-found'. */
export function findHost({ records }: Basis, name: string): Entry<HostRecord> {
  const entry = records.hosts.get(name as HostName);
  if (entry !== undefined) return entry;
  demandReadable(records.unreadable, [keyOf.host(name as HostName)]);
  throw new CodedError('not-found', `There is no host ${name}.`, {
    advice: `Nothing was changed. Hosts: ${listed([...records.hosts.keys()])}.`,
  });
}

/** A plan whose checker found something wrong with it. */
export function planNotAccepted(finding: string): CodedError {
  return new CodedError('failed', `The plan was not accepted by its checker: ${finding}.`, {
    advice: 'Nothing was changed. This is a fault of Groundplane: please report it with this message.',
  });
}

/**
 * The obstacles of a roll: its hosts with VMs that have no place. Where room for a loss is missing, the VMs of the
 * refusal are those of a host that might be lost, and say nothing about the hosts of the roll.
 */
export function rollRefusal(model: Model, names: readonly HostName[], outcome: Refusal): NoPlan {
  const without = outcome.obstacle === 'no-room-for-loss' ? [] : outcome.vms;
  const theirs = new Set(without.flatMap((id) => model.vms[model.vm(id)]?.host ?? []));
  const stuck = names.filter((name) => theirs.has(name));
  return stuck.length === 0 ? drainRefusal(model, names, outcome, []) : drainRefusal(model, stuck, outcome);
}

/** The obstacles of a drain. `about`: the hosts whose VMs have no place. */
function drainRefusal(
  model: Model,
  hosts: readonly HostName[],
  outcome: Refusal,
  about: readonly HostName[] = hosts,
): NoPlan {
  const vms = outcome.vms.map((id) => model.vms[model.vm(id)]?.name ?? id).sort();
  const options = { emptied: new Set(hosts), isRestart: false };
  // VMs of a host that might be lost need no other host now: no host has to say why it would not take them.
  const unplaced = outcome.obstacle === 'no-place' ? outcome.vms.slice(0, EXPLAINED_MAX) : [];
  const excluded = atOnce(exclusionsOf(model, unplaced, options));
  return new NoPlan(`${cannotWords(hosts)}: ${obstacleWords(outcome.obstacle, vms)}.`, {
    hosts: about,
    advice: ['Nothing was changed.', ...excluded.map((vm) => explained(vm))].join(' '),
  });
}

function cannotWords(hosts: readonly HostName[]): string {
  return `${listed(hosts)} cannot be drained now`;
}

/** Why no host takes a VM; the hosts that are being emptied need no reason. */
function explained(excluded: ExcludedVm): string {
  const hosts = excluded.hosts.filter(({ constraint }) => constraint.kind !== 'emptied');
  return `${wordsOf({ ...excluded, hosts }, hosts.length)}.`;
}

function eventOf({ now }: Pick<Basis, 'now'>, host: HostName, kind: string, message: string): EventRecord {
  return { at: now, kind, vm: null, vmName: null, host, generation: null, message };
}
