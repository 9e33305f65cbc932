/**
 * Rules that must hold for the records at every instant, each about one kind of object: room and slots of hosts, VMs
 * that stay apart, guest clusters and shared disks that agree with their VMs. Whether an object keeps a rule follows
 * from the records alone, so a broken rule is broken for exactly as long as it is.
 */
import type { GuestClusterName, HostName, VmId } from '../../base/ids.ts';
import type { VmRecord } from '../model/vm.ts';
import { FollowedRecords, type SubjectKind } from './followed-records.ts';
import { memoryOn, namedIncarnations } from './records.ts';
import type { Checker } from './trace.ts';

export interface StateRule {
  /** The rule's name in docs/specs. */
  readonly rule: string;
  readonly about: SubjectKind;
  /** Returns what is wrong with one object, as a sentence, or null. */
  readonly fault: (records: FollowedRecords, id: string) => string | null;
}

export const STATE_RULES: readonly StateRule[] = [
  { rule: 'C1-hosts-have-room', about: 'host', fault: (records, id) => hostFault(records, id as HostName) },
  { rule: 'MN5-drained-is-empty', about: 'host', fault: (records, id) => drainedFault(records, id as HostName) },
  { rule: 'C3-groups-stay-apart', about: 'group', fault: groupFault },
  {
    rule: 'GC1-members-stay-apart',
    about: 'guest-cluster',
    fault: (records, id) => apartFault(records, id as GuestClusterName),
  },
  {
    rule: 'GC4-membership-agrees',
    about: 'guest-cluster',
    fault: (records, id) => membersFault(records, id as GuestClusterName),
  },
  { rule: 'GC4-membership-agrees', about: 'vm', fault: (records, id) => membershipFault(records, id as VmId) },
  { rule: 'GC8-disks-outlive-their-users', about: 'vm', fault: (records, id) => sharedDiskFault(records, id as VmId) },
];

/** Makes the checker of one rule: it judges, after every commit, each object that the commit concerns. */
export function stateChecker(name: string): Checker {
  const rules = STATE_RULES.filter(({ rule }) => rule === name);
  const records = new FollowedRecords();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    const concerned = new Map<StateRule, Set<string>>(rules.map((rule) => [rule, new Set()]));
    for (const change of entry.changes)
      records.note(change, (kind, id) => {
        for (const rule of rules) if (rule.about === kind) concerned.get(rule)?.add(id);
      });
    for (const [rule, ids] of concerned) {
      for (const id of ids) {
        const fault = rule.fault(records, id);
        if (fault !== null) return fault;
      }
    }
    return null;
  };
}

/** MN5: no record names a host that its drain left empty, until the host is taken back. */
function drainedFault(records: FollowedRecords, host: HostName): string | null {
  if (records.hosts.get(host)?.maintenance?.isEmpty !== true) return null;
  const names = records.vmsOn(host).map(({ name }) => name);
  return names.length === 0 ? null : `${host} is drained, and ${names.join(', ')} is there`;
}

/** C1, C2: the VMs that the records put on a host fit into its memory, and no two of them have the same slot. */
function hostFault(records: FollowedRecords, host: HostName): string | null {
  const vms = records.vmsOn(host);
  const room = records.hosts.get(host)?.capacity.memoryBytes ?? 0;
  const used = vms.reduce((sum, vm) => sum + memoryOn(host, vm), 0);
  if (used > room) return `${host} holds ${used} bytes of guests and their QEMUs in ${room}`;
  const slots = new Map<number, string>();
  for (const vm of vms) {
    for (const incarnation of namedIncarnations(vm)) {
      if (incarnation.host !== host) continue;
      const other = slots.get(incarnation.slot);
      if (other !== undefined) return `${other} and ${vm.name} share slot ${incarnation.slot} of ${host}`;
      slots.set(incarnation.slot, vm.name);
    }
  }
  return null;
}

/** C3: no host is named by the records of two VMs of one anti-affinity group. */
function groupFault(records: FollowedRecords, group: string): string | null {
  const shared = sharedHost(records.vmsInGroup(group));
  return shared === null ? null : `${shared.names.join(' and ')} of group ${group} are both on ${shared.host}`;
}

/** GC1: the records name no two members of a guest cluster on one host, unless somebody consented to it. */
function apartFault(records: FollowedRecords, name: GuestClusterName): string | null {
  const cluster = records.clusters.get(name);
  if (cluster === undefined || cluster.sharesHosts) return null;
  const shared = sharedHost(records.membersOf(cluster));
  return shared === null ? null : `${shared.names.join(' and ')} of ${name} are both on ${shared.host}`;
}

/** Returns the first host that two of these VMs are on. */
function sharedHost(vms: readonly VmRecord[]): { readonly host: HostName; readonly names: readonly string[] } | null {
  const there = new Map<HostName, string>();
  for (const vm of vms) {
    for (const host of new Set(namedIncarnations(vm).map((incarnation) => incarnation.host))) {
      const other = there.get(host);
      if (other !== undefined) return { host, names: [other, vm.name] };
      there.set(host, vm.name);
    }
  }
  return null;
}

/** GC4: each VM that a guest cluster names says that it is a member. */
function membersFault(records: FollowedRecords, name: GuestClusterName): string | null {
  const stranger = records.clusters.get(name)?.members.find((id) => records.vms.get(id)?.spec.guestCluster !== name);
  return stranger === undefined ? null : `${name} names ${stranger} as a member, which does not`;
}

/** GC4: the guest cluster that a VM names also names the VM. */
function membershipFault(records: FollowedRecords, id: VmId): string | null {
  const vm = records.vms.get(id);
  const name = vm?.spec.guestCluster ?? null;
  if (vm === undefined || name === null || records.clusters.get(name)?.members.includes(id) === true) return null;
  return `${vm.name} says that it is a member of ${name}, which does not`;
}

/** GC8: a VM names no shared disk that is not there. */
function sharedDiskFault(records: FollowedRecords, id: VmId): string | null {
  const vm = records.vms.get(id);
  const lost = (vm?.spec.sharedDisks ?? []).find(({ disk }) => !records.sharedDisks.has(disk));
  return vm === undefined || lost === undefined
    ? null
    : `${vm.name} names shared disk ${lost.disk}, which is not there`;
}
