/**
 * What to do next about a shared disk, and about a guest cluster as an object: pure functions of records and of what was acknowledged.
 *
 * Guarantees: a disk is deleted only when no VM's record names it; a task ends in the transaction that finds everything it waited for;
 * every order may be repeated, so that a leader that knows of nothing repeats it and comes to the same end.
 */
import type { VmId } from '../../base/ids.ts';
import type { ClusterIndex } from '../model/cluster-index.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../model/guest-cluster.ts';
import { sharedDisksOf } from '../model/vm.ts';
import type { DecisionEvent, TaskOutcome } from './decision.ts';

/** What this leader had acknowledged of one disk. */
export interface SharedDiskAcknowledged {
  /** It exists with at least so many bytes; 0: nothing is known. */
  readonly sizeBytes: number;
  readonly isDeleted: boolean;
}

/** `commit` with null: the record goes. */
export type ObjectDecision<T> =
  | { readonly kind: 'wait'; readonly why: string }
  | { readonly kind: 'order'; readonly order: 'put' | 'delete' }
  | {
      readonly kind: 'commit';
      readonly value: T | null;
      readonly event: DecisionEvent | null;
      readonly tasks: readonly TaskOutcome[];
    };

export interface SharedDiskSituation {
  readonly disk: SharedDiskRecord;
  readonly index: ClusterIndex;
  readonly acknowledged: SharedDiskAcknowledged;
}

/** Decides for one shared disk. */
export function decideSharedDisk({ disk, index, acknowledged }: SharedDiskSituation): ObjectDecision<SharedDiskRecord> {
  const { name, id, node, phase, sizeBytes } = disk;
  if (phase === 'deleting') {
    const users = namesOf(index, index.usersOf(id));
    if (users.length > 0)
      return { kind: 'wait', why: `${users.join(', ')} still ${users.length === 1 ? 'has' : 'have'} it` };
    if (!acknowledged.isDeleted) return { kind: 'order', order: 'delete' };
    const event = { kind: 'shared-disk-deleted', message: `Shared disk ${name} (${id}) was deleted from ${node}.` };
    return { kind: 'commit', value: null, event, tasks: ended(disk, `${name} was deleted.`) };
  }
  if (phase === 'creating') {
    if (acknowledged.sizeBytes < sizeBytes) return { kind: 'order', order: 'put' };
    const event = { kind: 'shared-disk-ready', message: `Shared disk ${name} (${id}) is there, on ${node}.` };
    return { kind: 'commit', value: { ...disk, phase: 'ready' }, event, tasks: [] };
  }
  if ((disk.tasks ?? []).length === 0) return { kind: 'wait', why: '' };
  if (acknowledged.sizeBytes < sizeBytes) return { kind: 'order', order: 'put' };
  const unsettled = unsettledUsers(index, disk);
  if (unsettled.length > 0) return { kind: 'wait', why: `${unsettled.join(', ')}: not attached or detached yet` };
  const { tasks: _, ...rest } = disk;
  return { kind: 'commit', value: rest, event: null, tasks: ended(disk, `Shared disk ${name} is as wanted.`) };
}

/** Decides for one guest cluster. */
export function decideGuestCluster(
  cluster: GuestClusterRecord,
  index: ClusterIndex,
): ObjectDecision<GuestClusterRecord> {
  const disks = cluster.disks.flatMap((id) => index.sharedDisk(id) ?? []);
  if (cluster.deleting === true) {
    const left = disks.filter(({ guestCluster }) => guestCluster === cluster.name);
    if (left.length > 0) return { kind: 'wait', why: `${left.map(({ name }) => name).join(', ')}: not deleted yet` };
    const event = { kind: 'guest-cluster-deleted', message: `Guest cluster ${cluster.name} was deleted.` };
    return { kind: 'commit', value: null, event, tasks: ended(cluster, `${cluster.name} was deleted.`) };
  }
  if ((cluster.tasks ?? []).length === 0) return { kind: 'wait', why: '' };
  const made = disks.filter(({ phase }) => phase === 'creating').map(({ name }) => name);
  if (made.length > 0) return { kind: 'wait', why: `${made.join(', ')}: not made yet` };
  const unsettled = [...new Set(disks.flatMap((disk) => unsettledUsers(index, disk)))];
  if (unsettled.length > 0) return { kind: 'wait', why: `${unsettled.join(', ')}: disks not attached or detached yet` };
  const { tasks: _, ...rest } = cluster;
  return {
    kind: 'commit',
    value: rest,
    event: null,
    tasks: ended(cluster, `Guest cluster ${cluster.name} is as wanted.`),
  };
}

/** The names of the VMs to which the disk is still to come, or from which it is still to go. */
function unsettledUsers(index: ClusterIndex, { id }: SharedDiskRecord): string[] {
  const users = [...index.usersOf(id)].filter((vm) => {
    const record = index.vm(vm);
    const use = record === null ? undefined : sharedDisksOf(record).find(({ disk }) => disk === id);
    return use?.joining === true || use?.leaving === true;
  });
  return namesOf(index, users);
}

function namesOf(index: ClusterIndex, vms: Iterable<VmId>): string[] {
  return [...vms].map((vm) => index.vm(vm)?.name ?? vm).sort();
}

function ended({ tasks = [] }: Pick<SharedDiskRecord, 'tasks'>, message: string): TaskOutcome[] {
  return tasks.map((id) => ({ id, state: 'succeeded', message }));
}
