/**
 * The part of etcd that concerns this node's disks, read linearizably. Guarantees: the VMs are read after the disks, so
 * that a grant is never derived from a VM older than its disk, shared or not; a record that cannot be understood grants
 * nothing, and takes nothing away either; no turn of the event loop takes longer than some milliseconds, however many
 * records there are.
 */

import { CodedError } from '../../base/errors.ts';
import type { DiskId, Generation, StorageName, VmId } from '../../base/ids.ts';
import type { DiskRecord } from '../model/cluster.ts';
import type { SharedDiskRecord } from '../model/guest-cluster.ts';
import { EPOCH_PREFIX, PREFIX } from '../model/keys.ts';
import { type Epoch, epochFrom, readRecord } from '../model/record-shapes.ts';
import { admittedGenerations, heldSharedDisks, type VmRecord, type VmSharedDisk } from '../model/vm.ts';
import { floorOfRecord } from './fencing-ledger.ts';

export interface ClusterView {
  /** The epoch, and the newest revision of etcd, when it was read. */
  readonly history: History;
  readonly epoch: Epoch;
  /** The ready disks of this node. */
  readonly disks: ReadonlyMap<DiskId, DiskView>;
  readonly vms: ReadonlyMap<VmId, VmView>;
  /** VMs whose records are invalid, or restored and not adopted yet: their grants are not known. */
  readonly unreadableVms: ReadonlySet<VmId>;
}

/** The identity of etcd's history, and its length. */
export interface History {
  readonly epoch: number;
  /** The epoch's own name; empty for epoch 0. */
  readonly id: string;
  readonly revision: number;
}

export interface DiskView {
  readonly vm: VmId;
  readonly port: number;
}

export interface VmView {
  /** No generation below the floor can ever be admitted again. */
  readonly floor: number;
  /** The highest generation it was ever given; 0 before its first start. */
  readonly highest: number;
  readonly admitted: readonly Generation[];
  /** Its disks that guests only read. */
  readonly readOnlyDisks: ReadonlySet<DiskId>;
  /** Its shared disks that are ready on this node. */
  readonly sharedDisks: readonly VmSharedDisk[];
}

/** Characters of JSON that are read in one turn of the event loop: some milliseconds. */
const CHARS_PER_TURN = 256 * 1024;

type RecordText = Readonly<Record<'key' | 'value', string>>;

/** The part of the etcd client that is used. */
export interface RecordReader {
  list(
    prefix: string,
    options?: { readonly deadlineMs?: number },
  ): Promise<{ readonly entries: readonly RecordText[]; readonly revision: number }>;
}

/**
 * Reads the view; rejects when etcd cannot be reached. `onUnreadable` gets the key and the finding of each skipped
 * record; `nextTurn` resolves in a later turn of the event loop.
 */
export async function readClusterView(
  etcd: RecordReader,
  node: StorageName,
  {
    onUnreadable,
    nextTurn,
  }: {
    readonly onUnreadable: (key: string, finding: string) => void;
    readonly nextTurn: () => Promise<void>;
  },
): Promise<ClusterView> {
  // Read first: everything that is read after it belongs to this epoch, or to a later one that the next read finds.
  const { entries, revision } = await etcd.list(EPOCH_PREFIX).catch(firstEpochIfForbidden);
  const epoch = epochFrom(entries);
  const diskRecords = await etcd.list(PREFIX.disk);
  const sharedRecords = await etcd.list(PREFIX.sharedDisk);
  const vmRecords = await etcd.list(PREFIX.vm);
  const shared = new Set<DiskId>();
  const disks = new Map<DiskId, DiskView>();
  const vms = new Map<VmId, VmView>();
  const unreadableVms = new Set<VmId>();
  let charsLeft = CHARS_PER_TURN;
  const each = async <T>(entries: readonly RecordText[], take: (record: T) => void): Promise<void> => {
    for (const { key, value } of entries) {
      charsLeft -= value.length;
      if (charsLeft <= 0) {
        await nextTurn();
        charsLeft = CHARS_PER_TURN;
      }
      const read = readRecord(key, value);
      if ('value' in read) take(read.value as T);
      else {
        onUnreadable(key, read.finding);
        if (key.startsWith(PREFIX.vm)) unreadableVms.add(key.slice(PREFIX.vm.length) as VmId);
      }
    }
  };
  await each<DiskRecord>(diskRecords.entries, ({ id, vm, port, node: at, phase }) => {
    if (at === node && phase === 'ready') disks.set(id, { vm, port });
  });
  await each<SharedDiskRecord>(sharedRecords.entries, ({ id, node: at, phase }) => {
    if (at === node && phase === 'ready') shared.add(id);
  });
  await each<VmRecord>(vmRecords.entries, (record) => {
    if (record.restored === undefined) vms.set(record.id, viewOf(record, shared));
    else unreadableVms.add(record.id);
  });
  return { history: { epoch: epoch.number, id: epoch.id, revision }, epoch, disks, vms, unreadableVms };
}

/**
 * Control nodes that are older than epochs do not let storage nodes read them, and never restored the cluster. (A node
 * that has followed a later epoch refuses this one.)
 */
function firstEpochIfForbidden(error: unknown): Awaited<ReturnType<RecordReader['list']>> {
  if (error instanceof CodedError && error.code === 'forbidden') return { entries: [], revision: 0 };
  throw error;
}

function viewOf(record: VmRecord, shared: ReadonlySet<DiskId>): VmView {
  const seeds = record.spec.disks.filter(({ role }) => role === 'seed');
  return {
    floor: floorOfRecord(record),
    highest: record.generation,
    admitted: admittedGenerations(record.phase),
    readOnlyDisks: new Set(seeds.map(({ disk }) => disk)),
    // A disk that is leaving was, or is about to be, taken back: it is not granted anew.
    sharedDisks: heldSharedDisks(record).flatMap(({ disk, lun }) => (shared.has(disk) ? [{ disk, lun }] : [])),
  };
}
