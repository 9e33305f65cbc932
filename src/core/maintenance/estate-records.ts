/**
 * The snapshot that maintenance is planned from, made from the records and what the leader observes: object by object,
 * for the keeper that follows changes (core/loop/maintenance/estate-keeper.ts); around some hosts, to check a plan; and
 * whole, to compare with.
 */
import type { DrainId, Generation, HostName, VmId } from '../../base/ids.ts';
import type { HostRecord } from '../model/cluster.ts';
import { type ClusterIndex, footprintBytes } from '../model/cluster-index.ts';
import { claimsOf } from '../model/drain.ts';
import type { GuestClusterRecord } from '../model/guest-cluster.ts';
import { keyOf, PREFIX } from '../model/keys.ts';
import type { HostObservation } from '../model/observation.ts';
import { releaseNumber } from '../model/release.ts';
import { affinityGroup, currentIncarnation, expectedIncarnations, type VmRecord } from '../model/vm.ts';
import { predictPause } from '../plan/migration/pause-prediction.ts';
import { unreadableFor } from '../plan/vm/unreadable.ts';
import type { Entry, Snapshot } from '../ports/store.ts';
import type {
  Estate,
  EstateGuestCluster,
  EstateHost,
  EstatePolicy,
  EstateRule,
  EstateTie,
  EstateVm,
  HostState,
} from './estate.ts';
import { type FastWriter, withWriting } from './fast-writers.ts';
import { atOnce } from './in-turns.ts';

const MIB = 1024 ** 2;
/** Virtual CPUs of guests for each processor: placement refuses a VM beyond it as well. */
const VCPU_OVERCOMMIT = 8;
/** The rate at which a host sends or receives in a move, in MiB a second: 1 Gbit/s until somebody measured more. */
const HOST_MIB_PER_S = 110;
/** VMs that are read as one piece. */
const READ_AT_ONCE = 500;
/** Launch, switch and fence of one move, in ms. */
const MOVE_OVERHEAD_MS = 1_500;

/** The source from which a snapshot is made. */
export interface EstateSource {
  readonly snapshot: Pick<
    Snapshot,
    'hosts' | 'vms' | 'guestClusters' | 'unreadable' | 'lastReadable' | 'sharedDisks' | 'disksOf'
  >;
  readonly index: ClusterIndex;
  readonly seeHost: (host: HostName) => HostObservation;
  /** How fast a guest writes to its memory, in MiB a second; null: not measured. */
  readonly dirtyRateOf: (vm: VmRecord) => number | null;
}

/** The requirements of a drain for its plan. `drain`: its own claims do not count; null for a plan without a drain. */
export interface EstateView {
  readonly drain: DrainId | null;
  /** Moves at once from and to one host. */
  readonly parallel: number;
}

/** The estate that a leader keeps, in the form that a plan needs. */
export interface PlanView extends EstateView, Pick<EstateSource, 'dirtyRateOf'> {
  /** Hosts that are lost: no plan moves their VMs, which are restarted elsewhere. Absent: none. */
  readonly lost?: ReadonlySet<HostName>;
}

/**
 * Makes the whole snapshot: some tens of ms for 20,000 VMs. A record that cannot be read counts as it was last read:
 * its host is no destination, and its VM, or one that depends on it, is not moved.
 */
export function estateOf(source: EstateSource, view: EstateView): Estate {
  return atOnce(estateInTurns(source, view));
}

/** As `estateOf`, in pieces: what changes before the end may be in it, or not. */
export function* estateInTurns(source: EstateSource, view: EstateView): Generator<void, Estate> {
  const { snapshot } = source;
  const records = lastKnown(snapshot.vms, PREFIX.vm, snapshot);
  yield;
  return yield* estateWith(source, view, records);
}

/**
 * The part of the snapshot that a plan of one wave is judged by: every host and guest cluster; the VMs that are on
 * `hosts`, come there or were asked to, and those that a rule names together with `vms`. What it costs does not grow
 * with the cluster's VMs.
 */
export function estateAround(source: EstateSource, view: EstateView, touched: Touched): Estate {
  return atOnce(estateAroundInTurns(source, view, touched));
}

/** Hosts and VMs that a plan names. */
interface Touched {
  readonly hosts: Iterable<HostName>;
  readonly vms: Iterable<VmId>;
}

/** As `estateAround`, in pieces: what changes before the end may be in it, or not. */
export function* estateAroundInTurns(
  source: EstateSource,
  view: EstateView,
  { hosts, vms }: Touched,
): Generator<void, Estate> {
  const { index } = source;
  const ids = new Set(vms);
  for (const id of [...ids]) {
    const vm = index.vm(id);
    const group = vm === null ? null : affinityGroup(vm);
    for (const other of group === null ? [] : index.groupMembers(group)) ids.add(other.id);
    for (const member of (vm === null ? null : index.guestClusterOf(vm))?.members ?? []) ids.add(member);
  }
  for (const host of hosts) for (const id of [...index.vmsOn(host), ...index.askedTo(host)]) ids.add(id);
  yield;
  const records = [...ids].flatMap((id) => index.vm(id) ?? []);
  return yield* estateWith(source, view, records);
}

/** The VMs of a lost host are restarted elsewhere, independent of any plan: no move is made for them. */
export function withoutLost(estate: Estate, lost: ReadonlySet<HostName>): Estate {
  return lost.size === 0 ? estate : { ...estate, vms: estate.vms.filter(({ host }) => !lost.has(host)) };
}

function* estateWith(source: EstateSource, view: EstateView, records: readonly VmRecord[]): Generator<void, Estate> {
  const { snapshot, index } = source;
  const policy = policyOf(view);
  const vms: EstateVm[] = [];
  for (const [number, vm] of records.entries()) {
    const known = estateVmOf(vm, snapshot);
    if (known !== null) vms.push(withWriting(known, vm, writerOf(vm, source, policy)));
    if ((number + 1) % READ_AT_ONCE === 0) yield;
  }
  const hosts = lastKnown(snapshot.hosts, PREFIX.host, snapshot).map((host) => estateHostOf(host, source, view));
  return {
    hosts: [...hosts, ...unknownHosts(vms, hosts)],
    vms,
    rules: rulesOf(vms, index),
    guestClusters: lastKnown(snapshot.guestClusters, PREFIX.guestCluster, snapshot).map((cluster) =>
      guestClusterOf(cluster, index),
    ),
    policy,
  };
}

/** The known facts about how fast a VM writes. */
export function writerOf(vm: VmRecord, { index, dirtyRateOf }: EstateSource, policy: EstatePolicy): FastWriter {
  const toleratesMs = index.guestClusterOf(vm)?.toleratesMs ?? null;
  return { dirtyMibPerSecond: dirtyRateOf(vm), policy, toleratesMs };
}

/** The records of a table, and those that cannot be read now as they were last read. */
function lastKnown<K, T>(
  table: ReadonlyMap<K, Entry<T>>,
  prefix: string,
  { unreadable, lastReadable }: EstateSource['snapshot'],
): T[] {
  const records = [...table.values()].map(({ value }) => value);
  if (unreadable.size === 0) return records;
  const last = [...lastReadable].filter(([key]) => key.startsWith(prefix) && unreadable.has(key));
  return [...records, ...last.map(([, value]) => value as T)];
}

/**
 * A VM as plans see it; null: it has no host, and needs none. It is not moved while something that it depends on cannot
 * be read.
 */
export function estateVmOf(record: VmRecord, snapshot: EstateSource['snapshot']): EstateVm | null {
  const vm = knownVm(record);
  if (vm === null || snapshot.unreadable.size === 0) return vm;
  const finding = snapshot.unreadable.get(keyOf.vm(record.id));
  const own = finding === undefined ? null : `What etcd holds at ${keyOf.vm(record.id)} ${finding}.`;
  return { ...vm, unsettled: own ?? unreadableFor(record, snapshot) ?? vm.unsettled };
}

/** Hosts that VMs name and whose records were never read here: they give no room, and are no destination. */
function unknownHosts(vms: readonly EstateVm[], hosts: readonly EstateHost[]): EstateHost[] {
  const names = new Set(hosts.map(({ name }) => name));
  const missing = new Set(
    vms.flatMap(({ host, movingTo }) => [host, movingTo ?? host]).filter((each) => !names.has(each)),
  );
  return [...missing].map(unknownHost);
}

/** A host without a record that anybody here has read: no room, and no destination. */
export function unknownHost(name: HostName): EstateHost {
  return {
    ...{ name, rack: null, state: 'silent', memoryMib: 0, claimedMib: 0, vcpus: 0, accelerator: 'kvm', cpuModels: [] },
    ...{ withoutNetworks: [], withoutStorage: [], release: 0, link: null },
  };
}

/** The policy that every plan keeps. */
export function policyOf({ parallel }: EstateView): EstatePolicy {
  return {
    vcpuOvercommit: VCPU_OVERCOMMIT,
    keepRoomForLoss: false,
    movesPerHost: parallel,
    hostMibPerSecond: HOST_MIB_PER_S,
    moveOverheadMs: MOVE_OVERHEAD_MS,
    links: [],
  };
}

/** A host as plans see it. */
export function estateHostOf(
  host: HostRecord,
  { snapshot, index, seeHost }: EstateSource,
  { drain }: Pick<EstateView, 'drain'>,
): EstateHost {
  const { name, capacity } = host;
  return {
    name,
    rack: host.rack ?? null,
    state: snapshot.unreadable.has(keyOf.host(name)) ? 'silent' : stateOf(host, seeHost(name)),
    memoryMib: Math.floor(capacity.memoryBytes / MIB),
    claimedMib: Math.ceil((index.claimedBytes(name) - ownClaims(name, index, drain)) / MIB),
    vcpus: capacity.vcpus,
    accelerator: capacity.accelerator,
    cpuModels: capacity.cpuModels,
    withoutNetworks: [],
    withoutStorage: [],
    release: releaseNumber(host.release),
    link: null,
  };
}

/** Records never change: what follows from one alone is made once. */
const KNOWN = new WeakMap<VmRecord, { readonly vm: EstateVm | null }>();

function knownVm(record: VmRecord): EstateVm | null {
  const known = KNOWN.get(record);
  if (known !== undefined) return known.vm;
  const vm = estateVm(record);
  KNOWN.set(record, { vm });
  return vm;
}

function estateVm(vm: VmRecord): EstateVm | null {
  const { id, name, spec, phase } = vm;
  const [first, second] = expectedIncarnations(phase);
  if (first === undefined) return null;
  const isGoingBack = phase.kind === 'unwinding';
  return {
    id,
    name,
    host: first.host,
    // A VM that was asked to move, and has not begun to, counts as moving.
    movingTo: isGoingBack ? null : (second?.host ?? vm.migrationRequest?.to ?? null),
    memoryMib: Math.ceil(footprintBytes(vm) / MIB),
    vcpus: spec.vcpus,
    cpuModel: spec.cpuModel,
    networks: spec.nics.map(({ network }) => network),
    // Every host reaches every storage node, as far as the cluster knows (withoutStorage).
    storage: [],
    tie: tieOf(vm),
    // A plan may name a VM that starts or stops now: its move waits for it, or is dropped.
    unsettled: null,
    pauseMs: predictPause({ measuredMs: vm.pausesMs ?? [], memoryBytes: spec.memoryBytes }).ms,
    dirtyMibPerSecond: null,
  };
}

/** The record of a VM as if it ran on a host. */
export function runningOn(vm: VmRecord, host: HostName): VmRecord {
  const incarnation = { generation: 1 as Generation, host, slot: 0 };
  return { ...vm, phase: { kind: 'running', incarnation }, migrationRequest: null };
}

/** A VM as plans would see it if it ran on a host. */
export function estateVmAt(vm: VmRecord, host: HostName): EstateVm {
  const running = estateVm(runningOn(vm, host));
  if (running === null) throw new Error(`${vm.name} would run on ${host}, and is nowhere.`);
  return running;
}

function tieOf({ name, spec: { pin = null } }: VmRecord): EstateTie | null {
  return pin === null ? null : { name: `pin of ${name}`, what: `${name} is pinned to ${pin}`, hosts: [pin] };
}

function stateOf(host: HostRecord, seen: HostObservation): HostState {
  if (host.quarantine !== null) return 'quarantined';
  if ((host.maintenance ?? null) !== null) return 'maintenance';
  if (seen.agent !== 'alive') return 'silent';
  return host.cordoned ? 'cordoned' : 'in-service';
}

function ownClaims(host: HostName, index: ClusterIndex, drain: DrainId | null): number {
  const record = drain === null ? null : index.drain(drain);
  if (record === null) return 0;
  const own = new Set(claimsOf(record).flatMap((claim) => (claim.host === host ? [claim.vm] : [])));
  return [...own].reduce((sum, vm) => sum + index.claimedBytes(host, vm), 0);
}

/** The anti-affinity groups of the VMs that are in the snapshot. */
function rulesOf(vms: readonly EstateVm[], index: ClusterIndex): EstateRule[] {
  const groups = new Map<string, VmId[]>();
  for (const { id } of vms) {
    const vm = index.vm(id);
    const group = vm === null ? null : affinityGroup(vm);
    if (group !== null) groups.set(group, [...(groups.get(group) ?? []), id]);
  }
  return [...groups].map(([name, members]) => affinityRule(name, members));
}

/** The rule of an anti-affinity group: no host has two of its VMs. */
export function affinityRule(name: string, members: readonly VmId[]): EstateRule {
  return { name, kind: 'apart', by: 'host', hard: true, vms: members, most: 1 };
}

/** A guest cluster as plans see it. */
export function guestClusterOf(cluster: GuestClusterRecord, index: ClusterIndex): EstateGuestCluster {
  const { name, members, maxDisturbed, toleratesMs, sharesHosts } = cluster;
  const disturbed = members.filter((id) => {
    const vm = index.vm(id);
    return vm !== null && (vm.intent !== 'running' || vm.deleting || currentIncarnation(vm.phase) === null);
  });
  return { name, members, maxDisturbed, toleratesMs, sharesHosts, disturbed };
}
