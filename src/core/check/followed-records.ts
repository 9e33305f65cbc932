/**
 * The records that the checkers judge, followed change by change, with the objects that each change concerns. Written
 * anew: no line is shared with the controller's index, so that a mistake in one is not repeated in the other.
 * Guarantees: a change costs as much as the record that it changes is long, however many others there are; what is kept
 * is bounded by the records that stand.
 */
import type { DiskId, GuestClusterName, HostName, VmId } from '../../base/ids.ts';
import type { HostRecord } from '../model/cluster.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../model/guest-cluster.ts';
import type { VmRecord } from '../model/vm.ts';
import type { Change } from '../ports/store.ts';
import { namedIncarnations } from './records.ts';

/** The subject of a rule. A group is one of anti-affinity. */
export type SubjectKind = 'vm' | 'host' | 'group' | 'guest-cluster';

/** Called with each object whose state a change may have broken or mended; for some objects more than once. */
export type OnConcerned = (kind: SubjectKind, id: string) => void;

/** See the module's comment. */
export class FollowedRecords {
  readonly vms = new Map<VmId, VmRecord>();
  readonly hosts = new Map<HostName, HostRecord>();
  readonly clusters = new Map<GuestClusterName, GuestClusterRecord>();
  readonly sharedDisks = new Map<DiskId, SharedDiskRecord>();
  readonly #onHost = new Map<string, Set<VmId>>();
  readonly #inGroup = new Map<string, Set<VmId>>();
  readonly #clustersOf = new Map<string, Set<GuestClusterName>>();
  readonly #usersOf = new Map<string, Set<VmId>>();

  /** VMs whose records name an incarnation on this host. */
  vmsOn(host: HostName): readonly VmRecord[] {
    return this.#records(this.#onHost.get(host));
  }

  /** VMs whose records name this anti-affinity group. */
  vmsInGroup(group: string): readonly VmRecord[] {
    return this.#records(this.#inGroup.get(group));
  }

  /** Guest clusters that name this VM as a member. */
  clustersOf(vm: VmId): readonly GuestClusterRecord[] {
    return [...(this.#clustersOf.get(vm) ?? [])].flatMap((name) => this.clusters.get(name) ?? []);
  }

  /** The records of a guest cluster's members, as far as there are any. */
  membersOf({ members }: GuestClusterRecord): readonly VmRecord[] {
    return members.flatMap((id) => this.vms.get(id) ?? []);
  }

  /** Takes a change in. */
  note(change: Change, concerned: OnConcerned): void {
    switch (change.kind) {
      case 'vm':
        this.#noteVm(change.id, change.value, concerned);
        break;
      case 'host':
        set(this.hosts, change.id, change.value);
        concerned('host', change.id);
        break;
      case 'guest-cluster':
        this.#noteCluster(change.id, change.value, concerned);
        break;
      case 'shared-disk':
        set(this.sharedDisks, change.id, change.value);
        for (const vm of this.#usersOf.get(change.id) ?? []) concerned('vm', vm);
        break;
      default:
        break;
    }
  }

  #noteVm(id: VmId, value: VmRecord | null, concerned: OnConcerned): void {
    const before = this.vms.get(id) ?? null;
    for (const vm of [before, value]) {
      if (vm === null) continue;
      const isThere = vm === value;
      for (const { host } of namedIncarnations(vm)) {
        member(this.#onHost, host, { id, isThere });
        concerned('host', host);
      }
      const { antiAffinity = null, guestCluster = null, sharedDisks = [] } = vm.spec;
      if (antiAffinity !== null) {
        member(this.#inGroup, antiAffinity, { id, isThere });
        concerned('group', antiAffinity);
      }
      if (guestCluster !== null) concerned('guest-cluster', guestCluster);
      for (const { disk } of sharedDisks) member(this.#usersOf, disk, { id, isThere });
    }
    set(this.vms, id, value);
    concerned('vm', id);
    for (const name of this.#clustersOf.get(id) ?? []) concerned('guest-cluster', name);
  }

  #noteCluster(name: GuestClusterName, value: GuestClusterRecord | null, concerned: OnConcerned): void {
    const before = this.clusters.get(name) ?? null;
    for (const cluster of [before, value]) {
      for (const vm of cluster?.members ?? []) {
        member(this.#clustersOf, vm, { id: name, isThere: cluster === value });
        concerned('vm', vm);
      }
    }
    set(this.clusters, name, value);
    concerned('guest-cluster', name);
  }

  #records(ids: ReadonlySet<VmId> | undefined): readonly VmRecord[] {
    return [...(ids ?? [])].flatMap((id) => this.vms.get(id) ?? []);
  }
}

function set<K, V>(table: Map<K, V>, key: K, value: V | null): void {
  if (value === null) table.delete(key);
  else table.set(key, value);
}

/** Puts an id into the set under a key, or takes it out; a set that is empty goes. */
function member<T>(
  table: Map<string, Set<T>>,
  key: string,
  { id, isThere }: { readonly id: T; readonly isThere: boolean },
): void {
  const ids = table.get(key);
  if (isThere) {
    if (ids === undefined) table.set(key, new Set([id]));
    else ids.add(id);
    return;
  }
  ids?.delete(id);
  if (ids?.size === 0) table.delete(key);
}
