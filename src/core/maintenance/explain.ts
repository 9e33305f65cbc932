/**
 * Explains why there is no plan, and what would make one possible. Every claim is made by planning again: a conflict
 * without any one of its constraints has a plan, and so has each relaxation. Pure; bounded by the number of plans that
 * it makes.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import type { Estate } from './estate.ts';
import { type ExcludedVm, exclusionsOf } from './exclusions.ts';
import type { Model } from './model.ts';
import { modelOf } from './model.ts';
import type { MaintenancePlan, Refusal } from './plan.ts';
import { type Constraint, keyOf, type Relaxation, relaxed } from './relax.ts';

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
   * Constraints that cannot be met together; without any one of them there is a plan. Empty if no such set was found.
   */
  readonly conflict: readonly Constraint[];
  /** True where it is known that no smaller set of the constraints conflicts. */
  readonly isSmallest: boolean;
  readonly relaxations: readonly VerifiedRelaxation[];
}

/** The refused request that is to be explained. */
export interface RefusedRequest {
  readonly estate: Estate;
  readonly hosts: readonly HostName[];
  readonly refusal: Refusal;
  /** Plans the same request for another snapshot. */
  readonly plan: (model: Model) => MaintenancePlan | Refusal;
}

/** VMs that are explained one by one. */
const VMS_MAX = 10;
/** Constraints that are looked at for a conflict, and hosts that more memory is tried on. */
const CONSTRAINTS_MAX = 24;
const MEMORY_HOSTS_MAX = 6;
/** Rounds of looking for further constraints. */
const BROADENED_MAX = 6;
/** Rounds of stopping what finds no place. */
const STOP_ROUNDS = 8;
const MIB_PER_GIB = 1024;

/** Explains a refusal with at most `plans` further plans. */
export function explain(request: RefusedRequest, plans = 200): Explanation {
  const { estate, hosts, refusal } = request;
  const named = refusal.vms.slice(0, VMS_MAX);
  const vms = exclusionsOf(modelOf(estate), named, new Set(hosts));
  const trial = new Trial(request, plans);
  const constraints = broadened(trial, relevant(estate, vms));
  const { conflict, isSmallest } = conflictOf(trial, constraints);
  const relaxations = [...changesOf(trial, constraints, conflict), ...memoryOf(trial, vms), ...stopsOf(trial)];
  return { vms, moreVms: refusal.vms.length - named.length, conflict, isSmallest, relaxations };
}

/** Plans again under relaxations, as long as the budget lasts. */
class Trial {
  readonly request: RefusedRequest;
  #left: number;

  constructor(request: RefusedRequest, plans: number) {
    this.request = request;
    this.#left = plans;
  }

  /** True when no further plan may be made. */
  get isOver(): boolean {
    return this.#left <= 0;
  }

  /** The planner's result with all of the relaxations; null: not tried, the budget is used up. */
  outcome(...relaxations: readonly Relaxation[]): MaintenancePlan | Refusal | null {
    if (this.isOver) return null;
    this.#left -= 1;
    return this.request.plan(modelOf(relaxations.reduce(relaxed, this.request.estate)));
  }

  /** Returns true if there is a plan without the constraints. */
  worksWithout(constraints: readonly Constraint[]): boolean {
    return this.outcome({ kind: 'without', constraints })?.kind === 'plan';
  }
}

/** The constraints that exclude hosts or hold VMs, those of the whole estate last. */
function relevant(estate: Estate, vms: readonly ExcludedVm[]): Constraint[] {
  const found = new Map<string, Constraint>();
  const add = (constraint: Constraint): void => void found.set(keyOf(constraint), constraint);
  for (const { held, hosts } of vms) {
    if (held !== null) add(held.constraint);
    for (const { constraint } of hosts) if (constraint.kind !== 'emptied') add(constraint);
  }
  const general = ['memory', 'vcpus', ...(estate.policy.keepRoomForLoss ? ['room-for-loss'] : [])] as const;
  for (const kind of general) found.delete(kind);
  const special = [...found.values()].slice(0, CONSTRAINTS_MAX);
  return [...special, ...general.map((kind): Constraint => ({ kind: kind as Constraint['kind'], name: '' }))];
}

/**
 * Adds the reasons that keep other VMs from a place once the constraints are gone, until there is a plan without all of
 * them.
 */
function broadened(trial: Trial, constraints: readonly Constraint[]): readonly Constraint[] {
  const { estate, hosts } = trial.request;
  let all = constraints;
  for (let round = 0; round < BROADENED_MAX && all.length < CONSTRAINTS_MAX; round += 1) {
    const relaxation: Relaxation = { kind: 'without', constraints: all };
    const outcome = trial.outcome(relaxation);
    if (outcome?.kind !== 'refused') break;
    const left = relaxed(estate, relaxation);
    const vms = exclusionsOf(modelOf(left), outcome.vms.slice(0, VMS_MAX), new Set(hosts));
    const known = new Set(all.map(keyOf));
    const more = relevant(left, vms).filter((one) => !known.has(keyOf(one)));
    if (more.length === 0) break;
    all = [...more, ...all];
  }
  return all;
}

/**
 * Leaves out one constraint after the other as long as there is still no plan: the remaining ones conflict, and each of
 * them is needed for that.
 */
function conflictOf(
  trial: Trial,
  constraints: readonly Constraint[],
): { readonly conflict: readonly Constraint[]; readonly isSmallest: boolean } {
  if (!trial.worksWithout(constraints)) return { conflict: [], isSmallest: false };
  // A conflict of one is found first: then nothing smaller is to be sought.
  const alone = constraints.find((one) => !trial.worksWithout(constraints.filter((other) => other !== one)));
  if (alone !== undefined && !trial.isOver) return { conflict: [alone], isSmallest: true };
  let conflict = constraints;
  for (const one of constraints) {
    const dropped = constraints.filter((other) => other === one || !conflict.includes(other));
    if (trial.isOver) return { conflict, isSmallest: false };
    if (!trial.worksWithout(dropped)) conflict = conflict.filter((other) => other !== one);
  }
  return { conflict, isSmallest: !trial.isOver && conflict.length <= 2 };
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

/** Single changes with which there is a plan; where none is enough, pairs of what conflicts. */
function changesOf(
  trial: Trial,
  constraints: readonly Constraint[],
  conflict: readonly Constraint[],
): VerifiedRelaxation[] {
  const changeable = constraints.filter(({ kind }) => CHANGEABLE.has(kind));
  const singles = changeable.flatMap((one) => verified(trial, { kind: 'without', constraints: [one] }));
  if (singles.length > 0) return singles;
  const pairs = conflict
    .filter(({ kind }) => CHANGEABLE.has(kind))
    .flatMap((one, number, all) => all.slice(number + 1).map((other) => [one, other]));
  return pairs.flatMap((pair) => verified(trial, { kind: 'without', constraints: pair }));
}

/**
 * More memory on one host: for the largest VM without a place, for all of them, or for other VMs that lack memory then.
 */
function memoryOf(trial: Trial, vms: readonly ExcludedVm[]): VerifiedRelaxation[] {
  const { estate, refusal } = trial.request;
  const model = modelOf(estate);
  const sizes = refusal.vms.map((id) => model.mibOf[model.vm(id)] ?? 0);
  const short = new Map<HostName, number>();
  for (const { hosts } of vms)
    for (const { host, constraint } of hosts)
      if (constraint.kind === 'memory') short.set(host, model.freeMib[model.host(host)] ?? 0);
  const roomiest = [...short].toSorted(([, a], [, b]) => b - a).slice(0, MEMORY_HOSTS_MAX);
  return roomiest.flatMap(([host, freeMib]) => {
    const all = sizes.reduce((a, b) => a + b, 0);
    for (const mib of new Set([Math.max(0, ...sizes), all, 2 * all, 4 * all].map((size) => roundUp(size - freeMib)))) {
      const found = mib > 0 ? verified(trial, { kind: 'memory', host, mib }) : [];
      if (found.length > 0) return found;
    }
    return [];
  });
}

/** Rounds up to whole GiB: nobody adds less. */
function roundUp(mib: number): number {
  return Math.ceil(mib / MIB_PER_GIB) * MIB_PER_GIB;
}

/** Stopping the VMs without a place, and those that find none then. */
function stopsOf(trial: Trial): VerifiedRelaxation[] {
  const vms: VmId[] = [...trial.request.refusal.vms];
  for (let round = 0; round < STOP_ROUNDS && vms.length > 0; round += 1) {
    const outcome = trial.outcome({ kind: 'stopped', vms });
    if (outcome === null) return [];
    if (outcome.kind === 'plan') return [{ relaxation: { kind: 'stopped', vms }, moves: movesOf(outcome) }];
    vms.push(...outcome.vms.filter((vm) => !vms.includes(vm)));
  }
  return [];
}

function verified(trial: Trial, relaxation: Relaxation): VerifiedRelaxation[] {
  const outcome = trial.outcome(relaxation);
  return outcome?.kind === 'plan' ? [{ relaxation, moves: movesOf(outcome) }] : [];
}

function movesOf({ waves }: MaintenancePlan): number {
  return waves.reduce((sum, { moves }) => sum + moves.length, 0);
}
