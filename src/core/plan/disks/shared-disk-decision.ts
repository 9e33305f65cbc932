/**
 * Decides the next action for a shared disk, and for a guest cluster as an object: pure functions of records and
 * acknowledgements.
 * Guarantees: a disk is deleted only when no VM's record names it; a task ends in the transaction that finds that
 * everything it waited for is done, or that the storage node refuses the disk; every order may be repeated, so that a
 * leader without knowledge repeats it and gets the same result.
 */
import type { DiskId, VmId } from '../../../base/ids.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../../model/guest-cluster.ts';
import { sharedDisksOf } from '../../model/vm.ts';
import type { DecisionEvent, TaskOutcome } from '../vm/decision.ts';

/** The acknowledgements that this leader got for one disk. */
export interface SharedDiskAcknowledged {
  /** The disk exists with at least this many bytes; 0: unknown. */
  readonly sizeBytes: number;
  readonly isDeleted: boolean;
  /**
   * Why the storage node last refused to make the disk with that size, or to grow it; null if it did not. The order is
   * repeated.
   */
  readonly refusal: { readonly sizeBytes: number; readonly why: string } | null;
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
    if (acknowledged.sizeBytes < sizeBytes) return notMade(disk, acknowledged) ?? { kind: 'order', order: 'put' };
    const event = { kind: 'shared-disk-ready', message: `Shared disk ${name} (${id}) is there, on ${node}.` };
    return { kind: 'commit', value: { ...disk, phase: 'ready' }, event, tasks: [] };
  }
  if ((disk.tasks ?? []).length === 0) return { kind: 'wait', why: '' };
  if (acknowledged.sizeBytes < sizeBytes) return notGrown(disk, acknowledged) ?? { kind: 'order', order: 'put' };
  const unsettled = unsettledUsers(index, disk);
  if (unsettled.length > 0) return { kind: 'wait', why: `${unsettled.join(', ')}: not attached or detached yet` };
  const { tasks: _, sizeBefore: __, ...rest } = disk;
  return { kind: 'commit', value: rest, event: null, tasks: ended(disk, `Shared disk ${name} is as wanted.`) };
}

/** Returns why the node refuses the size in the present record. */
function whyRefused({ sizeBytes }: SharedDiskRecord, refusal: SharedDiskAcknowledged['refusal']): string | null {
  return refusal !== null && refusal.sizeBytes === sizeBytes ? refusal.why : null;
}

/**
 * Ends the tasks that wait for a disk that its node refuses to make, with the reason; null if there are no tasks or no
 * reason. The disk is tried again.
 */
function notMade(disk: SharedDiskRecord, { refusal }: SharedDiskAcknowledged): ObjectDecision<SharedDiskRecord> | null {
  const { tasks, ...rest } = disk;
  const why = whyRefused(disk, refusal);
  if (why === null || tasks === undefined) return null;
  const message = `Shared disk ${disk.name} cannot be made: ${why}`;
  const event = { kind: 'shared-disk-refused', message };
  return { kind: 'commit', value: rest, event, tasks: failed(disk, `${message} ${AFTER_REFUSAL}`) };
}

/**
 * Sets a disk that its node refuses to grow back to its old size, and ends the tasks that wait for it with the reason;
 * null if there is no reason.
 */
function notGrown(
  disk: SharedDiskRecord,
  acknowledged: SharedDiskAcknowledged,
): ObjectDecision<SharedDiskRecord> | null {
  const why = whyRefused(disk, acknowledged.refusal);
  if (why === null) return null;
  const { tasks: _, sizeBefore, ...rest } = disk;
  // An earlier growth may have been carried out in the meantime. (Records of older versions lack the old size.)
  const sizeBytes = sizeBefore === undefined ? disk.sizeBytes : Math.max(sizeBefore, acknowledged.sizeBytes);
  const message = `Shared disk ${disk.name} cannot be grown to ${disk.sizeBytes} bytes: ${why}`;
  const advice = `It keeps ${sizeBytes} bytes, and its VMs continue with that size. Make room, then ask for the size again.`;
  const event = { kind: 'shared-disk-refused', message: `${message} It keeps ${sizeBytes} bytes.` };
  return { kind: 'commit', value: { ...rest, sizeBytes }, event, tasks: failed(disk, `${message} ${advice}`) };
}

const AFTER_REFUSAL =
  'No VM waits for it. It is tried again every 10 s: make room, or delete it and create it again, on another node or smaller.';

/**
 * Decides for one guest cluster. `refusalOf`: the last refusal of a disk's storage node, as in SharedDiskAcknowledged.
 */
export function decideGuestCluster(
  cluster: GuestClusterRecord,
  index: ClusterIndex,
  refusalOf: (disk: DiskId) => SharedDiskAcknowledged['refusal'],
): ObjectDecision<GuestClusterRecord> {
  const disks = cluster.disks.flatMap((id) => index.sharedDisk(id) ?? []);
  if (cluster.deleting === true) {
    const left = disks.filter(({ guestCluster }) => guestCluster === cluster.name);
    if (left.length > 0) return { kind: 'wait', why: `${left.map(({ name }) => name).join(', ')}: not deleted yet` };
    const event = { kind: 'guest-cluster-deleted', message: `Guest cluster ${cluster.name} was deleted.` };
    return { kind: 'commit', value: null, event, tasks: ended(cluster, `${cluster.name} was deleted.`) };
  }
  if ((cluster.tasks ?? []).length === 0) return { kind: 'wait', why: '' };
  const creating = disks.filter(({ phase }) => phase === 'creating');
  for (const disk of creating) {
    const why = whyRefused(disk, refusalOf(disk.id));
    if (why === null) continue;
    const message = `Shared disk ${disk.name} cannot be made: ${why}`;
    const event = { kind: 'shared-disk-refused', message: `Guest cluster ${cluster.name}: ${message}` };
    const { tasks: _, ...rest } = cluster;
    return { kind: 'commit', value: rest, event, tasks: failed(cluster, `${message} ${AFTER_REFUSAL}`) };
  }
  const made = creating.map(({ name }) => name);
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

function failed({ tasks = [] }: Pick<SharedDiskRecord, 'tasks'>, message: string): TaskOutcome[] {
  return tasks.map((id) => ({ id, state: 'failed', message }));
}

function ended({ tasks = [] }: Pick<SharedDiskRecord, 'tasks'>, message: string): TaskOutcome[] {
  return tasks.map((id) => ({ id, state: 'succeeded', message }));
}
