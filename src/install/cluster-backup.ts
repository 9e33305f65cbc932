/**
 * Backing up the cluster's records on a control node, and restoring the cluster from that file on one whose etcd is
 * lost. Guarantees: a restore begins an epoch above those that storage nodes have followed, and does nothing before
 * every storage node of the backup has reported its epoch, except those that are named; one node's report cannot use up
 * the epochs; machines must trust an authority whose key is here; etcd starts only with everything in it.
 */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, messageOf } from '../base/errors.ts';
import { parseDiskId } from '../base/ids.ts';
import { listed } from '../base/listed.ts';
import { ClusterAuthority } from '../control/cluster-authority.ts';
import { AUTHORITIES, type AuthoritiesRecord } from '../core/model/authorities.ts';
import type { StorageRecord } from '../core/model/cluster.ts';
import { keyOf, PREFIX, ROOT } from '../core/model/keys.ts';
import { PORTS } from '../core/model/ports.ts';
import { readRecord } from '../core/model/record-shapes.ts';
import { epochOfSnapshot, type ServedDisk } from '../core/plan/restore/begin-epoch.ts';
import {
  BACKUP_CHARS_MAX,
  type Backup,
  type BackupHeader,
  backupOf,
  type PagedRecords,
  readBackup,
  wholeBackup,
} from '../etcd/backup-file.ts';
import { EtcdClient } from '../etcd/client.ts';
import { systemClock } from '../os/clock.ts';
import { readTextBounded, writePiecesAtomic } from '../os/files.ts';
import { ownInterfaces } from '../os/own-addresses.ts';
import { type Credentials, readCredentials } from '../pki/credentials.ts';
import { RpcClient } from '../rpc/client.ts';
import { added, arrayOf, idOf, integer, nullable, openObject, optional, parsePort } from '../rpc/parse.ts';
import { demandClusterFile, writeClusterFile } from './cluster-file.ts';
import { type MachineConfig, networksOf } from './machine-config.ts';
import { type Restored, restoreEtcd } from './restore-etcd.ts';
import { isActive, start, stop } from './services.ts';
import { AUTHORITY_DIR, identityDir } from './setup.ts';
import type { Step } from './step.ts';
import { STATE_DIR } from './units.ts';

const ETCD_DIR = join(STATE_DIR, 'etcd');
const REPORT_MS = 5_000;
const DISKS_MAX = 100_000;
/** By how much an epoch that a storage node reports may exceed the backup's. */
const EPOCHS_AHEAD_MAX = 16;

/** The reports of storage nodes before a restore. */
interface Heard {
  readonly epochs: readonly number[];
  readonly served: readonly ServedDisk[];
}

const parseReport = openObject({
  epoch: added(nullable(integer({ min: 0 })), null),
  disks: arrayOf(openObject({ disk: idOf(parseDiskId), port: optional(parsePort) }), { itemsMax: DISKS_MAX }),
});

/**
 * Writes a backup of the records into a new file, which only its owner reads. Returns how many records it holds. Throws
 * what etcd refuses, or CodedError 'exists'.
 */
export async function backUpCluster(machine: MachineConfig, file: string): Promise<number> {
  const credentials = await ownCredentials();
  const etcd = new EtcdClient({ endpoints: [`${controlAddress(machine)}:${PORTS.etcdClient}`], tls: credentials });
  try {
    return await writeBackup(etcd, file);
  } finally {
    etcd.close();
  }
}

/** As `backUpCluster`, from an etcd. */
export async function writeBackup(etcd: PagedRecords, file: string): Promise<number> {
  let records = 0;
  const options = {
    ...{ prefix: ROOT, without: PREFIX.election, takenAt: systemClock.wallMs() },
    onHeader: (header: BackupHeader) => {
      records = header.records;
    },
  };
  await writeNew(file, backupOf(etcd, options));
  return records;
}

/**
 * Writes a backup that comes in pieces into a new file, which only its owner reads. CodedError 'exists', 'bad-input' where
 * it does not come whole, or what `pieces` throw; nothing is left then.
 */
export async function keepBackup(file: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  await writeNew(file, wholeBackup(pieces, 'What came'));
}

async function writeNew(file: string, pieces: AsyncIterable<string | Uint8Array>): Promise<void> {
  if (existsSync(file))
    throw new CodedError('exists', `${file} exists.`, { advice: 'Nothing was changed. Name another file.' });
  await writePiecesAtomic(file, pieces, { sizeBytesMax: BACKUP_CHARS_MAX });
}

/** Reads a backup. CodedError 'not-found', 'bad-input'. */
export async function openBackup(file: string): Promise<Backup> {
  const sizeBytes = existsSync(file) ? (await stat(file)).size : 0;
  const text = await readTextBounded(file, Math.min(sizeBytes, BACKUP_CHARS_MAX));
  if (text === undefined) throw new CodedError('not-found', `There is no ${file}.`, { advice: 'Nothing was changed.' });
  return readBackup(text, file);
}

/**
 * The steps that restore the cluster on this control node, which is its only one afterwards. `without`: storage nodes
 * that are not asked. `onRestored` gets the result.
 */
export function restoreSteps(
  machine: MachineConfig,
  options: {
    readonly backup: Backup;
    readonly without: readonly string[];
    readonly onRestored: (restored: Restored) => void;
  },
): readonly Step[] {
  const { backup, without, onRestored } = options;
  const node = (): { name: string; address: string } => ({ name: machine.name, address: controlAddress(machine) });
  let heard: Heard | null = null;
  const always = async (): Promise<boolean> => false;
  return [
    {
      does: `look whether the key of the backup’s authority is in ${AUTHORITY_DIR}`,
      isDone: always,
      do: async () => demandAuthority(backup, (await ClusterAuthority.open(AUTHORITY_DIR)).ids),
    },
    {
      does: 'ask the storage nodes of the backup which epoch they have followed',
      isDone: always,
      do: async () => {
        heard = await askStorage(backup, without);
      },
    },
    ...(['control', 'etcd'] as const).map((role): Step => {
      return { does: `stop the service ${role}`, isDone: async () => !(await isActive(role)), do: () => stop(role) };
    }),
    {
      does: `make ${ETCD_DIR} from the backup, in a new epoch`,
      isDone: always,
      do: async () => {
        if (heard === null) throw new CodedError('failed', 'The storage nodes were not asked.');
        const { name, address } = node();
        const member = { name, peerUrl: `https://${address}:${PORTS.etcdPeer}` };
        onRestored(await restoreEtcd({ backup, dataDir: ETCD_DIR, member, heard: heard.epochs, served: heard.served }));
      },
    },
    {
      does: `note in ${STATE_DIR} that this is the only control node`,
      isDone: always,
      do: async () => {
        const cluster = await demandClusterFile(STATE_DIR);
        await writeClusterFile(STATE_DIR, {
          ...cluster,
          controls: [node()],
          etcd: { state: 'new', members: [node()] },
        });
      },
    },
    ...(['etcd', 'control'] as const).map((role): Step => {
      return { does: `start the service ${role}`, isDone: () => isActive(role), do: () => start(role) };
    }),
  ];
}

/**
 * CodedError 'conflict' if the authority that issues according to the backup is not among `ids`, whose keys are here:
 * the authority was changed after the backup, and machines no longer trust this one.
 */
export function demandAuthority({ records }: Pick<Backup, 'records'>, ids: readonly string[]): void {
  const key = keyOf.authority(AUTHORITIES);
  const value = records.find((record) => record.key === key)?.value;
  // No change had begun: the authority whose key is here issues.
  if (value === undefined) return;
  const read = readRecord(key, value);
  if ('finding' in read)
    throw new CodedError('conflict', `The backup’s record of the authorities cannot be read: ${read.finding}.`, {
      advice: 'Nothing was changed. Restore from another backup.',
    });
  const { issuing } = read.value as AuthoritiesRecord;
  if (ids.includes(issuing)) return;
  throw new CodedError('conflict', `The key of authority ${issuing}, which issues in the backup, is not here.`, {
    advice:
      'Nothing was changed. The authority was changed after the backup, and machines no longer trust the old one: restore from a backup that was made after the change.',
  });
}

/**
 * The storage nodes of a backup that are asked. CodedError 'conflict' for a record that cannot be read: its node may
 * have followed any epoch.
 */
export function askedOf({ records }: Pick<Backup, 'records'>, without: readonly string[]): readonly StorageRecord[] {
  return records.flatMap(({ key, value }): readonly StorageRecord[] => {
    if (!key.startsWith(PREFIX.storage)) return [];
    const name = key.slice(PREFIX.storage.length);
    if (without.includes(name)) return [];
    const read = readRecord(key, value);
    if ('finding' in read)
      throw new CodedError('conflict', `The backup’s record of storage node ${name} cannot be read: ${read.finding}.`, {
        advice: `Nothing was changed. Repair it, restore from another backup, or leave the node out: --without ${name}.`,
      });
    const record = read.value as StorageRecord;
    return record.lost === undefined ? [record] : [];
  });
}

/**
 * CodedError 'conflict' if a node reports an epoch far above the backup's: there is no way back to a lower epoch, and
 * after the last one no restore is possible.
 */
export function demandPlausible(
  { records }: Pick<Backup, 'records'>,
  heard: readonly { readonly node: string; readonly epoch: number }[],
): void {
  const known = epochOfSnapshot(records);
  const wild = heard.filter(({ epoch }) => epoch > known + EPOCHS_AHEAD_MAX);
  if (wild.length === 0) return;
  const said = listed(wild.map(({ node, epoch }) => `${node} (epoch ${epoch})`));
  throw new CodedError('conflict', `Storage nodes report epochs far above the backup’s ${known}: ${said}.`, {
    advice: `Nothing was changed. A cluster is not restored more than ${EPOCHS_AHEAD_MAX} times after a backup: restore from a newer backup, or, if they are not to be believed, leave them out: --without ${wild.map(({ node }) => node).join(' ')}.`,
  });
}

async function askStorage(backup: Backup, without: readonly string[]): Promise<Heard> {
  const nodes = askedOf(backup, without);
  const credentials = await ownCredentials();
  const silent: string[] = [];
  const heard: { node: string; epoch: number }[] = [];
  const served: ServedDisk[] = [];
  await Promise.all(
    nodes.map(async ({ name, addresses }) => {
      const target = { address: addresses.control, port: PORTS.storage, identity: { kind: 'storage', name } as const };
      const client = new RpcClient({ credentials, target });
      try {
        const report = await client.call({
          method: 'GET',
          path: '/v1/report',
          deadlineMs: REPORT_MS,
          parse: parseReport,
        });
        if (report.epoch !== null) heard.push({ node: name, epoch: report.epoch });
        for (const { disk, port } of report.disks) if (port !== undefined) served.push({ node: name, disk, port });
      } catch (error) {
        silent.push(`${name} (${messageOf(error)})`);
      } finally {
        client.close();
      }
    }),
  );
  if (silent.length > 0)
    throw new CodedError('unavailable', `Storage nodes do not answer: ${listed(silent)}.`, {
      advice:
        'Nothing was changed. Bring them up first; or leave them out with --without NODE: if such a node has followed an epoch that no other has heard of, it refuses the restored cluster, and the restore is repeated.',
    });
  demandPlausible(backup, heard);
  return { epochs: heard.map(({ epoch }) => epoch), served };
}

async function ownCredentials(): Promise<Credentials> {
  const credentials = await readCredentials(identityDir('control'));
  if (credentials !== undefined) return credentials;
  throw new CodedError('not-found', 'This machine is no control node.', {
    advice: 'Run it on a control node, as root.',
  });
}

function controlAddress(machine: MachineConfig): string {
  return networksOf(machine, ownInterfaces()).control;
}
