/**
 * Backing up the cluster's records on a control node, and restoring the cluster from that file on one whose etcd is
 * lost. Guarantees: a restore begins an epoch above those that storage nodes have followed, and does nothing before
 * every storage node of the backup has said so, but for those that are named; etcd starts only with everything in it.
 */
import { existsSync } from 'node:fs';
import { open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, messageOf } from '../base/errors.ts';
import { parseDiskId } from '../base/ids.ts';
import { listed } from '../base/listed.ts';
import type { StorageRecord } from '../core/model/cluster.ts';
import { PREFIX, ROOT } from '../core/model/keys.ts';
import { PORTS } from '../core/model/ports.ts';
import { readRecord } from '../core/model/record-shapes.ts';
import type { ServedDisk } from '../core/plan/restore/begin-epoch.ts';
import { BACKUP_CHARS_MAX, type Backup, backupOf, readBackup } from '../etcd/backup-file.ts';
import { EtcdClient } from '../etcd/client.ts';
import { systemClock } from '../os/clock.ts';
import { readTextBounded } from '../os/files.ts';
import { ownInterfaces } from '../os/own-addresses.ts';
import { type Credentials, readCredentials } from '../pki/credentials.ts';
import { RpcClient } from '../rpc/client.ts';
import { added, arrayOf, idOf, integer, nullable, openObject, optional, parsePort } from '../rpc/parse.ts';
import { demandClusterFile, writeClusterFile } from './cluster-file.ts';
import { type MachineConfig, networksOf } from './machine-config.ts';
import { type Restored, restoreEtcd } from './restore-etcd.ts';
import { isActive, start, stop } from './services.ts';
import { identityDir } from './setup.ts';
import type { Step } from './step.ts';
import { STATE_DIR } from './units.ts';

const ETCD_DIR = join(STATE_DIR, 'etcd');
const REPORT_MS = 5_000;
const DISKS_MAX = 100_000;

/** What storage nodes say before a restore. */
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
  const making = `${file}.making`;
  if (existsSync(file))
    throw new CodedError('exists', `${file} exists.`, { advice: 'Nothing was changed. Name another file.' });
  let lines = 0;
  try {
    const handle = await open(making, 'w', 0o600);
    try {
      const options = { prefix: ROOT, without: PREFIX.election, takenAt: systemClock.wallMs() };
      for await (const piece of backupOf(etcd, options)) {
        await handle.write(piece);
        lines += piece.split('\n').length - 1;
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  } finally {
    etcd.close();
  }
  await rename(making, file);
  // The header and the end are no records.
  return lines - 2;
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
 * that are not asked. `onRestored` is told what came of it.
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

async function askStorage({ records }: Backup, without: readonly string[]): Promise<Heard> {
  const credentials = await ownCredentials();
  const nodes = records.flatMap(({ key, value }): readonly StorageRecord[] => {
    if (!key.startsWith(PREFIX.storage)) return [];
    const read = readRecord(key, value);
    const record = 'value' in read ? (read.value as StorageRecord) : null;
    return record === null || record.lost !== undefined || without.includes(record.name) ? [] : [record];
  });
  const silent: string[] = [];
  const epochs: number[] = [];
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
        if (report.epoch !== null) epochs.push(report.epoch);
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
  return { epochs, served };
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
