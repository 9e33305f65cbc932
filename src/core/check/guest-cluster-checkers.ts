/** Checkers of guest clusters and shared disks: written anew from docs/specs/guest-clusters.md, as all of this folder are. */
import type { DiskId, GuestClusterName, VmId } from '../../base/ids.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../model/guest-cluster.ts';
import type { VmRecord } from '../model/vm.ts';
import { namedIncarnations } from './records.ts';
import type { Checker, TraceEntry } from './trace.ts';

/** The records that these checkers need, followed. */
class Followed {
  readonly vms = new Map<VmId, VmRecord>();
  readonly clusters = new Map<GuestClusterName, GuestClusterRecord>();
  readonly disks = new Map<DiskId, SharedDiskRecord>();

  /** Takes a commit in. */
  note(entry: TraceEntry): void {
    if (entry.kind !== 'commit') return;
    for (const { kind, id, value } of entry.changes) {
      if (kind === 'vm') set(this.vms, id, value);
      if (kind === 'guest-cluster') set(this.clusters, id, value);
      if (kind === 'shared-disk') set(this.disks, id, value);
    }
  }

  membersOf({ members }: GuestClusterRecord): VmRecord[] {
    return members.flatMap((id) => this.vms.get(id) ?? []);
  }
}

function set<K, V>(table: Map<K, V>, key: K, value: V | null): void {
  if (value === null) table.delete(key);
  else table.set(key, value);
}

/** GC1: at no instant do the records name two members of a guest cluster on one host, unless somebody consented to it. */
export function membersStayApart(): Checker {
  const records = new Followed();
  return (entry) => {
    records.note(entry);
    if (entry.kind !== 'commit') return null;
    for (const cluster of touched(entry, records)) {
      if (cluster.sharesHosts) continue;
      const there = new Map<string, string>();
      for (const vm of records.membersOf(cluster)) {
        for (const host of new Set(namedIncarnations(vm).map((incarnation) => incarnation.host))) {
          const other = there.get(host);
          if (other !== undefined) return `${other} and ${vm.name} of ${cluster.name} are both on ${host}`;
          there.set(host, vm.name);
        }
      }
    }
    return null;
  };
}

const BUSY: ReadonlySet<string> = new Set(['migrating', 'switching', 'unwinding', 'starting']);

/** GC2: a leader moves no member while as many others as its cluster bears are on their way. */
export function fewMembersMove(): Checker {
  const records = new Followed();
  return (entry) => {
    const before = new Map(records.vms);
    records.note(entry);
    if (entry.kind !== 'commit' || entry.by === 'people') return null;
    for (const { kind, id, value } of entry.changes) {
      if (kind !== 'vm' || value?.phase.kind !== 'migrating' || before.get(id)?.phase.kind === 'migrating') continue;
      for (const cluster of records.clusters.values()) {
        if (!cluster.members.includes(id)) continue;
        const busy = records.membersOf(cluster).filter((vm) => vm.id !== id && BUSY.has(vm.phase.kind));
        if (busy.length >= cluster.maxDisturbed)
          return `${value.name} of ${cluster.name} is moved beside ${busy.map((vm) => vm.name).join(', ')}`;
        const longest = Math.max(0, ...(value.pausesMs ?? []));
        if (longest > cluster.toleratesMs)
          return `${value.name} is moved although a move took ${longest} ms and ${cluster.name} bears ${cluster.toleratesMs} ms`;
      }
    }
    return null;
  };
}

/** GC4: a guest cluster and its members say the same of each other, after every commit. */
export function membershipAgrees(): Checker {
  const records = new Followed();
  return (entry) => {
    records.note(entry);
    if (entry.kind !== 'commit') return null;
    for (const { kind, id, value } of entry.changes) {
      if (kind === 'vm' && value !== null) {
        const name = value.spec.guestCluster ?? null;
        if (name !== null && records.clusters.get(name)?.members.includes(id) !== true)
          return `${value.name} says that it is a member of ${name}, which does not`;
      }
      if (kind !== 'guest-cluster' || value === null) continue;
      const stranger = value.members.find((member) => records.vms.get(member)?.spec.guestCluster !== id);
      if (stranger !== undefined) return `${id} names ${stranger} as a member, which does not`;
    }
    return null;
  };
}

/** GC8: no record of a shared disk goes while a VM's record names it, and none names one that is not there. */
export function disksOutliveTheirUsers(): Checker {
  const records = new Followed();
  return (entry) => {
    records.note(entry);
    if (entry.kind !== 'commit') return null;
    for (const { kind, id, value } of entry.changes) {
      if (kind === 'vm' && value !== null) {
        const lost = (value.spec.sharedDisks ?? []).find(({ disk }) => !records.disks.has(disk));
        if (lost !== undefined) return `${value.name} names shared disk ${lost.disk}, which is not there`;
      }
      if (kind !== 'shared-disk' || value !== null) continue;
      const user = [...records.vms.values()].find((vm) => vm.spec.sharedDisks?.some(({ disk }) => disk === id));
      if (user !== undefined) return `${id} was removed while ${user.name} has it`;
    }
    return null;
  };
}

/** The guest clusters that a commit concerns. */
function touched(entry: Extract<TraceEntry, { kind: 'commit' }>, records: Followed): GuestClusterRecord[] {
  const names = new Set<GuestClusterName>();
  for (const { kind, id } of entry.changes) {
    if (kind === 'guest-cluster') names.add(id);
    if (kind === 'vm')
      for (const { name, members } of records.clusters.values()) if (members.includes(id)) names.add(name);
  }
  return [...names].flatMap((name) => records.clusters.get(name) ?? []);
}
