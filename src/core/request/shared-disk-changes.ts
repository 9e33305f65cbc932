/**
 * Changes of shared disks that people ask for: the present records and a request become the changes of one transaction,
 * or a refusal. Pure; nothing is written here.
 * Guarantees: a VM's shared disks change only while it is stopped or runs undisturbed; a disk of a running VM is never
 * dropped from its record at once, but marked as leaving; a number (LUN) is used once in a VM; a disk never becomes
 * smaller, and is never deleted while a VM has it.
 */
import { CodedError } from '../../base/errors.ts';
import type { DiskId, GuestClusterName, StorageName, VmId } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { TaskRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import type { SharedDiskRecord } from '../model/guest-cluster.ts';
import { LIMITS } from '../model/limits.ts';
import { sharedDisksOf, type VmRecord, type VmSharedDisk } from '../model/vm.ts';
import { demandUsersKnown } from '../plan/vm/unreadable.ts';
import type { Change, Snapshot } from '../ports/store.ts';
import { vmChange } from './basis.ts';

/** The records that admission reads. */
export type Records = Pick<Snapshot, 'vms' | 'hosts' | 'sharedDisks' | 'guestClusters' | 'reservations' | 'unreadable'>;

/** VMs that one shared disk may have (docs/specs/scsi-reservations.md). */
export const USERS_MAX = LIMITS.sharedDiskUsers.max;
/** The largest number of a disk in a VM. */
const LUN_MAX = LIMITS.sharedDiskLun.max;

/** A disk that is to be made. */
export interface NewSharedDisk {
  readonly id: DiskId;
  readonly name: string;
  readonly node: StorageName;
  readonly sizeBytes: number;
  readonly blockBytes: 512 | 4096;
}

/** The time of the request, and the task that waits for its end. */
export interface Asked {
  /** Unix ms. */
  readonly now: number;
  readonly task: TaskRecord;
}

/**
 * The record of a disk that is to be made. CodedError 'bad-input' for a size that is not whole blocks, 'exists' for a
 * name that is taken.
 */
export function newSharedDisk(
  { sharedDisks }: Records,
  disk: NewSharedDisk,
  guestCluster: GuestClusterName | null,
  { now, task }: Asked,
): SharedDiskRecord {
  demandBlocks(disk.name, disk);
  demandNodeRoom(sharedDisks, disk.node);
  for (const { name, guestCluster: scope } of recordsOf(sharedDisks)) {
    if (name !== disk.name || scope !== guestCluster) continue;
    const where = guestCluster === null ? 'of no guest cluster ' : `of guest cluster ${guestCluster} `;
    throw new CodedError('exists', `A shared disk ${where}is named ${name}.`, {
      advice: 'Nothing was created. Choose another name.',
    });
  }
  return {
    ...disk,
    phase: 'creating',
    guestCluster,
    createdAt: now,
    ...(guestCluster === null ? waiting([], task) : {}),
  };
}

/** A disk's record with a larger size. CodedError 'bad-input' for a smaller one, 'conflict' for one that is going. */
export function grownDisk(disk: SharedDiskRecord, sizeBytes: number, { task }: Asked): SharedDiskRecord {
  demandStaying(disk);
  demandBlocks(disk.name, { sizeBytes, blockBytes: disk.blockBytes });
  if (sizeBytes < disk.sizeBytes)
    throw new CodedError(
      'bad-input',
      `${disk.name} has ${disk.sizeBytes} bytes; it cannot become smaller (${sizeBytes}).`,
      {
        advice: 'Nothing was changed. Make a new disk of that size and copy the data that is to be kept.',
      },
    );
  // A disk that is not made yet is made with the new size at once.
  const before = disk.phase === 'creating' ? {} : { sizeBefore: disk.sizeBefore ?? disk.sizeBytes };
  return { ...disk, sizeBytes, ...before, ...waiting(disk.tasks, task) };
}

/** Returns a disk's record marked for deletion. CodedError 'conflict' if a VM has the disk, or may have it. */
export function deletedDisk(records: Records, disk: SharedDiskRecord, { task }: Asked): SharedDiskRecord {
  const { vms } = records;
  demandUsersKnown(records.unreadable);
  if (disk.guestCluster !== null)
    throw new CodedError('conflict', `${disk.name} is a disk of guest cluster ${disk.guestCluster}.`, {
      advice: `Nothing was deleted. gp guest-cluster remove-disk ${disk.guestCluster} ${disk.name} takes it from the members and deletes it.`,
    });
  const users = usersOf(vms, disk.id).map(({ name }) => name);
  if (users.length > 0)
    throw new CodedError('conflict', `${disk.name} is attached to ${listed(users)}.`, {
      advice: `Nothing was deleted. Detach it first: gp shared-disk detach ${disk.name} ${users[0] ?? ''}.`,
    });
  return { ...disk, phase: 'deleting', ...waiting(disk.tasks, task) };
}

/** Attaches one disk to one VM. */
export function attachChanges(
  records: Records,
  what: { readonly disk: SharedDiskRecord; readonly vm: VmRecord; readonly lun: number | null },
  { task }: Asked,
): Change[] {
  const { disk, vm } = what;
  if (disk.guestCluster !== null)
    throw new CodedError(
      'conflict',
      `${disk.name} is a disk of guest cluster ${disk.guestCluster}: only its members can have it.`,
      {
        advice: `Nothing was changed. gp guest-cluster add-member ${disk.guestCluster} ${vm.name} makes ${vm.name} a member.`,
      },
    );
  if (sharedDisksOf(vm).some((use) => use.disk === disk.id && use.leaving !== true))
    throw new CodedError('conflict', `${vm.name} has ${disk.name} already.`, { advice: 'Nothing was changed.' });
  if (usersOf(records.vms, disk.id).length >= USERS_MAX)
    throw new CodedError('conflict', `${disk.name} is attached to ${USERS_MAX} VMs, and a shared disk has no more.`, {
      advice: 'Nothing was changed.',
    });
  demandStaying(disk);
  const lun = what.lun ?? freeLun([vm]);
  return [vmChange(withDisk(vm, disk, lun)), diskChange({ ...disk, ...waiting(disk.tasks, task) })];
}

/** Detaches one disk from one VM. */
export function detachChanges(
  what: { readonly disk: SharedDiskRecord; readonly vm: VmRecord },
  { task }: Asked,
): Change[] {
  const { disk, vm } = what;
  if (disk.guestCluster !== null)
    throw new CodedError(
      'conflict',
      `${disk.name} is a disk of guest cluster ${disk.guestCluster}, of which ${vm.name} is a member.`,
      {
        advice: `Nothing was changed. Remove the member or the disk: gp guest-cluster remove-member ${disk.guestCluster} ${vm.name}.`,
      },
    );
  if (!sharedDisksOf(vm).some((use) => use.disk === disk.id))
    throw new CodedError('not-found', `${vm.name} does not have ${disk.name}.`, { advice: 'Nothing was changed.' });
  return [vmChange(withoutDisks(vm, [disk.id])), diskChange({ ...disk, ...waiting(disk.tasks, task) })];
}

/** The lowest number that none of the VMs uses. CodedError 'no-capacity'. */
export function freeLun(vms: readonly VmRecord[], taken: ReadonlySet<number> = new Set()): number {
  const used = new Set([...taken, ...vms.flatMap((vm) => sharedDisksOf(vm).map(({ lun }) => lun))]);
  for (let lun = 0; lun <= LUN_MAX; lun++) if (!used.has(lun)) return lun;
  throw new CodedError('no-capacity', `No number from 0 to ${LUN_MAX} is free for one more shared disk.`, {
    advice: 'Nothing was changed. Detach a disk first.',
  });
}

/**
 * Returns a VM with one more shared disk: the VM gets it at its next start, or as soon as its QEMU has accepted it; a
 * disk that is not made yet is added once it is made. CodedError 'conflict'.
 */
export function withDisk(
  vm: VmRecord,
  { id: disk, phase }: Pick<SharedDiskRecord, 'id' | 'phase'>,
  lun: number,
): VmRecord {
  demandChangeable(vm);
  if (vm.phase.kind !== 'stopped' && vm.spec.sharedDisks === undefined)
    throw new CodedError('conflict', `${vm.name} was started without a place for shared disks.`, {
      advice: `Nothing was changed. Stop it first (gp vm stop ${vm.name}); it gets the disk at its next start.`,
    });
  const others = sharedDisksOf(vm).filter((use) => use.disk !== disk);
  if (others.length >= LIMITS.vmSharedDisks.max)
    throw new CodedError('conflict', `${vm.name} has ${others.length} shared disks, and a VM has no more.`, {
      advice:
        'Nothing was changed. Detach one first; a disk that is being detached counts until its guest has released it.',
    });
  if (others.some((use) => use.lun === lun))
    throw new CodedError('conflict', `${vm.name} has another shared disk as number ${lun}.`, {
      advice: 'Nothing was changed. Choose another number, or none.',
    });
  const isThere = vm.phase.kind === 'stopped' && phase !== 'creating';
  const use: VmSharedDisk = isThere ? { disk, lun } : { disk, lun, joining: true };
  return { ...vm, spec: { ...vm.spec, sharedDisks: [...others, use] } };
}

/** A VM without these shared disks: at once, or as soon as its QEMU has closed them. CodedError 'conflict'. */
export function withoutDisks(vm: VmRecord, disks: readonly DiskId[]): VmRecord {
  const before = sharedDisksOf(vm);
  if (!before.some(({ disk }) => disks.includes(disk))) return vm;
  demandChangeable(vm);
  const sharedDisks = before.flatMap(({ disk, lun, ...marks }): VmSharedDisk[] => {
    if (!disks.includes(disk)) return [{ disk, lun, ...marks }];
    return vm.phase.kind === 'stopped' ? [] : [{ disk, lun, leaving: true }];
  });
  return { ...vm, spec: { ...vm.spec, sharedDisks } };
}

/**
 * CodedError 'conflict' unless the VM is stopped or runs: a VM on its way must keep on both sides the disks that it
 * began with.
 */
export function demandChangeable(vm: VmRecord): void {
  if (vm.deleting) throw new CodedError('conflict', `${vm.name} is being deleted.`, { advice: 'Nothing was changed.' });
  const { kind } = vm.phase;
  if (kind === 'stopped' || kind === 'running') return;
  throw new CodedError('conflict', `${vm.name} is in phase ${kind}: its shared disks cannot change at this moment.`, {
    advice: 'Nothing was changed. Try again when it runs or is stopped.',
  });
}

/** The VMs whose records name a shared disk, by name. */
export function usersOf(vms: Records['vms'], disk: DiskId): VmRecord[] {
  return [...recordsOf(vms)]
    .filter((vm) => sharedDisksOf(vm).some((use) => use.disk === disk))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The field of a record for one more task that waits. */
export function waiting(
  before: readonly TaskRecord['id'][] | undefined,
  task: TaskRecord,
): Pick<SharedDiskRecord, 'tasks'> {
  return { tasks: [...(before ?? []), task.id] };
}

/** The change that writes a shared disk. */
export const diskChange = (value: SharedDiskRecord): Change => ({ kind: 'shared-disk', id: value.id, value });

function demandStaying({ name, phase }: SharedDiskRecord): void {
  if (phase === 'deleting')
    throw new CodedError('conflict', `${name} is being deleted.`, { advice: 'Nothing was changed.' });
}

function demandNodeRoom(sharedDisks: Records['sharedDisks'], node: StorageName): void {
  let there = 0;
  for (const disk of recordsOf(sharedDisks)) if (disk.node === node) there++;
  if (there < LIMITS.sharedDisksPerNode.max) return;
  throw new CodedError('no-capacity', `${node} has ${there} shared disks, and a storage node has no more.`, {
    advice: 'Nothing was created. Delete one that is not needed.',
  });
}

function demandBlocks(name: string, { sizeBytes, blockBytes }: Pick<NewSharedDisk, 'sizeBytes' | 'blockBytes'>): void {
  if (sizeBytes % blockBytes === 0) return;
  throw new CodedError(
    'bad-input',
    `${name}: ${sizeBytes} bytes are not a whole number of blocks of ${blockBytes} bytes.`,
    {
      advice: 'Nothing was changed. Choose a size that is.',
    },
  );
}

/** A VM by its id, among records. CodedError 'not-found'. */
export function vmOf({ vms }: Records, id: VmId): VmRecord {
  const entry = vms.get(id);
  if (entry === undefined)
    throw new CodedError('not-found', `There is no VM ${id}.`, { advice: 'Nothing was changed.' });
  return entry.value;
}
