/**
 * Explains why there is no plan, and what would make one possible. Every claim is made by planning again: with the
 * constraints of a conflict alone there is no plan, with one of them less there is, and so there is with each relaxation.
 * Pure; in pieces, and bounded by the number of plans that it makes.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import { type Constraint, keyOf } from './constraint.ts';
import { type ExcludedVm, exclusionsOf } from './exclusions.ts';
import { Layout } from './layout.ts';
import { loseHostInTurns } from './loss.ts';
import type { Model } from './model.ts';
import type { Refusal } from './plan.ts';
import { planEvacuationInTurns } from './planner.ts';
import type { Question } from './reasons.ts';
import { type Relaxation, relax, relaxedPolicy } from './relax.ts';

/** The answer to the question whether there is a plan. */
export type Answer =
  | {
      readonly kind: 'possible';
      /** The number of its moves. */
      readonly moves: number;
    }
  | Refusal;

/** A relaxation with which there is a plan. */
export interface VerifiedRelaxation {
  readonly relaxation: Relaxation;
  /** How many moves that plan has. */
  readonly moves: number;
}

export interface Explanation {
  /** VMs without a place, each with every host. */
  readonly vms: readonly ExcludedVm[];
  /** VMs without a place that are not in `vms`. */
  readonly moreVms: number;
  /**
   * Constraints that cannot be met together, even with all others given up; with any one of them less they can. Empty if
   * no such set was found.
   */
  readonly conflict: readonly Constraint[];
  /** True where it is known that no smaller set of the constraints conflicts. */
  readonly isSmallest: boolean;
  readonly relaxations: readonly VerifiedRelaxation[];
  /** False if the budget was used up first: there may be more ways than are listed. */
  readonly isComplete: boolean;
}

/** The refused request that is to be explained. */
export interface RefusedRequest {
  /** Changed and changed back while the explanation is made: nothing else may use it. */
  readonly model: Model;
  /** The hosts that would be emptied, or lost. */
  readonly hosts: readonly HostName[];
  readonly question: Question;
  readonly refusal: Refusal;
  /** Asks the same question about the model as it is at that moment. */
  readonly plan: (model: Model) => Generator<void, Answer>;
}

/** The rest of the work that an explanation may do. */
export interface ExplainBudget {
  /** Plans that may still be made. */
  plans: number;
  /** Set when the time is up: the explanation ends soon, with the ways that it has found. */
  isOver?: boolean;
}

/** VMs that are explained one by one. */
const VMS_MAX = 10;
/** The most constraints that are tried for a conflict, and the most hosts that are tried with more memory. */
const CONSTRAINTS_MAX = 24;
const MEMORY_HOSTS_MAX = 6;
/** Rounds of looking for further constraints. */
const BROADENED_MAX = 6;
/** Rounds of stopping what finds no place. */
const STOP_ROUNDS = 8;
const MIB_PER_GIB = 1024;

/** Plans that one explanation makes at most. */
export const EXPLAIN_PLANS = 200;

/** Explains a refusal. */
export function* explain(
  request: RefusedRequest,
  budget: ExplainBudget = { plans: EXPLAIN_PLANS },
): Generator<void, Explanation> {
  const { model, refusal } = request;
  const named = refusal.vms.slice(0, VMS_MAX);
  const vms = yield* exclusionsOf(model, named, excluding(request));
  const trial = new Trial(request, budget);
  const constraints = yield* broadened(trial, relevant(model, vms));
  // The most useful ways are tried first: the budget may not last.
  const singles = yield* singlesOf(trial, constraints);
  const more = [...(yield* memoryOf(trial, vms)), ...(yield* stopsOf(trial))];
  const { conflict, isSmallest } = yield* conflictOf(trial, constraints);
  const changes = singles.length > 0 ? singles : yield* pairsOf(trial, conflict);
  return {
    ...{ vms, moreVms: refusal.vms.length - named.length, conflict, isSmallest },
    relaxations: [...changes, ...more],
    isComplete: !trial.isOver,
  };
}

function excluding({ hosts, question }: RefusedRequest) {
  return { emptied: new Set(hosts), isRestart: question === 'loss' };
}

/** Asks whether hosts can be emptied all at once. `steps`: attempts at displacing VMs. */
export function evacuationOf(hosts: readonly HostName[], steps: number): RefusedRequest['plan'] {
  return function* (model) {
    const outcome = yield* planEvacuationInTurns(model, hosts, { steps });
    if (outcome.kind === 'refused') return outcome;
    return { kind: 'possible', moves: outcome.waves.reduce((sum, { moves }) => sum + moves.length, 0) };
  };
}

/** Asks whether every VM of a host restarts elsewhere if the host is lost. `steps`: as above. */
export function lossOf(name: HostName, steps: number): RefusedRequest['plan'] {
  return function* (model) {
    const options = { budget: { steps }, inSequence: false, mayMove: () => false };
    const outcome = yield* loseHostInTurns(new Layout(model), model.host(name), options);
    if (outcome.kind === 'witness') return { kind: 'possible', moves: 0 };
    const vms = outcome.unplaced.map((vm) => model.vmAt(vm).id);
    return { kind: 'refused', vms, obstacle: 'no-place', proven: false, wavesDone: 0 };
  };
}

/** Plans again under relaxations, as long as the budget lasts. */
class Trial {
  readonly request: RefusedRequest;
  readonly #budget: ExplainBudget;

  constructor(request: RefusedRequest, budget: ExplainBudget) {
    this.request = request;
    this.#budget = budget;
  }

  /** True when no further plan may be made. */
  get isOver(): boolean {
    return this.#budget.plans <= 0 || this.#budget.isOver === true;
  }

  /** The planner's answer with the relaxation; null: not tried, the budget is used up. */
  *outcome(relaxation: Relaxation): Generator<void, Answer | null> {
    return (yield* this.under(relaxation, null))?.answer ?? null;
  }

  /**
   * Asks with the relaxation; after a refusal `look` finds further constraints. Null: not answered, the budget is used
   * up.
   */
  *under(
    relaxation: Relaxation,
    look: ((model: Model, refusal: Refusal) => Generator<void, readonly Constraint[]>) | null,
  ): Generator<void, { readonly answer: Answer; readonly found: readonly Constraint[] } | null> {
    if (this.isOver) return null;
    this.#budget.plans -= 1;
    const { model, plan } = this.request;
    const takeBack = model.trying(() => relax(model, relaxation));
    yield;
    const policy = relaxedPolicy(model.policy, relaxation);
    const seen = policy === model.policy ? model : model.under(policy, { hosts: [], vms: [], lost: [], absent: [] });
    const answer = yield* this.#unlessOver(plan(seen));
    const found = answer?.kind !== 'refused' || look === null ? [] : yield* look(model, answer);
    takeBack();
    yield;
    return answer === null ? null : { answer, found };
  }

  /** Makes a plan; null: the time was up first. */
  *#unlessOver(planning: Generator<void, Answer>): Generator<void, Answer | null> {
    for (;;) {
      const piece = planning.next();
      if (piece.done === true) return piece.value;
      if (this.#budget.isOver === true) return null;
      yield;
    }
  }

  /** Returns true if there is a plan without the constraints. */
  *worksWithout(constraints: readonly Constraint[]): Generator<void, boolean> {
    const answer = yield* this.outcome({ kind: 'without', constraints });
    return answer?.kind === 'possible';
  }
}

/** The constraints that exclude hosts or hold VMs, those of the whole estate last. */
function relevant({ policy }: Model, vms: readonly ExcludedVm[]): Constraint[] {
  const found = new Map<string, Constraint>();
  const add = (constraint: Constraint): void => void found.set(keyOf(constraint), constraint);
  for (const { held, hosts } of vms) {
    if (held !== null) add(held.constraint);
    for (const { constraint } of hosts) if (constraint.kind !== 'emptied') add(constraint);
  }
  const general = ['memory', 'vcpus', ...(policy.keepRoomForLoss ? ['room-for-loss'] : [])] as const;
  for (const kind of general) found.delete(kind);
  const special = [...found.values()].slice(0, CONSTRAINTS_MAX);
  return [...special, ...general.map((kind): Constraint => ({ kind: kind as Constraint['kind'], name: '' }))];
}

/**
 * Adds the reasons that keep other VMs from a place once the constraints are gone, until there is a plan without all of
 * them.
 */
function* broadened(trial: Trial, constraints: readonly Constraint[]): Generator<void, readonly Constraint[]> {
  const { request } = trial;
  let all = constraints;
  for (let round = 0; round < BROADENED_MAX && all.length < CONSTRAINTS_MAX; round += 1) {
    const known = new Set(all.map(keyOf));
    const relaxation: Relaxation = { kind: 'without', constraints: all };
    const outcome = yield* trial.under(relaxation, function* (model, { vms: unplaced }) {
      const vms = yield* exclusionsOf(model, unplaced.slice(0, VMS_MAX), excluding(request));
      return relevant(model, vms).filter((one) => !known.has(keyOf(one)));
    });
    const more = outcome?.found ?? [];
    if (more.length === 0) break;
    all = [...more, ...all];
  }
  return all;
}

/**
 * Leaves out one constraint after the other as long as there is still no plan: the remaining ones conflict, and each of
 * them is needed for that.
 */
function* conflictOf(
  trial: Trial,
  constraints: readonly Constraint[],
): Generator<void, { readonly conflict: readonly Constraint[]; readonly isSmallest: boolean }> {
  if (!(yield* trial.worksWithout(constraints))) return { conflict: [], isSmallest: false };
  // A conflict of one is found first: then nothing smaller is to be sought.
  for (const one of constraints) {
    const works = yield* trial.worksWithout(constraints.filter((other) => other !== one));
    if (trial.isOver) return { conflict: [], isSmallest: false };
    if (!works) return { conflict: [one], isSmallest: true };
  }
  let conflict = constraints;
  for (const one of constraints) {
    const dropped = constraints.filter((other) => other === one || !conflict.includes(other));
    const works = yield* trial.worksWithout(dropped);
    if (trial.isOver) return { conflict: [], isSmallest: false };
    if (!works) conflict = conflict.filter((other) => other !== one);
  }
  return { conflict, isSmallest: conflict.length <= 2 };
}

/** Kinds that people can change from one hour to the next. */
const CHANGEABLE: ReadonlySet<Constraint['kind']> = new Set([
  'host-state',
  'rule',
  'guest-cluster',
  'disturbed',
  'pause',
  'tie',
  'unsettled',
  'moving',
  'vcpus',
  'room-for-loss',
]);

/** Single changes with which there is a plan. */
function* singlesOf(trial: Trial, constraints: readonly Constraint[]): Generator<void, VerifiedRelaxation[]> {
  const changeable = constraints.filter(({ kind }) => CHANGEABLE.has(kind));
  const found: VerifiedRelaxation[] = [];
  for (const one of changeable) found.push(...(yield* verified(trial, { kind: 'without', constraints: [one] })));
  return found;
}

/** Pairs of conflicting constraints without which there is a plan. */
function* pairsOf(trial: Trial, conflict: readonly Constraint[]): Generator<void, VerifiedRelaxation[]> {
  const changeable = conflict.filter(({ kind }) => CHANGEABLE.has(kind));
  const found: VerifiedRelaxation[] = [];
  for (const [number, one] of changeable.entries())
    for (const other of changeable.slice(number + 1))
      found.push(...(yield* verified(trial, { kind: 'without', constraints: [one, other] })));
  return found;
}

/**
 * More memory on one host: for the largest VM without a place, for all of them, or for other VMs that lack memory then.
 */
function* memoryOf(trial: Trial, vms: readonly ExcludedVm[]): Generator<void, VerifiedRelaxation[]> {
  const { model, refusal } = trial.request;
  const sizes = refusal.vms.map((id) => model.mibOf[model.vm(id)] ?? 0);
  const short = new Map<HostName, number>();
  for (const { hosts } of vms)
    for (const { host, constraint } of hosts)
      if (constraint.kind === 'memory') short.set(host, model.freeMib[model.host(host)] ?? 0);
  const roomiest = [...short].toSorted(([, a], [, b]) => b - a).slice(0, MEMORY_HOSTS_MAX);
  const all = sizes.reduce((a, b) => a + b, 0);
  const found: VerifiedRelaxation[] = [];
  for (const [host, freeMib] of roomiest) {
    const amounts = [Math.max(0, ...sizes), all, 2 * all, 4 * all].map((size) => roundUp(size - freeMib));
    for (const mib of new Set(amounts.filter((amount) => amount > 0))) {
      const works = yield* verified(trial, { kind: 'memory', host, mib });
      found.push(...works);
      if (works.length > 0) break;
    }
  }
  return found;
}

/** Rounds up to whole GiB: nobody adds less. */
function roundUp(mib: number): number {
  return Math.ceil(mib / MIB_PER_GIB) * MIB_PER_GIB;
}

/** Stopping the VMs without a place, and those that find none then. */
function* stopsOf(trial: Trial): Generator<void, VerifiedRelaxation[]> {
  const vms: VmId[] = [...trial.request.refusal.vms];
  for (let round = 0; round < STOP_ROUNDS && vms.length > 0; round += 1) {
    const answer = yield* trial.outcome({ kind: 'stopped', vms });
    if (answer === null) return [];
    if (answer.kind === 'possible') return [{ relaxation: { kind: 'stopped', vms }, moves: answer.moves }];
    vms.push(...answer.vms.filter((vm) => !vms.includes(vm)));
  }
  return [];
}

function* verified(trial: Trial, relaxation: Relaxation): Generator<void, VerifiedRelaxation[]> {
  const answer = yield* trial.outcome(relaxation);
  return answer?.kind === 'possible' ? [{ relaxation, moves: answer.moves }] : [];
}
