/**
 * An index over the records, kept as they change: which VMs are on which host, how much room is left there, which VMs
 * must stay apart, which host has which network, which VMs' disks a storage node has, which VMs share a disk or a guest
 * cluster. Without it every decision would walk every VM.
 * Guarantees: after any sequence of changes the index equals one made from the last records alone (a test compares
 * them); the cost of a change depends on the objects that the changed record names, plus a move within the ranking of
 * hosts.
 */
import type { DiskId, DrainId, GuestClusterName, HostName, NetworkName, StorageName, VmId } from '../../base/ids.ts';
import type { Entry, Snapshot } from '../ports/store.ts';
import type { DiskRecord, HostRecord } from './cluster.ts';
import { type Claim, claimsOf, type DrainRecord } from './drain.ts';
import type { GuestClusterRecord, SharedDiskRecord } from './guest-cluster.ts';
import { PREFIX } from './keys.ts';
import { affinityGroup, cardsOf, expectedIncarnations, sharedDisksOf, type VmRecord } from './vm.ts';

/**
 * Memory QEMU needs beside the guest's own, in bytes: measured about 60 MB resident with TCG; a little more is kept.
 */
const QEMU_OVERHEAD_BYTES = 96 * 1024 * 1024;

/** Memory that one incarnation of `vm` takes on its host, in bytes. */
export function footprintBytes(vm: VmRecord): number {
  return vm.spec.memoryBytes + QEMU_OVERHEAD_BYTES;
}

/** Objects that are taken in as one piece. */
const LOADED_AT_ONCE = 100;

/** A host and the memory that no record takes there, in bytes; below 0 where records take more than it has. */
export interface RankedHost {
  readonly host: HostName;
  readonly freeBytes: number;
}

/** The objects that a change of a VM may affect. */
export interface Touched {
  /** Hosts that the record named before or names now. */
  readonly hosts: readonly HostName[];
  /** Networks that some host has no more, or has now. */
  readonly networks: readonly NetworkName[];
  /** True where some host has more room than before. */
  readonly isRoomLeft: boolean;
}

/** The room that the records take on one host. */
interface HostUse {
  record: HostRecord | null;
  usedBytes: number;
  /** The promises of drains for this host, by VM. */
  readonly claims: Map<VmId, number>;
  readonly vms: Counted<VmId>;
  readonly slots: Counted<number>;
  readonly networks: Counted<NetworkName>;
  /** Its entry in the ranking; null if it is not ranked. */
  ranked: RankedHost | null;
}

/** How often each key was counted; a key whose count is 0 is removed. */
type Counted<K> = Map<K, number>;

/** See the module's comment. One writer feeds it; everything that it returns is live and for reading only. */
export class ClusterIndex {
  readonly #vms = new Map<VmId, VmRecord>();
  readonly #uses = new Map<HostName, HostUse>();
  readonly #ranking: RankedHost[] = [];
  /**
   * Hosts whose place in the ranking is found when it is next read: a change that is taken back in between moves
   * nothing.
   */
  readonly #unranked = new Set<HostName>();
  readonly #groups = new Map<string, Map<VmId, VmRecord>>();
  readonly #members = new Map<NetworkName, Counted<HostName>>();
  readonly #macs = new Map<NetworkName, Counted<string>>();
  readonly #quarantined = new Map<HostName, HostRecord>();
  readonly #uncounted = new Set<HostName>();
  readonly #disks = new Map<DiskId, DiskRecord>();
  readonly #vmsOfNode = new Map<StorageName, Counted<VmId>>();
  readonly #sharedDisks = new Map<DiskId, SharedDiskRecord>();
  readonly #sharedOfNode = new Map<StorageName, Set<DiskId>>();
  readonly #users = new Map<DiskId, Counted<VmId>>();
  readonly #guestClusters = new Map<GuestClusterName, GuestClusterRecord>();
  readonly #asked = new Map<HostName, Counted<VmId>>();
  readonly #unfenced = new Map<HostName, Counted<VmId>>();
  readonly #drains = new Map<DrainId, DrainRecord>();

  /** Takes in all of `snapshot`; the index must not hold anything else. */
  load(
    snapshot: Pick<Snapshot, 'vms' | 'hosts' | 'disks' | 'sharedDisks' | 'guestClusters' | 'drains' | 'lastReadable'>,
  ): void {
    const loading = this.loadInTurns(snapshot);
    while (loading.next().done !== true);
  }

  /**
   * As `load`, in pieces. The snapshot may change before the end: the caller takes in again each object that has changed
   * meanwhile.
   */
  *loadInTurns(snapshot: Parameters<ClusterIndex['load']>[0]): Generator<void, void> {
    for (const [name, { value }] of snapshot.hosts) this.setHost(name, value);
    yield;
    for (const [number, id] of [...snapshot.vms.keys()].entries()) {
      const vm = snapshot.vms.get(id)?.value;
      if (vm !== undefined) this.setVm(id, vm);
      if (number % LOADED_AT_ONCE === 0) yield;
    }
    for (const [number, id] of [...snapshot.disks.keys()].entries()) {
      const disk = snapshot.disks.get(id)?.value;
      if (disk !== undefined) this.setDisk(id, disk);
      if (number % LOADED_AT_ONCE === 0) yield;
    }
    // An unreadable record counts with its last known state: its guest may still run, promised room stays promised.
    for (const [key, last] of snapshot.lastReadable) this.#takeLast(key, last);
    for (const [id, { value }] of snapshot.sharedDisks) this.setSharedDisk(id, value);
    for (const [name, { value }] of snapshot.guestClusters) this.setGuestCluster(name, value);
    for (const [id, { value }] of snapshot.drains) this.setDrain(id, value);
  }

  /** Takes in a record that can no longer be read, in its last readable version. */
  #takeLast(key: string, last: unknown): void {
    if (key.startsWith(PREFIX.vm)) this.setVm((last as VmRecord).id, last as VmRecord);
    if (key.startsWith(PREFIX.host)) this.setHost((last as HostRecord).name, last as HostRecord);
    if (key.startsWith(PREFIX.disk)) this.setDisk((last as DiskRecord).id, last as DiskRecord);
    if (key.startsWith(PREFIX.sharedDisk)) this.setSharedDisk((last as SharedDiskRecord).id, last as SharedDiskRecord);
    if (key.startsWith(PREFIX.drain)) this.setDrain((last as DrainRecord).id, last as DrainRecord);
    if (key.startsWith(PREFIX.guestCluster))
      this.setGuestCluster((last as GuestClusterRecord).name, last as GuestClusterRecord);
  }

  /** The record of a VM as it is now; null: deleted. */
  setVm(id: VmId, record: VmRecord | null): Touched {
    const before = this.#vms.get(id);
    const networks = new Set<NetworkName>();
    const usedBefore = new Map<HostName, number>();
    if (before !== undefined) this.#count(before, -1, { usedBefore, networks });
    if (record === null) this.#vms.delete(id);
    else {
      this.#vms.set(id, record);
      this.#count(record, 1, { usedBefore, networks });
    }
    let isRoomLeft = false;
    for (const [host, usedBytes] of usedBefore) isRoomLeft = this.#useChanged(host, usedBytes) || isRoomLeft;
    return { hosts: [...usedBefore.keys()], networks: [...networks], isRoomLeft };
  }

  /** Does `work` as if VMs were as these records say. Afterwards everything is as before. */
  meanwhile<T>(vms: Iterable<VmRecord>, work: () => T): T {
    const before: (readonly [VmId, VmRecord | null])[] = [];
    for (const vm of vms) {
      before.push([vm.id, this.vm(vm.id)]);
      this.setVm(vm.id, vm);
    }
    try {
      return work();
    } finally {
      for (const [id, record] of before.toReversed()) this.setVm(id, record);
    }
  }

  /** The record of a host as it is now; null: it left. */
  setHost(name: HostName, record: HostRecord | null): void {
    this.#use(name).record = record;
    if (record === null) this.#uncounted.delete(name);
    if (record === null || record.quarantine === null) this.#quarantined.delete(name);
    else this.#quarantined.set(name, record);
    this.#rank(name);
    this.#forgetUnused(name);
  }

  /**
   * Notes whether a process runs on the host whose VM is unknown here because its record was never readable: its memory
   * is not counted.
   */
  setUncounted(host: HostName, isUncounted: boolean): void {
    if (isUncounted) this.#uncounted.add(host);
    else this.#uncounted.delete(host);
  }

  /** See `setUncounted`. */
  isUncounted(host: HostName): boolean {
    return this.#uncounted.has(host);
  }

  /** The record of a disk as it is now; null: deleted. */
  setDisk(id: DiskId, record: DiskRecord | null): void {
    const before = this.#disks.get(id);
    if (before !== undefined) countIn(this.#vmsOfNode, before.node, before.vm, -1);
    if (record === null) this.#disks.delete(id);
    else {
      this.#disks.set(id, record);
      countIn(this.#vmsOfNode, record.node, record.vm, 1);
    }
  }

  /** The record of a shared disk as it is now; null: deleted. */
  setSharedDisk(id: DiskId, record: SharedDiskRecord | null): void {
    const before = this.#sharedDisks.get(id);
    if (before !== undefined) this.#sharedOfNode.get(before.node)?.delete(id);
    if (record === null) this.#sharedDisks.delete(id);
    else {
      this.#sharedDisks.set(id, record);
      const there = this.#sharedOfNode.get(record.node) ?? new Set<DiskId>();
      this.#sharedOfNode.set(record.node, there.add(id));
    }
  }

  /** The record of a guest cluster as it is now; null: deleted. */
  setGuestCluster(name: GuestClusterName, record: GuestClusterRecord | null): void {
    if (record === null) this.#guestClusters.delete(name);
    else this.#guestClusters.set(name, record);
  }

  /** The present record of a drain; null: forgotten. Returns the hosts that have more room than before. */
  setDrain(id: DrainId, record: DrainRecord | null): readonly HostName[] {
    const before = this.#drains.get(id);
    if (record === null) this.#drains.delete(id);
    else this.#drains.set(id, record);
    const freed = before === undefined ? [] : claimsOf(before);
    for (const claim of freed) this.#claim(claim, -1);
    for (const claim of record === null ? [] : claimsOf(record)) this.#claim(claim, 1);
    return [...new Set(freed.map(({ host }) => host))];
  }

  /** The record of a drain, or null. */
  drain(id: DrainId): DrainRecord | null {
    return this.#drains.get(id) ?? null;
  }

  /** Hosts on which drains were promised memory. */
  *hostsWithClaims(): Iterable<HostName> {
    for (const [host, { claims }] of this.#uses) if (claims.size > 0) yield host;
  }

  /** Every drain that has a record, those that are over included. */
  drains(): Iterable<DrainRecord> {
    return this.#drains.values();
  }

  vm(id: VmId): VmRecord | null {
    return this.#vms.get(id) ?? null;
  }

  /** The guest cluster that a VM is a member of, or null. */
  guestClusterOf({ spec }: VmRecord): GuestClusterRecord | null {
    const name = spec.guestCluster ?? null;
    return name === null ? null : (this.#guestClusters.get(name) ?? null);
  }

  sharedDisk(id: DiskId): SharedDiskRecord | null {
    return this.#sharedDisks.get(id) ?? null;
  }

  /** The records of the shared disks of a VM, including those that are being removed. */
  sharedDisksOf(vm: VmRecord): readonly SharedDiskRecord[] {
    return sharedDisksOf(vm).flatMap(({ disk }) => this.#sharedDisks.get(disk) ?? []);
  }

  /** The VMs whose specifications name a shared disk. */
  usersOf(disk: DiskId): Iterable<VmId> {
    return this.#users.get(disk)?.keys() ?? [];
  }

  host(name: HostName): HostRecord | null {
    return this.#uses.get(name)?.record ?? null;
  }

  /**
   * Every host with a record that is not quarantined: most free memory first, then by name. (A lost host would gain
   * free memory as its VMs leave, and would come first.)
   */
  byFreeMemory(): readonly RankedHost[] {
    for (const host of this.#unranked) this.#rank(host);
    return this.#ranking;
  }

  /** Memory that the incarnations recorded for `host` take and that drains were promised there, in bytes. */
  committedBytes(host: HostName): number {
    const use = this.#uses.get(host);
    return use === undefined ? 0 : use.usedBytes + claimedBytes(use);
  }

  /**
   * Memory that drains were promised on `host` for VMs that have not arrived, in bytes; with `vm`, for that VM alone.
   */
  claimedBytes(host: HostName, vm: VmId | null = null): number {
    const use = this.#uses.get(host);
    if (use === undefined) return 0;
    if (vm === null) return claimedBytes(use);
    return use.vms.has(vm) ? 0 : (use.claims.get(vm) ?? 0);
  }

  /** The VMs whose records name `host`, for any reason. */
  vmsOn(host: HostName): Iterable<VmId> {
    return this.#uses.get(host)?.vms.keys() ?? [];
  }

  /** The VMs that somebody asked to migrate to `host`, and whose migration has not begun. */
  askedTo(host: HostName): Iterable<VmId> {
    return this.#asked.get(host)?.keys() ?? [];
  }

  /** The VMs of which an earlier incarnation on `host` may not be fenced yet. */
  unfencedOn(host: HostName): Iterable<VmId> {
    return this.#unfenced.get(host)?.keys() ?? [];
  }

  /** The number of incarnations that are recorded in each slot of `host`. */
  slotsOn(host: HostName): ReadonlyMap<number, number> {
    return this.#uses.get(host)?.slots ?? new Map();
  }

  /** The VMs of an anti-affinity group. */
  groupMembers(group: string): Iterable<VmRecord> {
    return this.#groups.get(group)?.values() ?? [];
  }

  /** The networks that `host` has now: those of the VMs recorded there. */
  networksOn(host: HostName): Iterable<NetworkName> {
    return this.#uses.get(host)?.networks.keys() ?? [];
  }

  /** The hosts that have `network`. */
  membersOf(network: NetworkName): Iterable<HostName> {
    return this.#members.get(network)?.keys() ?? [];
  }

  /** Returns true if any VM has a card with this MAC address in `network`. */
  isMacUsed(network: NetworkName, mac: string): boolean {
    return this.#macs.get(network)?.has(mac) === true;
  }

  /** The records of all hosts. */
  *hosts(): Iterable<HostRecord> {
    for (const { record } of this.#uses.values()) if (record !== null) yield record;
  }

  /** The records of all quarantined hosts. */
  quarantined(): Iterable<HostRecord> {
    return this.#quarantined.values();
  }

  /** The VMs with a disk on `node`, of their own or shared. */
  vmsWithDisksOn(node: StorageName): Iterable<VmId> {
    const own = this.#vmsOfNode.get(node)?.keys() ?? [];
    const shared = this.#sharedOfNode.get(node);
    if (shared === undefined || shared.size === 0) return own;
    return new Set([...own, ...[...shared].flatMap((disk) => [...this.usersOf(disk)])]);
  }

  #use(host: HostName): HostUse {
    let use = this.#uses.get(host);
    if (use === undefined) {
      use = {
        record: null,
        usedBytes: 0,
        claims: new Map(),
        vms: new Map(),
        slots: new Map(),
        networks: new Map(),
        ranked: null,
      };
      this.#uses.set(host, use);
    }
    return use;
  }

  #count(
    vm: VmRecord,
    by: 1 | -1,
    touched: { readonly usedBefore: Map<HostName, number>; readonly networks: Set<NetworkName> },
  ): void {
    const group = affinityGroup(vm);
    if (group !== null) this.#inGroup(group, vm, by);
    const asked = vm.migrationRequest?.to ?? null;
    if (asked !== null) countIn(this.#asked, asked, vm.id, by);
    for (const host of vm.unfenced ?? []) countIn(this.#unfenced, host, vm.id, by);
    for (const { disk } of sharedDisksOf(vm)) countIn(this.#users, disk, vm.id, by);
    for (const { network, mac } of cardsOf(vm)) countIn(this.#macs, network, mac, by);
    for (const { host, slot } of expectedIncarnations(vm.phase)) {
      const use = this.#use(host);
      if (!touched.usedBefore.has(host)) touched.usedBefore.set(host, use.usedBytes);
      use.usedBytes += by * footprintBytes(vm);
      count(use.vms, vm.id, by);
      count(use.slots, slot, by);
      for (const { network } of vm.spec.nics) {
        count(use.networks, network, by);
        // Taken away and given again within one change, it counts as touched: once too often does no harm.
        if (countIn(this.#members, network, host, by)) touched.networks.add(network);
      }
    }
  }

  #claim({ host, vm, bytes }: Claim, by: 1 | -1): void {
    const { claims } = this.#use(host);
    const left = (claims.get(vm) ?? 0) + by * bytes;
    if (left <= 0) claims.delete(vm);
    else claims.set(vm, left);
    this.#unranked.add(host);
    this.#forgetUnused(host);
  }

  #inGroup(group: string, vm: VmRecord, by: 1 | -1): void {
    const members = this.#groups.get(group) ?? new Map<VmId, VmRecord>();
    if (by === 1) this.#groups.set(group, members.set(vm.id, vm));
    else if (members.delete(vm.id) && members.size === 0) this.#groups.delete(group);
  }

  /** Call this after a change of the room that VMs take on `host`. True: others have more room there. */
  #useChanged(host: HostName, usedBefore: number): boolean {
    const { record, usedBytes } = this.#use(host);
    if (usedBytes !== usedBefore) this.#unranked.add(host);
    this.#forgetUnused(host);
    return record !== null && record.quarantine === null && usedBytes < usedBefore;
  }

  /** Forgets a host that neither has a record nor is named by any. */
  #forgetUnused(host: HostName): void {
    const { record, vms, claims } = this.#use(host);
    if (record === null && vms.size === 0 && claims.size === 0) this.#uses.delete(host);
  }

  /** Moves `host` to its place in the ranking, or out of it. */
  #rank(host: HostName): void {
    this.#unranked.delete(host);
    const use = this.#uses.get(host);
    if (use === undefined) return;
    const { record, ranked } = use;
    const isRanked = record !== null && record.quarantine === null;
    const freeBytes = isRanked ? record.capacity.memoryBytes - use.usedBytes - claimedBytes(use) : null;
    if (freeBytes === (ranked?.freeBytes ?? null)) return;
    if (ranked !== null) this.#ranking.splice(this.#ranking.indexOf(ranked), 1);
    use.ranked = freeBytes === null ? null : { host, freeBytes };
    if (use.ranked !== null) this.#ranking.splice(placeIn(this.#ranking, use.ranked), 0, use.ranked);
  }
}

/** The memory that is promised on a host to VMs that are not there yet. */
function claimedBytes({ claims, vms }: HostUse): number {
  let sum = 0;
  for (const [vm, bytes] of claims) if (!vms.has(vm)) sum += bytes;
  return sum;
}

/** An index of these records alone: for one question, and to compare with. */
export function indexOf(records: {
  readonly vms: Iterable<VmRecord>;
  readonly hosts: Iterable<HostRecord>;
}): ClusterIndex {
  const index = new ClusterIndex();
  for (const host of records.hosts) index.setHost(host.name, host);
  for (const vm of records.vms) index.setVm(vm.id, vm);
  return index;
}

/** The values of a table. */
export function* recordsOf<K, T>(table: ReadonlyMap<K, Entry<T>>): Generator<T> {
  for (const { value } of table.values()) yield value;
}

/** True when `a` comes before `b`. */
export function ranksBefore(a: RankedHost, b: RankedHost): boolean {
  return a.freeBytes > b.freeBytes || (a.freeBytes === b.freeBytes && a.host < b.host);
}

/** The place of `entry` in the ranking: the first one whose host does not come before it. */
function placeIn(ranking: readonly RankedHost[], entry: RankedHost): number {
  let low = 0;
  let high = ranking.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const there = ranking[middle];
    if (there !== undefined && ranksBefore(there, entry)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Counts `key` up or down; true if it came or went. */
function count<K>(counts: Counted<K>, key: K, by: 1 | -1): boolean {
  const before = counts.get(key) ?? 0;
  if (before + by === 0) counts.delete(key);
  else counts.set(key, before + by);
  return before === 0 || before + by === 0;
}

function countIn<O, K>(counts: Map<O, Counted<K>>, outer: O, key: K, by: 1 | -1): boolean {
  const inner = counts.get(outer) ?? new Map<K, number>();
  const changed = count(inner, key, by);
  if (inner.size === 0) counts.delete(outer);
  else counts.set(outer, inner);
  return changed;
}
