/**
 * Changes of guest clusters that people ask for: the present records and a request become the changes of one
 * transaction, or a refusal. Pure; nothing is written here.
 * Guarantees: a VM is a member of one guest cluster at most; its record and the cluster's say the same, since one
 * transaction writes both; members have every disk of their cluster, under the same number; two members are on one host
 * only if somebody consented to that.
 */
import { CodedError } from '../../base/errors.ts';
import type { GuestClusterName, HostName, NetworkName, VmId } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../model/guest-cluster.ts';
import { keyOf } from '../model/keys.ts';
import { vmOfInitiator } from '../model/shared-disk-identity.ts';
import { expectedIncarnations, sharedDisksOf, type VmRecord } from '../model/vm.ts';
import { demandReadable, demandUsersKnown } from '../plan/vm/unreadable.ts';
import type { Change } from '../ports/store.ts';
import { vmChange } from './basis.ts';
import {
  type Asked,
  demandChangeable,
  diskChange,
  freeLun,
  type NewSharedDisk,
  newSharedDisk,
  type Records,
  USERS_MAX,
  usersOf,
  vmOf,
  waiting,
  withDisk,
  withoutDisks,
} from './shared-disk-changes.ts';

/** Members that a guest cluster may have: so many VMs may share a disk. */
const MEMBERS_MAX = USERS_MAX;

export interface NewGuestCluster {
  readonly name: GuestClusterName;
  /** The members as they are to be: with cards in its heartbeat networks. */
  readonly members: readonly VmRecord[];
  readonly disks: readonly NewSharedDisk[];
  readonly heartbeatNetworks: readonly NetworkName[];
  readonly maxDisturbed: number;
  readonly toleratesMs: number;
  readonly sharesHosts: boolean;
}

/** A new guest cluster. CodedError 'exists', 'bad-input', 'conflict'. */
export function createChanges(records: Records, wanted: NewGuestCluster, asked: Asked): Change[] {
  const { name, members, heartbeatNetworks, maxDisturbed, toleratesMs, sharesHosts } = wanted;
  if (records.guestClusters.has(name))
    throw new CodedError('exists', `A guest cluster named ${name} exists.`, {
      advice: `Nothing was created. Choose another name, or change that one (gp guest-cluster show ${name}).`,
    });
  demandNumber(members.length);
  demandDistinct(
    members.map((vm) => vm.name),
    'member',
  );
  demandDistinct(
    wanted.disks.map((disk) => disk.name),
    'shared disk',
  );
  for (const vm of members) demandFree(vm);
  const disks = wanted.disks.map((disk) => newSharedDisk(records, disk, name, asked));
  demandApart(records, { name, sharesHosts }, members);
  const cluster: GuestClusterRecord = {
    name,
    members: members.map(({ id }) => id),
    disks: disks.map(({ id }) => id),
    heartbeatNetworks,
    maxDisturbed,
    toleratesMs,
    sharesHosts,
    createdAt: asked.now,
    ...waiting([], asked.task),
  };
  const taken = new Set<number>();
  const luns = disks.map((disk) => {
    const lun = freeLun(members, taken);
    taken.add(lun);
    return { disk, lun };
  });
  const changed = members.map((vm) =>
    luns.reduce((now, { disk, lun }) => withDisk(now, disk, lun), memberOf(vm, name)),
  );
  return [clusterChange(cluster), ...disks.map(diskChange), ...changed.map(vmChange)];
}

/** One more member, as it is to be. `consents`: members may share hosts from now on. */
export function addMemberChanges(
  records: Records,
  what: { readonly cluster: GuestClusterRecord; readonly vm: VmRecord; readonly consents: boolean },
  asked: Asked,
): Change[] {
  const { cluster, vm } = what;
  demandStanding(records, cluster);
  if (cluster.members.includes(vm.id))
    throw new CodedError('conflict', `${vm.name} is a member of ${cluster.name} already.`, {
      advice: 'Nothing was changed.',
    });
  demandFree(vm);
  demandNumber(cluster.members.length + 1);
  const sharesHosts = cluster.sharesHosts || what.consents;
  const others = membersOf(records, cluster);
  demandApart(records, { name: cluster.name, sharesHosts }, [...others, vm]);
  const next = { ...cluster, members: [...cluster.members, vm.id], sharesHosts, ...waiting(cluster.tasks, asked.task) };
  const member = disksOf(records, cluster).reduce(
    (now, disk) => {
      const known = others.flatMap((other) => sharedDisksOf(other)).find((use) => use.disk === disk.id)?.lun;
      const isTaken = known !== undefined && sharedDisksOf(now).some((use) => use.lun === known);
      if (isTaken)
        throw new CodedError(
          'conflict',
          `${vm.name} has another shared disk as number ${known}, which ${disk.name} is in the other members.`,
          {
            advice: 'Nothing was changed. Detach that disk from it first.',
          },
        );
      return withDisk(now, disk, known ?? freeLun([...others, now]));
    },
    memberOf(vm, cluster.name),
  );
  // The others are written unchanged: a VM that is being placed at this moment must notice the new rule.
  return [clusterChange(next), vmChange(member), ...others.map(vmChange)];
}

/** A member leaves: its VM, its own disks and its cards stay, and so do its keys on the disks. */
export function removeMemberChanges(
  records: Records,
  { cluster, vm }: { readonly cluster: GuestClusterRecord; readonly vm: VmRecord },
  asked: Asked,
): Change[] {
  demandStanding(records, cluster);
  if (!cluster.members.includes(vm.id))
    throw new CodedError('not-found', `${vm.name} is no member of ${cluster.name}.`, {
      advice: 'Nothing was changed.',
    });
  if (cluster.members.length === 1)
    throw new CodedError('conflict', `${vm.name} is the last member of ${cluster.name}.`, {
      advice: `Nothing was changed. To delete the guest cluster: gp guest-cluster delete ${cluster.name}.`,
    });
  const members = cluster.members.filter((id) => id !== vm.id);
  return [
    clusterChange({ ...cluster, members, ...waiting(cluster.tasks, asked.task) }),
    vmChange(memberOf(withoutDisks(vm, cluster.disks), null)),
  ];
}

/** One more disk for all members. */
export function addDiskChanges(
  records: Records,
  { cluster, disk }: { readonly cluster: GuestClusterRecord; readonly disk: NewSharedDisk },
  asked: Asked,
): Change[] {
  demandStanding(records, cluster);
  const record = newSharedDisk(records, disk, cluster.name, asked);
  const members = membersOf(records, cluster);
  const lun = freeLun(members);
  const next = { ...cluster, disks: [...cluster.disks, record.id], ...waiting(cluster.tasks, asked.task) };
  return [clusterChange(next), diskChange(record), ...members.map((vm) => vmChange(withDisk(vm, record, lun)))];
}

/**
 * A shared disk of no guest cluster becomes one of this cluster, with what is on it: members that lack it get it under
 * the number that the others have. CodedError 'conflict' where somebody else has it, or members have it under several
 * numbers.
 */
export function adoptDiskChanges(
  records: Records,
  { cluster, disk }: { readonly cluster: GuestClusterRecord; readonly disk: SharedDiskRecord },
  asked: Asked,
): Change[] {
  demandStanding(records, cluster);
  demandAdoptable(records, cluster, disk);
  const members = membersOf(records, cluster);
  const numbers = new Set(members.flatMap((vm) => lunOf(vm, disk) ?? []));
  if (numbers.size > 1)
    throw new CodedError(
      'conflict',
      `The members of ${cluster.name} have ${disk.name} as numbers ${[...numbers].join(' and ')}.`,
      {
        advice: `Nothing was changed. Detach it from some, and attach it again with --lun.`,
      },
    );
  const [lun = freeLun(members)] = numbers;
  const next = { ...cluster, disks: [...cluster.disks, disk.id], ...waiting(cluster.tasks, asked.task) };
  return [
    clusterChange(next),
    diskChange({ ...disk, guestCluster: cluster.name }),
    ...members.map((vm) => vmChange(lunOf(vm, disk) === undefined ? withDisk(vm, disk, lun) : vm)),
  ];
}

/** The fate of a disk that leaves a guest cluster. */
export interface DiskFate {
  /** The disk stays, as a shared disk of no guest cluster and no VM. */
  readonly keeps: boolean;
  /** Although keys are registered on it: guests use it. */
  readonly forces: boolean;
}

/** A disk is taken from all members, and deleted unless it is kept. */
export function removeDiskChanges(
  records: Records,
  what: { readonly cluster: GuestClusterRecord; readonly disk: SharedDiskRecord; readonly fate: DiskFate },
  asked: Asked,
): Change[] {
  const { cluster, disk, fate } = what;
  demandStanding(records, cluster);
  demandUnused(records, [disk], fate.forces);
  const next = { ...cluster, disks: cluster.disks.filter((id) => id !== disk.id) };
  const members = membersOf(records, cluster).map((vm) => vmChange(withoutDisks(vm, [disk.id])));
  return [
    clusterChange(next),
    diskChange({ ...leftDisk(records, disk, fate), ...waiting(disk.tasks, asked.task) }),
    ...members,
  ];
}

/**
 * Deletes a guest cluster: its members stay as VMs of no guest cluster; its disks are taken from them, and deleted
 * unless they are kept.
 */
export function deleteChanges(
  records: Records,
  { cluster, fate }: { readonly cluster: GuestClusterRecord; readonly fate: DiskFate },
  asked: Asked,
): Change[] {
  demandStanding(records, cluster);
  const disks = disksOf(records, cluster);
  demandUnused(records, disks, fate.forces);
  const members = membersOf(records, cluster).map((vm) => vmChange(memberOf(withoutDisks(vm, cluster.disks), null)));
  const next: GuestClusterRecord = { ...cluster, members: [], deleting: true, ...waiting(cluster.tasks, asked.task) };
  return [clusterChange(next), ...disks.map((disk) => diskChange(leftDisk(records, disk, fate))), ...members];
}

/** The heartbeat networks that a VM has no card in. */
export function missingCards(vm: VmRecord, networks: readonly NetworkName[]): NetworkName[] {
  return networks.filter((network) => !vm.spec.nics.some((nic) => nic.network === network));
}

/** The disks of a guest cluster, in its order. */
export function disksOf({ sharedDisks }: Records, cluster: GuestClusterRecord): SharedDiskRecord[] {
  return cluster.disks.flatMap((id) => sharedDisks.get(id)?.value ?? []);
}

const clusterChange = (value: GuestClusterRecord): Change => ({ kind: 'guest-cluster', id: value.name, value });

const memberOf = (vm: VmRecord, guestCluster: GuestClusterName | null): VmRecord => ({
  ...vm,
  spec: { ...vm.spec, guestCluster },
});

function membersOf(records: Records, { members }: GuestClusterRecord): VmRecord[] {
  return members.map((id: VmId) => vmOf(records, id));
}

function leftDisk({ sharedDisks }: Records, disk: SharedDiskRecord, { keeps }: DiskFate): SharedDiskRecord {
  if (!keeps) return { ...disk, phase: 'deleting' };
  for (const { value } of sharedDisks.values())
    if (value.guestCluster === null && value.name === disk.name)
      throw new CodedError('exists', `A shared disk of no guest cluster is named ${disk.name} already.`, {
        advice: 'Nothing was changed. Delete that one first, or do not keep this one.',
      });
  return { ...disk, guestCluster: null };
}

/** The number under which a VM has a disk that stays. */
function lunOf(vm: VmRecord, disk: SharedDiskRecord): number | undefined {
  return sharedDisksOf(vm).find((use) => use.disk === disk.id && use.leaving !== true)?.lun;
}

function demandAdoptable(records: Records, cluster: GuestClusterRecord, disk: SharedDiskRecord): void {
  const refuse = (message: string, advice: string): never => {
    throw new CodedError('conflict', message, { advice: `Nothing was changed. ${advice}` });
  };
  if (disk.guestCluster !== null)
    refuse(`${disk.name} is a disk of guest cluster ${disk.guestCluster}.`, 'Remove it there with --keep first.');
  if (disk.phase === 'deleting') refuse(`${disk.name} is being deleted.`, 'Take another one.');
  demandUsersKnown(records.unreadable);
  const stranger = usersOf(records.vms, disk.id).find(({ id }) => !cluster.members.includes(id));
  if (stranger !== undefined)
    refuse(
      `${stranger.name} has ${disk.name} and is no member of ${cluster.name}.`,
      `Make it a member first, or detach the disk: gp shared-disk detach ${disk.name} ${stranger.name}.`,
    );
  if (disksOf(records, cluster).some(({ name }) => name === disk.name))
    throw new CodedError('exists', `A shared disk of guest cluster ${cluster.name} is named ${disk.name}.`, {
      advice: 'Nothing was changed. Two disks of one guest cluster cannot have one name.',
    });
}

/**
 * CodedError 'conflict' for a guest cluster that is being deleted, or that has a disk or member whose record cannot be
 * read.
 */
function demandStanding(
  records: Pick<Records, 'unreadable'>,
  { name, deleting, disks, members }: GuestClusterRecord,
): void {
  if (deleting === true)
    throw new CodedError('conflict', `Guest cluster ${name} is being deleted.`, { advice: 'Nothing was changed.' });
  demandReadable(records.unreadable, [...disks.map(keyOf.sharedDisk), ...members.map(keyOf.vm)]);
}

function demandNumber(members: number): void {
  if (members >= 1 && members <= MEMBERS_MAX) return;
  throw new CodedError('bad-input', `A guest cluster has 1 to ${MEMBERS_MAX} members, not ${members}.`, {
    advice: 'Nothing was changed.',
  });
}

function demandDistinct(names: readonly string[], what: string): void {
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined)
    throw new CodedError('bad-input', `The ${what} ${twice} is named twice.`, { advice: 'Nothing was created.' });
}

function demandFree(vm: VmRecord): void {
  const other = vm.spec.guestCluster ?? null;
  if (other !== null)
    throw new CodedError('conflict', `${vm.name} is a member of guest cluster ${other}.`, {
      advice: `Nothing was changed. Remove it there first: gp guest-cluster remove-member ${other} ${vm.name}.`,
    });
  demandChangeable(vm);
}

/** CodedError 'conflict' with what would be given up, unless somebody consented to it. */
function demandApart(
  { hosts }: Records,
  { name, sharesHosts }: Pick<GuestClusterRecord, 'name' | 'sharesHosts'>,
  members: readonly VmRecord[],
): void {
  if (sharesHosts) return;
  const advice = `with --share-hosts members of ${name} are kept apart only where that is possible.`;
  if (hosts.size < members.length)
    throw new CodedError(
      'conflict',
      `${name} would have ${members.length} members and there ${hosts.size === 1 ? 'is 1 host' : `are ${hosts.size} hosts`}: members would share a host, and be lost together with it.`,
      { advice: `Nothing was changed. Add hosts, or consent: ${advice}` },
    );
  const there = new Map<HostName, string>();
  for (const vm of members) {
    const hosts = expectedIncarnations(vm.phase).map(({ host }) => host);
    const host = hosts.find((each) => there.has(each));
    const other = host === undefined ? undefined : there.get(host);
    if (other !== undefined)
      throw new CodedError(
        'conflict',
        `${other} and ${vm.name} are both on ${host}: both would be lost with that host.`,
        {
          advice: `Nothing was changed. Move one away first (gp vm migrate ${vm.name}), or consent: ${advice}`,
        },
      );
    for (const each of hosts) there.set(each, vm.name);
  }
}

/** CodedError 'conflict' where guests have keys on a disk: they use it. */
function demandUnused(
  { reservations, vms, unreadable }: Records,
  disks: readonly SharedDiskRecord[],
  forces: boolean,
): void {
  if (forces) return;
  for (const { id, name } of disks) {
    const finding = unreadable.get(keyOf.reservation(id));
    if (finding !== undefined)
      throw new CodedError(
        'conflict',
        `What etcd holds at ${keyOf.reservation(id)} ${finding}: ${name} may be in use.`,
        {
          advice: 'Nothing was changed. See docs/operating/failures.md, or use --force.',
        },
      );
    const keys = reservations.get(id)?.value.state.registrations ?? [];
    if (keys.length === 0) continue;
    const who = listed([...new Set(keys.map(({ nexus }) => nameOf(vms, nexus)))]);
    throw new CodedError('conflict', `Keys are registered on ${name} by ${who}: its guests use it.`, {
      advice: 'Nothing was changed. Take it out of use in the guests first, or use --force.',
    });
  }
}

function nameOf(vms: Records['vms'], nexus: string): string {
  const vm = vmOfInitiator(nexus);
  return (vm === undefined ? undefined : vms.get(vm)?.value.name) ?? nexus;
}
