/** VMs that a hard rule keeps on one host: they move as one, to a host that takes all of them. */
import type { Rule, Vm } from '../estate/estate.ts';
import { compare } from '../estate/estate-builder.ts';
import type { EstateIndex } from './estate-index.ts';
import { memoryOf } from './memory.ts';
import type { Reason } from './reasons.ts';

/** Running VMs of one host that must stay together, with the rule that comes first by key. */
export interface Unit {
  readonly rule: Rule;
  readonly vms: readonly Vm[];
}

/** Returns the units among VMs of one host; rules that have a VM in common make one unit. */
export function unitsAmong(vms: readonly Vm[], index: EstateIndex): readonly Unit[] {
  const here = new Map(vms.map((vm) => [vm.key, vm]));
  const unitOf = new Map<string, { rule: Rule; vms: Set<Vm> }>();
  const rules = new Set(vms.flatMap(({ key }) => index.rulesOf.get(key) ?? []));
  for (const rule of [...rules].toSorted((a, b) => compare(a.key, b.key))) {
    if (rule.kind !== 'together' || !rule.isHard) continue;
    const members = rule.vms.flatMap((key) => here.get(key) ?? []);
    if (members.length < 2) continue;
    const touching = new Set(members.flatMap(({ key }) => unitOf.get(key) ?? []));
    const [unit = { rule, vms: new Set<Vm>() }, ...others] = touching;
    for (const vm of [...members, ...others.flatMap((other) => [...other.vms])]) {
      unit.vms.add(vm);
      unitOf.set(vm.key, unit);
    }
  }
  return [...new Set(unitOf.values())].map((unit) => ({ rule: unit.rule, vms: [...unit.vms] }));
}

/**
 * Returns reasons why no host takes a unit, whatever else is on it. `largestMib`: memory of the largest other host;
 * null: unknown.
 */
export function togetherReasons(
  units: readonly Unit[],
  largestMib: number | null,
  possible: (vm: Vm) => ReadonlySet<string> | null,
): readonly Reason[] {
  return units.flatMap(({ rule, vms }): readonly Reason[] => {
    const neededMib = vms.reduce((sum, vm) => sum + memoryOf(vm, 'reserved'), 0);
    const common = inCommon(vms.map(possible));
    // A VM without any possible target has reasons of its own.
    if (common?.size === 0 && vms.every((vm) => possible(vm)?.size !== 0))
      return [{ kind: 'together', rule, members: vms.length, neededMib, largestMib: null }];
    return largestMib !== null && neededMib > largestMib
      ? [{ kind: 'together', rule, members: vms.length, neededMib, largestMib }]
      : [];
  });
}

/** Returns what all sets have in common; null stands for everything. */
export function inCommon(sets: readonly (ReadonlySet<string> | null)[]): ReadonlySet<string> | null {
  const known = sets.filter((set) => set !== null);
  const [first, ...others] = known;
  if (first === undefined || others.length === 0) return first ?? null;
  return new Set([...first].filter((key) => others.every((set) => set.has(key))));
}
