/**
 * Whether an older witness still holds, checked only by the hosts and rules that it uses. Sound, not complete: a
 * witness that cannot be confirmed is planned anew.
 */
import { holdOf } from './held.ts';
import { placeIn } from './layout.ts';
import type { Model } from './model.ts';
import type { LossWitness, PlannedWave } from './plan.ts';

/** A VM by index, with the host that it goes to. */
type Goings = ReadonlyMap<number, number>;

/** Returns true if the wave still empties the host. */
export function drainHolds(model: Model, host: number, { moves }: PlannedWave): boolean {
  const goings = new Map<number, number>();
  for (const { vm: id, from, to, memoryMib } of moves) {
    const vm = model.vm(id);
    const isFirst = !goings.has(vm);
    if (model.mibOf[vm] !== memoryMib) return false;
    if (vm < 0 || (isFirst && model.atOf[vm] !== model.host(from)) || holdOf(model, vm) !== null) return false;
    goings.set(vm, model.host(to));
  }
  // A VM that is on its way to another host needs no move; a new plan takes that into account.
  for (const vm of model.residents[host] ?? []) if (!goings.has(vm)) return false;
  if ((model.arriving[host]?.size ?? 0) > 0) return false;
  const legs = moves.map(({ vm, to }) => [model.vm(vm), model.host(to)] as const);
  return (
    legs.every(([vm, to]) => isFit(model, { vm, to, from: model.atOf[vm] ?? -1, closed: host })) &&
    hasRoom(model, legs) &&
    keepsRules(model, goings)
  );
}

/** Returns true if every VM of the host still restarts where the witness says. */
export function lossHolds(model: Model, host: number, { restarts, tied }: LossWitness): boolean {
  const goings = new Map(restarts.map(({ vm, to }) => [model.vm(vm), model.host(to)]));
  const named = new Set([...goings.keys(), ...tied.map((vm) => model.vm(vm))]);
  const there = model.residents[host] ?? new Set();
  if (named.size !== there.size || [...there].some((vm) => !named.has(vm))) return false;
  return (
    [...goings].every(([vm, to]) => isFit(model, { vm, to, from: null, closed: host })) &&
    hasRoom(model, [...goings]) &&
    keepsRules(model, goings)
  );
}

function isFit(
  { hosts, kinds, kindOf, shapeOf, vms }: Model,
  {
    vm,
    to,
    from,
    closed,
  }: { readonly vm: number; readonly to: number; readonly from: number | null; readonly closed: number },
): boolean {
  const host = hosts[to];
  if (host === undefined || host.state !== 'in-service' || to === closed) return false;
  const tie = vms[vm]?.tie ?? null;
  if (tie !== null && !tie.hosts.includes(host.name)) return false;
  const kind = kindOf[to] ?? -1;
  return kinds.runs(shapeOf[vm] ?? -1, kind) && (from === null || kinds.carries(kindOf[from] ?? -1, kind));
}

/** VMs that leave a host are counted as still there, so that all arriving VMs have room in every order. */
function hasRoom({ freeMib, freeCpu, mibOf, cpuOf }: Model, legs: readonly (readonly [number, number])[]): boolean {
  const mib = new Map<number, number>();
  const cpu = new Map<number, number>();
  for (const [vm, to] of legs) {
    mib.set(to, (mib.get(to) ?? 0) + (mibOf[vm] ?? 0));
    cpu.set(to, (cpu.get(to) ?? 0) + (cpuOf[vm] ?? 0));
  }
  return [...mib].every(
    ([host, taken]) => taken <= (freeMib[host] ?? 0) && (cpu.get(host) ?? 0) <= (freeCpu[host] ?? 0),
  );
}

function keepsRules(model: Model, goings: Goings): boolean {
  const { groups, atOf, vms } = model;
  const at = (vm: number): number => goings.get(vm) ?? atOf[vm] ?? -1;
  for (const [vm, to] of goings) {
    for (const number of groups.apartOf.get(vm) ?? []) {
      const group = groups.apart[number];
      if (group === undefined || !group.hard) continue;
      const place = placeIn(model, group, to);
      let count = 0;
      for (const other of group.vms) {
        const record = vms[other] ?? null;
        const coming = record === null || record.movingTo === null ? -1 : model.destination(record);
        if (placeIn(model, group, at(other)) === place || (coming >= 0 && placeIn(model, group, coming) === place))
          count += 1;
      }
      if (count > group.most) return false;
    }
    for (const number of groups.togetherOf.get(vm) ?? []) {
      const group = groups.together[number];
      if (group === undefined || !group.hard) continue;
      if (group.vms.some((other) => placeIn(model, group, at(other)) !== placeIn(model, group, to))) return false;
    }
    const bundle = groups.bundles.get(groups.leadOf.get(vm) ?? -1) ?? [];
    if (bundle.some((other) => at(other) !== to)) return false;
  }
  return true;
}
