/**
 * Changes the records of a snapshot when a cluster is restored from it, before any server reads them. Pure.
 * Guarantees: every VM's generation rises to the floor of the new epoch, above every generation that was ever given;
 * every VM is marked as not yet settled (it is unknown which incarnation runs); no wish from before is carried out a
 * second time (stops, resets, migrations; a deletion continues, since it is meant for good); no node leads, no session
 * and no invitation is valid.
 */
import { EPOCH_MAX, floorOfEpoch } from '../../../base/epoch.ts';
import { CodedError } from '../../../base/errors.ts';
import type { DiskId, Generation, StorageName } from '../../../base/ids.ts';
import type { EpochRecord, TaskRecord, TokenRecord } from '../../model/cluster.ts';
import { EPOCH_KEY, EPOCH_PORTS_KEY, EPOCH_VMS_KEY, keyOf, PREFIX, prefixOf } from '../../model/keys.ts';
import { readEpoch, readRecord } from '../../model/record-shapes.ts';
import { type VmRecord, withoutNotice } from '../../model/vm.ts';

/** A record of the snapshot, as etcd holds it. */
export type SnapshotRecord = Readonly<Record<'key' | 'value', string>>;
/** `value` null: it is deleted. */
export interface RestoreWrite {
  readonly key: string;
  readonly value: string | null;
}

/** The first epoch that nobody has heard of. CodedError 'failed' if there is none left. */
export function nextEpoch(snapshotEpoch: number, heard: readonly number[]): number {
  const next = Math.max(snapshotEpoch, ...heard) + 1;
  if (next > EPOCH_MAX) throw new CodedError('failed', `There is no epoch after ${next - 1}.`);
  return next;
}

/** The epoch of a snapshot: 0 without a record of one. CodedError 'failed': it cannot be read. */
export function epochOfSnapshot(records: Iterable<SnapshotRecord>): number {
  for (const { key, value } of records) if (key === EPOCH_KEY) return readEpoch(value).number;
  return 0;
}

/** A disk that a storage node serves, for any VM. */
export interface ServedDisk {
  readonly node: StorageName;
  readonly disk: DiskId;
  readonly port: number;
}

/** Ports of disks that were made after the snapshot and are served, as `NODE/PORT`. */
function portsTaken(records: Iterable<SnapshotRecord>, served: readonly ServedDisk[]): readonly string[] {
  const known = new Set<string>();
  for (const { key } of records) if (key.startsWith(PREFIX.disk)) known.add(key);
  return served.flatMap(({ node, disk, port }) => (known.has(keyOf.disk(disk)) ? [] : [`${node}/${port}`]));
}

/**
 * The writes that begin `epoch`. `served`: the generations that storage nodes serve. `unread`: keys under which no
 * record was found, left as they are; a VM among them must be repaired before its generation can be trusted, so the
 * caller refuses to go on.
 */
export function beginEpoch(
  records: Iterable<SnapshotRecord>,
  epoch: EpochRecord,
  served: readonly ServedDisk[],
): { readonly writes: readonly RestoreWrite[]; readonly vms: number; readonly unread: readonly string[] } {
  const writes: RestoreWrite[] = [
    { key: EPOCH_KEY, value: JSON.stringify(epoch) },
    { key: EPOCH_PORTS_KEY, value: JSON.stringify(portsTaken(records, served)) },
  ];
  const unread: string[] = [];
  const ids: string[] = [];
  for (const { key, value } of records) {
    const prefix = prefixOf(key);
    if (key.startsWith(PREFIX.election)) writes.push({ key, value: null });
    if (prefix !== PREFIX.vm && prefix !== PREFIX.task && prefix !== PREFIX.token) continue;
    const read = readRecord(key, value);
    if ('finding' in read) {
      if (prefix === PREFIX.vm) unread.push(`${key} ${read.finding}`);
      continue;
    }
    if (prefix === PREFIX.vm) {
      writes.push({ key, value: JSON.stringify(restoredVm(read.value as VmRecord, epoch)) });
      ids.push(key.slice(prefix.length));
    } else if (prefix === PREFIX.token) {
      if ((read.value as TokenRecord).kind !== 'api') writes.push({ key, value: null });
    } else if (isOfVms(read.value as TaskRecord)) {
      const message = 'The cluster was restored from a snapshot before this task ended: its outcome is not known.';
      const ended: TaskRecord = { ...(read.value as TaskRecord), state: 'failed', message, endedAt: epoch.restoredAt };
      writes.push({ key, value: JSON.stringify(ended) });
    }
  }
  writes.push({ key: EPOCH_VMS_KEY, value: JSON.stringify(ids) });
  return { writes, vms: ids.length, unread };
}

function isOfVms({ state, target }: TaskRecord): boolean {
  return state === 'running' && (target.kind === 'vm' || target.kind === 'vms');
}

function restoredVm(vm: VmRecord, { number }: EpochRecord): VmRecord {
  const generation = Math.max(vm.generation, floorOfEpoch(number)) as Generation;
  return {
    ...withoutNotice(vm),
    generation,
    restored: number,
    stopRequest: null,
    resetRequest: null,
    migrationRequest: null,
    cancelRequest: null,
    pauseTask: null,
    startTask: null,
    failures: null,
  };
}
