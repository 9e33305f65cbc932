/** Backups of the records over HTTP: who is handed one, and that it is whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PREFIX } from '../../core/model/keys.ts';
import { readBackup } from '../../etcd/backup-file.ts';
import { until } from '../../os/testing/until.ts';
import { BackupsBackend } from '../backend/backups.ts';
import { replace } from '../testing/api-cluster.ts';
import { setUp } from './testing/asking.ts';

test('the administrator is handed a whole backup of the records as they are', async (t) => {
  const { ask, cluster } = await setUp(t);
  await ask('POST /v1/vms', { name: 'web1', image: 'tiny', start: false });
  const answer = await ask('GET /v1/backup');
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['content-type'], 'application/octet-stream');
  const { records } = readBackup(answer.text, 'the answer');
  assert(records.some(({ key }) => key === PREFIX.vm + cluster.vms.get('web1')?.id));
  assert(!records.some(({ key }) => key.startsWith(PREFIX.election)));
});

test('a token is handed a backup only with the right to it, which only a token that has it gives', async (t) => {
  const { ask } = await setUp(t);
  const create = async (body: object, as?: string) => {
    const { status, json } = await ask('POST /v1/tokens', body, as === undefined ? {} : bearer(as));
    return { status, token: String(json.token) };
  };
  const plain = await create({ name: 'plain' });
  const nightly = await create({ name: 'nightly', backup: true });
  const [refused, allowed] = [
    await ask('GET /v1/backup', undefined, bearer(plain.token)),
    await ask('GET /v1/backup', undefined, bearer(nightly.token)),
  ];
  assert.deepEqual([refused.status, allowed.status], [403, 200]);
  assert.match(refused.text, /may not read backups/);
  assert.equal((await create({ name: 'more', backup: true }, plain.token)).status, 403);
  assert.equal((await create({ name: 'more', backup: true }, nightly.token)).status, 201);
  const { items } = parsed(await ask('GET /v1/tokens'));
  const rights = (items as readonly { name: string; backup: boolean }[]).map(({ name, backup }) => [name, backup]);
  assert.deepEqual(rights, [
    ['more', true],
    ['nightly', true],
    ['plain', false],
  ]);
});

test('backups that nodes keep are listed, and the cluster says how they are', async (t) => {
  const { ask, cluster } = await setUp(t);
  const { backups } = cluster.leader.context ?? assert.fail('the leader serves');
  const kept = { control: 'c1', takenAt: 1_700_000_000_000, revision: 7, file: 'c1-x.gpbackup', sizeBytes: 100 };
  const failure = { at: 1_700_000_001_000, message: 'The bucket is gone.' };
  replace(backups, 'places', () => [
    { place: 'local', where: '/b', lastAt: kept.takenAt, failure: null, since: 0, backups: [kept] },
    { place: 's3', where: 's3://b/', lastAt: null, failure, since: 0, backups: [] },
  ]);
  assert.deepEqual(parsed(await ask('GET /v1/backups')).items, [
    {
      ...{ controlNode: 'c1', place: 'local', where: '/b', file: kept.file, sizeBytes: 100, revision: 7 },
      takenAt: '2023-11-14T22:13:20.000Z',
    },
  ]);
  const shown = parsed(await ask('GET /v1/cluster'));
  assert.deepEqual(
    (shown.backups as readonly { place: string; failure: unknown }[]).map(({ place, failure: of }) => [place, of]),
    [
      ['local', null],
      ['s3', { at: '2023-11-14T22:13:21.000Z', message: failure.message }],
    ],
  );
  const metrics = (await ask('GET /metrics')).text;
  assert.match(metrics, /^groundplane_backup_last_timestamp_seconds\{place="local"\} 1700000000$/m);
  assert.match(metrics, /^groundplane_backup_failed\{place="s3"\} 1$/m);
  const kinds = (shown.alarms as readonly { kind: string }[]).map(({ kind }) => kind);
  assert(kinds.filter((kind) => kind === 'backup-old').length >= 1, 'the places’ times are long ago');
});

test('a reader that goes before it has read leaves the way free for the next one', async (t) => {
  const { cluster } = await setUp(t);
  const context = cluster.leader.context ?? assert.fail('the leader serves');
  const isOpen = [true, true];
  let reads = 0;
  replace(context.backups, 'read', async function* read() {
    const nth = reads++;
    try {
      yield 'first';
      yield 'second';
    } finally {
      isOpen[nth] = false;
    }
  });
  const going = new AbortController();
  const principal = { name: 'admin', session: null, mayBackUp: true };
  const backend = new BackupsBackend(context);
  const stream = await backend.read({ principal, signal: going.signal });
  going.abort();
  await until('the first is over', () => isOpen[0] === false);
  assert(stream.destroyed);
  await backend.read({ principal, signal: going.signal });
  await until('so is one whose reader went meanwhile', () => isOpen[1] === false);
});

const parsed = ({ text }: { readonly text: string }) =>
  JSON.parse(text) as Readonly<Partial<Record<'items' | 'backups' | 'alarms', unknown>>>;
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
