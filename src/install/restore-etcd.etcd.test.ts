import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { keyOf, PREFIX, ROOT } from '../core/model/keys.ts';
import { incarnation, VM, vmRecord } from '../core/plan/testing/sample-records.ts';
import { backupOf, pagesOf, readBackup } from '../etcd/backup-file.ts';
import { EtcdClient } from '../etcd/client.ts';
import { startCluster } from '../etcd/testing/etcd-cluster.ts';
import { restoreEtcd } from './restore-etcd.ts';

const record = (generation: number): string =>
  JSON.stringify(
    vmRecord({ kind: 'running', incarnation: incarnation(generation) }, { generation: generation as never }),
  );

async function textOf(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
}

test('a backup of a real etcd is restored twice, each time in an epoch of its own; what was there is kept', async (t) => {
  const cluster = await startCluster(1);
  t.after(() => cluster.stop());
  const etcd = new EtcdClient(cluster.clientOptions());
  t.after(() => etcd.close());
  const many = Array.from({ length: 300 }, (_, i) => ({
    put: `/gp/disk-port/s1/${i}`,
    value: `"${'x'.repeat(9_000)}"`,
  }));
  for (let from = 0; from < many.length; from += 50)
    await etcd.txn({ compare: [], success: many.slice(from, from + 50) });
  await etcd.txn({ compare: [], success: [{ put: keyOf.vm(VM), value: record(5) }] });
  await etcd.txn({ compare: [], success: [{ put: `${PREFIX.election}01`, value: '{}' }] });
  const text = await textOf(backupOf(etcd, { prefix: ROOT, without: PREFIX.election, takenAt: 1 }));
  await etcd.txn({ compare: [], success: [{ put: keyOf.vm(VM), value: record(7) }] });
  const backup = readBackup(text, 'the backup');
  assert.equal(backup.records.length, 301);

  const dir = await mkdtemp(join(tmpdir(), 'gp-restore-test-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const options = {
    backup,
    dataDir: join(dir, 'etcd'),
    member: { name: 'm1', peerUrl: 'http://127.0.0.1:1' },
    served: [],
  };
  const first = await restoreEtcd({ ...options, heard: [] });
  assert.deepEqual(first, { epoch: 1, vms: 1, keptIn: null });
  const second = await restoreEtcd({ ...options, heard: [1] });
  assert.equal(second.epoch, 2);
  assert.equal((await readdir(dir)).length, 2, 'the data of epoch 1 are kept beside those of epoch 2');
});

test('a file that is no whole backup is refused, and says what is wrong', async () => {
  const entry = { key: keyOf.vm(VM), value: record(5), createRevision: 1, modRevision: 1, lease: '0' };
  const list = async (prefix: string) => ({ revision: 9, entries: entry.key.startsWith(prefix) ? [entry] : [] });
  const text = await textOf(backupOf(pagesOf({ list }), { prefix: ROOT, without: PREFIX.election, takenAt: 1 }));
  assert.equal(readBackup(text, 'f').header.revision, 9);
  for (const bad of [
    '',
    '{}\n',
    text.slice(0, -10),
    text.replace('\\"generation\\":5', '\\"generation\\":6'),
    `${text}x`,
  ])
    assert.throws(() => readBackup(bad, 'f'), { code: 'bad-input' });
  assert.equal(JSON.parse(readBackup(text, 'f').records[0]?.value ?? '').generation, 5);
});
