/**
 * Rules and guest clusters as groups of VMs by index: what the search looks at when it asks whether a VM may be on a
 * host. Pure.
 */
import type { VmId } from '../../base/ids.ts';
import type { Constraint } from './constraint.ts';
import type { EstateGuestCluster, EstateRule } from './estate.ts';

/** What groups are made from (model.ts). */
export interface GroupSource {
  readonly rules: readonly EstateRule[];
  readonly clusters: readonly EstateGuestCluster[];
  /** Rack by host, host by VM. */
  readonly rackOf: readonly number[];
  readonly atOf: readonly number[];
  /** Returns the index of a VM, or -1. */
  vm(id: VmId): number;
}

/** VMs of which one host, or one rack, may have at most `most`. */
export interface ApartGroup {
  readonly constraint: Constraint;
  readonly vms: readonly number[];
  readonly byRack: boolean;
  readonly hard: boolean;
  readonly most: number;
}

/** VMs that belong on one host or in one rack. */
export interface TogetherGroup {
  readonly constraint: Constraint;
  readonly vms: readonly number[];
  readonly byRack: boolean;
  readonly hard: boolean;
}

export interface Groups {
  readonly apart: readonly ApartGroup[];
  readonly together: readonly TogetherGroup[];
  /** Indexes into `apart` and `together`, by VM. */
  readonly apartOf: ReadonlyMap<number, readonly number[]>;
  readonly togetherOf: ReadonlyMap<number, readonly number[]>;
  /** VMs that move as one: those of hard rules "together on a host" that hold. By the first of them. */
  readonly bundles: ReadonlyMap<number, readonly number[]>;
  /** The first VM of the bundle, for VMs of bundles. */
  readonly leadOf: ReadonlyMap<number, number>;
  /** Index into the model's guest clusters, by VM. */
  readonly clusterOf: ReadonlyMap<number, number>;
}

export const NO_GROUPS: Groups = {
  apart: [],
  together: [],
  apartOf: new Map(),
  togetherOf: new Map(),
  bundles: new Map(),
  leadOf: new Map(),
  clusterOf: new Map(),
};

/** The groups of a model in its present state. VMs that the model does not know are left out: they are on no host. */
export function groupsOf(model: GroupSource): Groups {
  const indexes = (ids: EstateRule['vms']): number[] => ids.map((id) => model.vm(id)).filter((vm) => vm >= 0);
  const { bundles, leadOf } = bundlesOf(model, indexes);
  const apart: ApartGroup[] = [];
  const together: TogetherGroup[] = [];
  for (const rule of model.rules) {
    const group = {
      constraint: { kind: 'rule' as const, name: rule.name },
      vms: indexes(rule.vms),
      byRack: rule.by === 'rack',
    };
    const isBundled = rule.kind === 'together' && rule.hard && rule.by === 'host';
    if (rule.kind === 'apart') apart.push({ ...group, hard: rule.hard, most: rule.most });
    // If the VMs of a hard rule are not together now, no single move can break the rule: it is kept where that costs
    // nothing.
    else together.push({ ...group, hard: rule.hard && !isBundled && holds(model, group) });
  }
  const clusterOf = new Map<number, number>();
  for (const [number, cluster] of model.clusters.entries()) {
    const vms = indexes(cluster.members);
    for (const vm of vms) clusterOf.set(vm, number);
    apart.push({
      constraint: { kind: 'guest-cluster', name: cluster.name },
      vms,
      byRack: false,
      hard: !cluster.sharesHosts,
      most: 1,
    });
  }
  return { apart, together, apartOf: byVm(apart), togetherOf: byVm(together), bundles, leadOf, clusterOf };
}

/** Returns true if the VMs are in one place now, and none of them is moving. */
function holds(model: GroupSource, { vms, byRack }: Pick<TogetherGroup, 'vms' | 'byRack'>): boolean {
  const places = new Set(
    vms.map((vm) => {
      const host = model.atOf[vm] ?? -1;
      return byRack ? model.rackOf[host] : host;
    }),
  );
  return places.size <= 1;
}

/** Joins the VMs of hard rules "together on a host": those of several rules with a VM in common are one bundle. */
function bundlesOf(
  model: GroupSource,
  indexes: (ids: EstateRule['vms']) => number[],
): Pick<Groups, 'bundles' | 'leadOf'> {
  const leadOf = new Map<number, number>();
  const bundles = new Map<number, readonly number[]>();
  for (const { kind, by, hard, vms } of model.rules) {
    const named = indexes(vms);
    if (kind !== 'together' || by !== 'host' || !hard || !holds(model, { vms: named, byRack: false })) continue;
    const joined = new Set(named.flatMap((vm) => bundles.get(leadOf.get(vm) ?? -1) ?? [vm]));
    if (joined.size < 2) continue;
    for (const vm of joined) bundles.delete(leadOf.get(vm) ?? -1);
    const members = [...joined].toSorted((a, b) => a - b);
    const lead = members[0] ?? -1;
    for (const vm of members) leadOf.set(vm, lead);
    bundles.set(lead, members);
  }
  return { bundles, leadOf };
}

function byVm(groups: readonly { readonly vms: readonly number[] }[]): Map<number, number[]> {
  const found = new Map<number, number[]>();
  for (const [number, { vms }] of groups.entries()) {
    for (const vm of vms) {
      const known = found.get(vm);
      if (known === undefined) found.set(vm, [number]);
      else known.push(number);
    }
  }
  return found;
}
