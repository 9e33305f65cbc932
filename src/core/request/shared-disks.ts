/**
 * Shared disks that people make, grow, attach, detach and delete: each is one change with a task. Pure. The rules for
 * the records are in shared-disk-changes.ts; what belongs to a guest cluster is attached and deleted through that.
 */
import { CodedError } from '../../base/errors.ts';
import { type DiskId, parseDiskId, type StorageName } from '../../base/ids.ts';
import type { TaskRecord } from '../model/cluster.ts';
import type { SharedDiskRecord } from '../model/guest-cluster.ts';
import type { Change, Entry, RequestSnapshot } from '../ports/store.ts';
import {
  type Admitted,
  type Basis,
  checkRevision,
  findVm,
  newTask,
  type Observed,
  type OfRevision,
  taskChange,
} from './basis.ts';
import {
  type Asked,
  attachChanges,
  deletedDisk,
  detachChanges,
  diskChange,
  grownDisk,
  type NewSharedDisk,
  newSharedDisk,
} from './shared-disk-changes.ts';
import { chooseNode, demandPoolFile, roomForShared } from './storage-choice.ts';

/** A shared disk that somebody asks for. */
export interface SharedDiskRequest {
  readonly name: string;
  readonly sizeBytes: number;
  /** Size of its blocks, 512 or 4096 bytes; 512 by default. */
  readonly blockBytes?: 512 | 4096 | undefined;
}

/** A shared disk by its id or, where it is of no guest cluster, its name. CodedError 'not-found'. */
export function findSharedDisk(
  { sharedDisks, sharedDiskNames }: Pick<RequestSnapshot, 'sharedDisks' | 'sharedDiskNames'>,
  disk: string,
): Entry<SharedDiskRecord> {
  const named = sharedDiskNames.get(`-/${disk}`)?.value;
  const entry = sharedDisks.get(disk as DiskId) ?? (named === undefined ? undefined : sharedDisks.get(named));
  if (entry === undefined)
    throw new CodedError('not-found', `There is no shared disk ${disk} of no guest cluster, and none of that id.`, {
      advice: 'List them with "gp shared-disk list".',
    });
  return entry;
}

/** A disk that a request asks for, with an id of its own, on a storage node. */
export function plannedDisk(
  { randomHex }: Pick<Basis, 'randomHex'>,
  { name, sizeBytes, blockBytes }: SharedDiskRequest,
  node: StorageName,
): NewSharedDisk {
  const id = parseDiskId(`disk-${randomHex(6)}`);
  return { id, name, node, sizeBytes, blockBytes: blockBytes ?? 512 };
}

/** A new shared disk of no guest cluster. CodedError 'bad-input', 'exists', 'no-capacity'. */
export function createSharedDisk(
  basis: Basis,
  observed: Observed | null,
  request: SharedDiskRequest,
): Admitted<TaskRecord['id']> {
  if (/^disk-[0-9a-f]{12}$/.test(request.name))
    throw new CodedError('bad-input', `${request.name} has the form of an id, which would make it ambiguous.`, {
      advice: 'Nothing was created. Choose another name.',
    });
  return withTask(basis, 'shared-disk.create', { name: request.name, message: 'Creating.' }, (asked) => {
    const disk = plannedDisk(basis, request, chooseNode(basis, observed, roomForShared([request])));
    return [diskChange(newSharedDisk(basis.records, disk, null, asked))];
  });
}

/** Makes a shared disk larger. CodedError 'not-found', 'stale-revision', 'bad-input', 'conflict', 'no-capacity'. */
export function growSharedDisk(
  basis: Basis,
  observed: Observed | null,
  name: string,
  { sizeBytes, ifMatch }: { readonly sizeBytes: number } & OfRevision,
): Admitted<TaskRecord['id']> {
  const disk = diskOf(basis, name, ifMatch);
  return withTask(basis, 'shared-disk.resize', { name: disk.name, message: 'Growing.' }, (asked) => {
    demandPoolFile(observed, disk.node, sizeBytes);
    return [diskChange(grownDisk(disk, sizeBytes, asked))];
  });
}

/** Deletes a shared disk that no VM has. CodedError 'not-found', 'stale-revision', 'conflict'. */
export function deleteSharedDisk(basis: Basis, name: string, { ifMatch }: OfRevision): Admitted<TaskRecord['id']> {
  const disk = diskOf(basis, name, ifMatch);
  return withTask(basis, 'shared-disk.delete', { name: disk.name, message: 'Deleting.' }, (asked) => [
    diskChange(deletedDisk(basis.records, disk, asked)),
  ]);
}

/** Attaches a shared disk to a VM. CodedError 'not-found', 'stale-revision', 'conflict', 'no-capacity'. */
export function attachSharedDisk(
  basis: Basis,
  name: string,
  { vm, lun, ifMatch }: { readonly vm: string; readonly lun?: number | undefined } & OfRevision,
): Admitted<TaskRecord['id']> {
  const { records } = basis;
  const disk = diskOf(basis, name, ifMatch);
  return withTask(basis, 'shared-disk.attach', { name: disk.name, message: 'Attaching.' }, (asked) =>
    attachChanges(records, { disk, vm: findVm(records, vm).value, lun: lun ?? null }, asked),
  );
}

/** Detaches a shared disk from a VM. CodedError 'not-found', 'stale-revision', 'conflict'. */
export function detachSharedDisk(
  basis: Basis,
  name: string,
  { vm, ifMatch }: { readonly vm: string } & OfRevision,
): Admitted<TaskRecord['id']> {
  const disk = diskOf(basis, name, ifMatch);
  return withTask(basis, 'shared-disk.detach', { name: disk.name, message: 'Detaching.' }, (asked) =>
    detachChanges({ disk, vm: findVm(basis.records, vm).value }, asked),
  );
}

function diskOf({ records }: Basis, name: string, ifMatch: string | null): SharedDiskRecord {
  const entry = findSharedDisk(records, name);
  checkRevision(entry, ifMatch, `Shared disk ${entry.value.name}`);
  return entry.value;
}

function withTask(
  basis: Basis,
  kind: string,
  { name, message }: { readonly name: string; readonly message: string },
  admit: (asked: Asked) => readonly Change[],
): Admitted<TaskRecord['id']> {
  const task = newTask(basis, { kind, target: { kind: 'shared-disk', name }, message });
  return { changes: [...admit({ now: basis.now, task }), taskChange(task)], result: task.id };
}
