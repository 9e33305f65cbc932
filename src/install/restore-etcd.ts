/**
 * Makes the data of an etcd member from a backup, in a new epoch, before any other process can read it.
 *
 * Guarantees: the records are put into an etcd that only this process reaches (a socket in a private directory); its
 * directory takes the place of the member's only when everything is in it, so that a restore that fails in the middle
 * leaves what was there; what was there is renamed, and never deleted.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import type { EpochRecord } from '../core/model/cluster.ts';
import { EPOCH_PREFIX, ROOT } from '../core/model/keys.ts';
import {
  beginEpoch,
  epochOfSnapshot,
  nextEpoch,
  type RestoreWrite,
  type ServedDisk,
} from '../core/plan/restore/begin-epoch.ts';
import type { Backup } from '../etcd/backup-file.ts';
import { EtcdClient } from '../etcd/client.ts';
import type { Op } from '../etcd/records.ts';
import { tryRun } from '../os/child-process.ts';
import { systemClock } from '../os/clock.ts';
import { makePrivateDirectory } from '../os/files.ts';

export interface RestoreOptions {
  readonly backup: Backup;
  /** The directory of the member's data. */
  readonly dataDir: string;
  /** The member, the only one of the restored etcd. */
  readonly member: { readonly name: string; readonly peerUrl: string };
  /** The reports of storage nodes: the epochs that they have followed, and the generations that they serve. */
  readonly heard: readonly number[];
  readonly served: readonly ServedDisk[];
}

export interface Restored {
  readonly epoch: number;
  readonly vms: number;
  /** The directory with the former data; null if there were none. */
  readonly keptIn: string | null;
}

const START_MS = 20_000;
const OPS_AT_ONCE = 64;
const CHARS_AT_ONCE = 512 * 1024;
const WRITE_MS = 10_000;
/** The time for all records of the largest backup, in ms. */
const FILL_MS = 300_000;

/** Carries it out. CodedError 'conflict': a VM's record cannot be read; 'failed': etcd did not take the records. */
export async function restoreEtcd(options: RestoreOptions): Promise<Restored> {
  const { backup, dataDir, heard, served } = options;
  const number = nextEpoch(epochOfSnapshot(backup.records), heard);
  const now = systemClock.wallMs();
  const record: EpochRecord = {
    number,
    id: randomBytes(8).toString('hex'),
    restoredAt: now,
    snapshotRevision: backup.header.revision,
  };
  const { writes, vms, unread } = beginEpoch(backup.records, record, served);
  if (unread.length > 0)
    throw new CodedError('conflict', `The backup holds VMs that cannot be read: ${unread.slice(0, 5).join('; ')}.`, {
      advice: 'Nothing was changed. Repair those lines, or restore from another backup.',
    });
  const making = `${dataDir}.making`;
  await rm(making, { recursive: true, force: true });
  await makePrivateDirectory(making);
  const after = new Map(backup.records.map(({ key, value }): [string, string | null] => [key, value]));
  for (const { key, value } of writes) after.set(key, value);
  await fill(
    making,
    options.member,
    [...after].map(([key, value]) => ({ key, value })),
  );
  const keptIn = existsSync(dataDir) ? `${dataDir}.before-epoch-${number}-${now}` : null;
  if (keptIn !== null) await rename(dataDir, keptIn);
  await rename(making, dataDir);
  return { epoch: number, vms, keptIn };
}

/** Puts the records into an etcd of one member that no client can reach. */
async function fill(
  dataDir: string,
  { name, peerUrl }: RestoreOptions['member'],
  records: readonly RestoreWrite[],
): Promise<void> {
  const sockets = await mkdtemp(join(tmpdir(), 'gp-restore-'));
  // etcd 3.4 takes a socket as `unix://NAME:PORT`, and makes a file of that name in its working directory.
  const client = 'unix://client:0';
  const argv = [
    ...[`--name=${name}`, `--data-dir=${dataDir}`, `--initial-cluster=${name}=${peerUrl}`],
    ...[`--initial-advertise-peer-urls=${peerUrl}`, '--listen-peer-urls=unix://peer:0'],
    ...[`--listen-client-urls=${client}`, `--advertise-client-urls=${client}`],
    ...['--initial-cluster-state=new', '--initial-cluster-token=groundplane', '--enable-grpc-gateway=false'],
    ...['--logger=zap', '--log-level=warn', '--log-outputs=stderr'],
  ];
  const ending = new AbortController();
  const env = { PATH: process.env['PATH'] ?? '' };
  const member = tryRun(['etcd', ...argv], { cwd: sockets, env, deadlineMs: FILL_MS, signal: ending.signal });
  const etcd = new EtcdClient({ endpoints: [`unix:${join(sockets, 'client:0')}`], deadlineMsDefault: START_MS });
  const isEnded = member.then(({ exitCode, stderr }): never => {
    throw new CodedError('failed', `etcd ended with exit status ${exitCode}: ${stderr.trim().slice(-500)}`, {
      advice: 'Nothing was changed.',
    });
  });
  try {
    await Promise.race([write(etcd, records), isEnded]);
  } finally {
    etcd.close();
    // etcd has synced to its log what it acknowledged, and reads it from there when it starts.
    ending.abort(new CodedError('failed', 'The restore is over.'));
    await isEnded.catch(() => undefined);
    await rm(sockets, { recursive: true, force: true });
  }
}

/** Writes the records, and reads that all of them are there. */
async function write(etcd: EtcdClient, records: readonly RestoreWrite[]): Promise<void> {
  await etcd.list(EPOCH_PREFIX, { deadlineMs: START_MS });
  for (const success of inTransactions(records)) await etcd.txn({ compare: [], success }, { deadlineMs: WRITE_MS });
  const { entries } = await etcd.list(ROOT, { deadlineMs: START_MS });
  const wanted = records.filter(({ value }) => value !== null).length;
  if (entries.length === wanted) return;
  throw new CodedError('failed', `etcd has ${entries.length} of ${wanted} records.`, {
    advice: 'Nothing was changed.',
  });
}

/** The writes in transactions of a size that etcd takes. */
function* inTransactions(records: readonly RestoreWrite[]): Generator<readonly Op[], void> {
  let ops: Op[] = [];
  let chars = 0;
  for (const { key, value } of records) {
    if (value === null) continue;
    if (ops.length === OPS_AT_ONCE || (ops.length > 0 && chars + value.length > CHARS_AT_ONCE)) {
      yield ops;
      ops = [];
      chars = 0;
    }
    ops.push({ put: key, value });
    chars += value.length;
  }
  if (ops.length > 0) yield ops;
}
