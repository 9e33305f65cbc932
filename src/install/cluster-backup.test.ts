import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { storageRecord } from '../control/testing/records.ts';
import { AUTHORITIES, type AuthoritiesRecord } from '../core/model/authorities.ts';
import { EPOCH_KEY, keyOf, PREFIX } from '../core/model/keys.ts';
import { pagesOf } from '../etcd/backup-file.ts';
import { askedOf, demandAuthority, demandPlausible, writeBackup } from './cluster-backup.ts';

const storage = (name: string, more: object = {}) => ({
  key: `${PREFIX.storage}${name}`,
  value: JSON.stringify({ ...storageRecord(name), ...more }),
});
const refusal = (says: RegExp) => (error: unknown) =>
  error instanceof CodedError && error.code === 'conflict' && says.test(`${error.message} ${error.advice}`);

test('a storage record that cannot be read is refused, unless its node is left out; a lost node is not asked', () => {
  const records = [storage('s1'), storage('s2', { lost: { at: 1, by: 'ann' } }), { key: '/gp/storage/s3', value: '{' }];
  assert.throws(() => askedOf({ records }, []), refusal(/s3.*--without s3/));
  assert.deepEqual(
    askedOf({ records }, ['s3']).map(({ name }) => name),
    ['s1'],
  );
});

test('an epoch far above the backup’s is refused, with the node that says it', () => {
  const epoch = { number: 2, id: '0123456789abcdef', restoredAt: 1, snapshotRevision: 1 };
  const records = [{ key: EPOCH_KEY, value: JSON.stringify(epoch) }];
  demandPlausible({ records }, [{ node: 's1', epoch: 18 }]);
  const heard = [
    { node: 's1', epoch: 3 },
    { node: 's2', epoch: 19 },
  ];
  assert.throws(() => demandPlausible({ records }, heard), refusal(/s2 \(epoch 19\).*--without s2/));
});

test('a backup from before a completed change of the authority is refused', () => {
  const entry = (id: string) => ({ id, certPem: id, crossPem: null, notAfter: 1 });
  const record: AuthoritiesRecord = {
    ...{ id: AUTHORITIES, version: 1, phase: 'trusting', issuing: 'first', since: 1, oldRuns: null },
    authorities: [entry('first'), entry('second')],
  };
  const records = [{ key: keyOf.authority(AUTHORITIES), value: JSON.stringify(record) }];
  demandAuthority({ records }, ['first', 'second']);
  demandAuthority({ records: [] }, ['second']);
  assert.throws(() => demandAuthority({ records }, ['second']), refusal(/first.*made after the change/));
});

test('a backup follows no link that lies where it is made', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'gp-backup-test-'));
  t.after(() => rm(dir, { recursive: true }));
  const file = join(dir, 'cluster.gpbackup');
  await writeFile(join(dir, 'other'), 'kept');
  assert.equal(await writeBackup(pagesOf({ list: async () => ({ entries: [], revision: 7 }) }), file), 0);
  await symlink(join(dir, 'other'), join(dir, 'link'));
  await assert.rejects(writeBackup(pagesOf({ list: async () => ({ entries: [], revision: 7 }) }), join(dir, 'link')), {
    code: 'exists',
  });
  assert.equal(await readFile(join(dir, 'other'), 'utf8'), 'kept');
  assert.equal((await stat(file)).mode & 0o777, 0o600);
});
