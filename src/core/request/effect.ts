/**
 * The effect of a change of records on the estate: which VM would be where, which rules would hold, which ties there
 * would be. Pure. core/loop/maintenance/estate-keeper.ts judges whether that breaks a verdict.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { EstateGuestCluster } from '../maintenance/estate.ts';
import type { EstateChange } from '../maintenance/estate-change.ts';
import { affinityRule, estateVmAt, estateVmOf, guestClusterOf, runningOn } from '../maintenance/estate-records.ts';
import type { HostRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import type { DebtKind } from '../model/debt.ts';
import type { GuestClusterRecord } from '../model/guest-cluster.ts';
import { affinityGroup, currentIncarnation, type VmRecord } from '../model/vm.ts';
import { place } from '../plan/placement/placement.ts';
import type { Change, Snapshot } from '../ports/store.ts';
import type { Basis, Observed } from './basis.ts';

const NONE: readonly Tie[] = [];
/** Hosts that a tie names. */
const HOSTS_NAMED = 5;

/** Something that binds a VM to hosts, or a guest cluster to all of them. */
export interface Tie {
  readonly kind: Exclude<DebtKind, 'room'>;
  readonly what: string;
}

/**
 * The facts that an effect is computed from: fewer than a request needs, so that the leader's own loops can compute it.
 */
export interface EffectBasis extends Pick<Basis, 'index'> {
  readonly records: Snapshot;
}

/** The effect of a change of records. */
export interface Effect {
  readonly changes: readonly EstateChange[];
  /** Ties that the change makes. */
  readonly ties: readonly Tie[];
}

/** The facts beside records that an effect depends on: the observations of hosts, and which VMs are expected where. */
export interface Sight extends Pick<Observed, 'observer'> {
  readonly estate: Pick<Observed['estate'], 'expected'>;
}

/** Computes the effect of changes of records on the estate. VMs that go, hosts, and drains are not considered. */
export function effectOf(basis: EffectBasis, observed: Sight, changes: readonly Change[]): Effect {
  const vms = changes.flatMap((change) =>
    change.kind === 'vm' && change.value !== null
      ? [{ before: basis.records.vms.get(change.id)?.value ?? null, after: change.value }]
      : [],
  );
  const clusters = changes.flatMap((change) =>
    change.kind === 'guest-cluster' && change.value !== null ? [change.value] : [],
  );
  const models = new CpuModels(basis.records);
  const moved = vmChanges(basis, observed, vms);
  return {
    changes: [
      ...clusters.flatMap((cluster) => clusterChange(basis, cluster)),
      ...(moved.length === 0 ? [] : memberChanges(basis, vms, clusters)),
      ...groupChanges(basis, vms),
      ...moved,
    ],
    ties: [
      ...vms.flatMap((vm) => tiesOfVm(models, vm.after).filter((tie) => !hadTie(models, vm.before, tie))),
      ...clusters.flatMap((cluster) => newTiesOfCluster(basis, cluster)),
    ],
  };
}

/** Which hosts cannot provide a CPU model; each model is looked up once. Valid until a host changes. */
export class CpuModels {
  readonly #hosts: readonly HostRecord[];
  readonly #without = new Map<string, readonly HostName[]>();

  constructor({ hosts }: Pick<Snapshot, 'hosts'>) {
    this.#hosts = [...recordsOf(hosts)];
  }

  /** The hosts that cannot be a model; none for the one that every host can be. */
  without(model: string): readonly HostName[] {
    if (model === 'baseline') return [];
    const known = this.#without.get(model);
    if (known !== undefined) return known;
    const found = this.#hosts.filter(({ capacity }) => !capacity.cpuModels.includes(model)).map(({ name }) => name);
    this.#without.set(model, found);
    return found;
  }
}

/** The ties of a VM: it is pinned to a host, or wants a CPU that not every host has. */
export function tiesOfVm(models: CpuModels, { name, spec }: VmRecord): readonly Tie[] {
  const { pin = null, cpuModel } = spec;
  const without = models.without(cpuModel);
  if (pin === null && without.length === 0) return NONE;
  return [
    ...(pin === null ? [] : [{ kind: 'pin', what: `${name} is pinned to ${pin}` } as const]),
    ...(without.length === 0
      ? []
      : [
          {
            kind: 'cpu-model',
            what: `${name} wants CPU model ${cpuModel}, which ${listed(without, HOSTS_NAMED)} cannot be`,
          } as const,
        ]),
  ];
}

/** The tie of a guest cluster whose members need every host there is. */
export function tieOfCluster(records: Pick<Snapshot, 'hosts'>, cluster: GuestClusterRecord): Tie | null {
  const { name, members, sharesHosts } = cluster;
  const hosts = records.hosts.size;
  if (sharesHosts || members.length < 2 || hosts === 0 || members.length < hosts) return null;
  return {
    kind: 'guest-cluster',
    what: `guest cluster ${name} has ${members.length} members that share no host, and there are ${hosts} hosts`,
  };
}

function hadTie(models: CpuModels, before: VmRecord | null, tie: Tie): boolean {
  return before !== null && tiesOfVm(models, before).some(({ kind, what }) => kind === tie.kind && what === tie.what);
}

function newTiesOfCluster(basis: EffectBasis, cluster: GuestClusterRecord): readonly Tie[] {
  const tie = tieOfCluster(basis.records, cluster);
  const before = basis.records.guestClusters.get(cluster.name)?.value;
  const had = before !== undefined && tieOfCluster(basis.records, before) !== null;
  return tie === null || (had && before.members.length >= cluster.members.length) ? [] : [tie];
}

function clusterChange({ records, index }: EffectBasis, record: GuestClusterRecord): readonly EstateChange[] {
  const cluster = guestClusterOf(record, index);
  const before = records.guestClusters.get(record.name)?.value;
  if (before !== undefined && isSame(guestClusterOf(before, index), cluster)) return [];
  return [allRun(cluster)];
}

/**
 * The guest clusters of changed VMs. A member that starts while others are stopped breaks only what their own start
 * mends: otherwise a guest cluster could not be started member by member.
 */
function memberChanges(
  { index }: EffectBasis,
  vms: readonly Changed[],
  changed: readonly GuestClusterRecord[],
): readonly EstateChange[] {
  const records = new Set(vms.map(({ after }) => index.guestClusterOf(after)));
  return [...records].flatMap((record) => {
    if (record === null || changed.some(({ name }) => name === record.name)) return [];
    const cluster = guestClusterOf(record, index);
    return cluster.disturbed.length === 0 ? [] : [allRun(cluster)];
  });
}

/** A guest cluster as if the members that people stopped or paused ran. */
const allRun = (cluster: EstateGuestCluster): EstateChange => {
  return { kind: 'guest-cluster', name: cluster.name, cluster: { ...cluster, disturbed: [] } };
};

interface Changed {
  readonly before: VmRecord | null;
  readonly after: VmRecord;
}

/** Anti-affinity groups that VMs join or leave. */
function groupChanges({ index }: EffectBasis, changed: readonly Changed[]): readonly EstateChange[] {
  const groups = new Map<string, Set<VmId>>();
  const membersOf = (group: string): Set<VmId> => {
    const members = groups.get(group) ?? new Set([...index.groupMembers(group)].map(({ id }) => id));
    groups.set(group, members);
    return members;
  };
  for (const { before, after } of changed) {
    const [from, to] = [before === null ? null : affinityGroup(before), affinityGroup(after)];
    if (from === to) continue;
    if (from !== null) membersOf(from).delete(after.id);
    if (to !== null) membersOf(to).add(after.id);
  }
  return [...groups].map(([name, members]) => ({
    kind: 'rule',
    name,
    rule: members.size === 0 ? null : affinityRule(name, [...members].sort()),
  }));
}

/**
 * VMs that are on a host and change; and those that would start now, or would start larger, where they would be placed
 * one after the other.
 */
function vmChanges(
  { records, index }: EffectBasis,
  { observer, estate }: Sight,
  vms: readonly Changed[],
): EstateChange[] {
  const ids = new Set(vms.map(({ after }) => after.id));
  const expected = estate.expected().filter(({ id }) => !ids.has(id));
  const seeHost = (host: HostName) => observer.see(host);
  return vms.flatMap(({ before, after }): EstateChange[] => {
    const vm = estateVmOf(after, records);
    if (vm !== null) {
      const known = before === null ? null : estateVmOf(before, records);
      return known !== null && isSame(known, vm) ? [] : [{ kind: 'vm', vm }];
    }
    const starts = after.intent !== 'stopped' && (before === null || before.intent === 'stopped');
    if (after.deleting || (!starts && !isLarger(before, after))) return [];
    const placed = index.meanwhile(expected, () =>
      place({ vm: after, index, seeHost, exclude: [], only: null, isOver: false }),
    );
    if (placed.kind !== 'placed') return [];
    expected.push(runningOn(after, placed.host));
    return [{ kind: 'vm', vm: estateVmAt(after, placed.host) }];
  });
}

function isLarger(before: VmRecord | null, after: VmRecord): boolean {
  if (before === null || currentIncarnation(after.phase) !== null) return false;
  return after.spec.memoryBytes > before.spec.memoryBytes || after.spec.vcpus > before.spec.vcpus;
}

function isSame(a: object, b: object): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
