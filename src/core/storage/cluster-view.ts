/**
 * What etcd says about this node's disks, read linearizably. Guarantees: the VMs are read after the disks, so that a grant is
 * never derived from a VM older than its disk, shared or not; a record that cannot be understood grants nothing.
 */

import {
  type DiskId,
  type Generation,
  parseDiskId,
  parseGeneration,
  parseVmId,
  type StorageName,
  type VmId,
} from '../../base/ids.ts';
import type { DiskRecord } from '../model/cluster.ts';
import type { SharedDiskRecord } from '../model/guest-cluster.ts';
import { PREFIX } from '../model/keys.ts';
import { admittedGenerations, heldSharedDisks, type VmRecord, type VmSharedDisk } from '../model/vm.ts';
import { floorOfRecord } from './fencing-ledger.ts';

export interface ClusterView {
  /** The ready disks of this node. */
  readonly disks: ReadonlyMap<DiskId, DiskView>;
  readonly vms: ReadonlyMap<VmId, VmView>;
}

export interface DiskView {
  readonly vm: VmId;
  readonly port: number;
}

export interface VmView {
  /** No generation below it can ever be admitted again. */
  readonly floor: number;
  /** The highest generation it was ever given; 0 before its first start. */
  readonly highest: number;
  readonly admitted: readonly Generation[];
  /** Its disks that guests only read. */
  readonly readOnlyDisks: ReadonlySet<DiskId>;
  /** Its shared disks that are ready on this node. */
  readonly sharedDisks: readonly VmSharedDisk[];
}

/** The part of the etcd client that is used. */
export interface RecordReader {
  list(
    prefix: string,
    options?: { readonly deadlineMs?: number },
  ): Promise<{ readonly entries: readonly { readonly value: string }[] }>;
}

/** Reads the view; rejects when etcd cannot be reached. `onUnreadable` is told of records that are skipped. */
export async function readClusterView(
  etcd: RecordReader,
  node: StorageName,
  onUnreadable: (error: unknown) => void,
): Promise<ClusterView> {
  const diskRecords = await etcd.list(PREFIX.disk);
  const sharedRecords = await etcd.list(PREFIX.sharedDisk);
  const vmRecords = await etcd.list(PREFIX.vm);
  const shared = new Set<DiskId>();
  const disks = new Map<DiskId, DiskView>();
  const vms = new Map<VmId, VmView>();
  const each = (entries: readonly { readonly value: string }[], take: (value: string) => void): void => {
    for (const { value } of entries) {
      try {
        take(value);
      } catch (error) {
        onUnreadable(error);
      }
    }
  };
  each(diskRecords.entries, (value) => {
    const record = JSON.parse(value) as DiskRecord;
    if (record.node !== node || record.phase !== 'ready') return;
    disks.set(parseDiskId(record.id), { vm: parseVmId(record.vm), port: record.port });
  });
  each(sharedRecords.entries, (value) => {
    const record = JSON.parse(value) as SharedDiskRecord;
    if (record.node === node && record.phase === 'ready') shared.add(parseDiskId(record.id));
  });
  each(vmRecords.entries, (value) => {
    const record = JSON.parse(value) as VmRecord;
    vms.set(parseVmId(record.id), viewOf(record, shared));
  });
  return { disks, vms };
}

function viewOf(record: VmRecord, shared: ReadonlySet<DiskId>): VmView {
  const seeds = record.spec.disks.filter(({ role }) => role === 'seed');
  return {
    floor: floorOfRecord(record),
    highest: record.generation,
    admitted: admittedGenerations(record.phase).map(parseGeneration),
    readOnlyDisks: new Set(seeds.map(({ disk }) => disk)),
    // What is leaving was, or is about to be, taken back: it is not granted anew.
    sharedDisks: heldSharedDisks(record).flatMap(({ disk, lun }) => (shared.has(disk) ? [{ disk, lun }] : [])),
  };
}
