import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { messageOf } from '../../base/errors.ts';
import { parseControlName } from '../../base/ids.ts';
import { systemClock } from '../../os/clock.ts';
import { until } from '../../os/testing/until.ts';
import { type CertifiedKey, createAuthority, issue } from '../../pki/authority.ts';
import { readListing, readS3Credentials, S3Place } from './s3-place.ts';
import { S3_KEYS, startS3Server } from './testing/s3-server.ts';

const FILES = ['01', '02', '03'].map((hour) => `c1-20261130T${hour}0000Z-r7.gpbackup`);
let authority: CertifiedKey;
let tls: CertifiedKey;

before(async () => {
  authority = await createAuthority({ clusterName: 's3', daysValid: 1 });
  const identity = { kind: 'control', name: parseControlName('s3') } as const;
  tls = await issue(authority, { identity, ipAddresses: ['127.0.0.1'], daysValid: 1 });
});

const { signal } = new AbortController();
/** No pause between attempts. */
const clock = { ...systemClock, wallMs: () => Date.now(), monotonicMs: () => 0, after: atOnce };

function atOnce(_delayMs: number, callback: () => void): () => void {
  const immediate = setImmediate(callback);
  return () => clearImmediate(immediate);
}

async function setUp(t: TestContext, { secret = S3_KEYS.secret, isTrusted = true } = {}) {
  const server = await startS3Server(tls);
  const dir = await mkdtemp(join(tmpdir(), 'gp-s3-test-'));
  t.after(async () => {
    await server.close();
    await rm(dir, { recursive: true });
  });
  const [credentialsFile, caFile, file] = ['credentials', 'ca.pem', 'backup'].map((name) => join(dir, name)) as [
    string,
    string,
    string,
  ];
  const lines = ['[default]', `aws_access_key_id = ${S3_KEYS.id}`, `aws_secret_access_key=${secret}`, ''];
  await writeFile(credentialsFile, lines.join('\n'), { mode: 0o600 });
  await writeFile(caFile, authority.certPem);
  await writeFile(file, 'the content of a backup');
  const config = {
    ...{ endpoint: server.endpoint, region: 'eu-central-1', bucket: 'backups', prefix: 'gp/prod/', credentialsFile },
    caFile: isTrusted ? caFile : null,
  };
  return { server, place: new S3Place(config, { control: 'c1', clock }), file, credentialsFile };
}

test('a copy is put, listed over several pages and deleted, each request with a signature that fits', async (t) => {
  const { server, place, file } = await setUp(t);
  for (const name of FILES) await place.copy(file, name, signal);
  server.objects.set('gp/prod/c1-notes.txt', Buffer.from('somebody else’s'));
  server.objects.set(`gp/prod/${FILES[0]?.replace('c1-', 'c1-b-')}`, Buffer.from('another control node’s'));
  assert.equal(server.objects.get(`gp/prod/${FILES[0]}`)?.toString(), 'the content of a backup');
  const listed = await place.list(signal);
  assert.deepEqual(
    listed.map((backup) => backup.file),
    FILES,
  );
  assert.deepEqual(
    listed.map(({ sizeBytes, revision, control }) => ({ sizeBytes, revision, control })),
    FILES.map(() => ({ sizeBytes: 23, revision: 7, control: 'c1' })),
  );
  await place.delete(FILES[0] ?? '', signal);
  await place.delete(FILES[0] ?? '', signal);
  assert.equal((await place.list(signal)).length, 2);
});

test('an answer that may pass is asked for again, three times and no more', async (t) => {
  const { server, place, file } = await setUp(t);
  server.refusals.push(503, 500);
  await place.copy(file, FILES[0] ?? '', signal);
  assert.equal(server.objects.size, 1);
  server.refusals.push(503, 429, 503, 503);
  await assert.rejects(place.list(signal), { code: 'unavailable', message: /status 503 \(SlowDown\)/ });
  assert.deepEqual(server.refusals, [503]);
});

test('wrong keys are refused at once, and no message holds them', async (t) => {
  const secret = 'a-secret-that-is-not-right';
  const { server, place } = await setUp(t, { secret });
  await assert.rejects(place.list(signal), (error) => {
    assert.match(messageOf(error), /status 403 \(SignatureDoesNotMatch\)/);
    assert(!messageOf(error).includes(secret) && !messageOf(error).includes(S3_KEYS.id));
    return true;
  });
  assert.equal(server.requests.length, 1);
});

test('a server whose certificate nobody trusts gets nothing', async (t) => {
  const { server, place } = await setUp(t, { isTrusted: false });
  await assert.rejects(place.list(signal), { code: 'unavailable', message: /certificate/ });
  assert.deepEqual(server.requests, []);
});

test('credentials that others may read are not used', async (t) => {
  const { server, place, credentialsFile } = await setUp(t);
  await chmod(credentialsFile, 0o640);
  await assert.rejects(place.list(signal), { code: 'forbidden', message: /Others than its owner/ });
  await chmod(credentialsFile, 0o600);
  await writeFile(credentialsFile, 'aws_access_key_id=only');
  await assert.rejects(readS3Credentials(credentialsFile), { code: 'bad-input' });
  const token = 'of-a-session-that-nobody-should-see';
  const keys = ['aws_access_key_id=a', 'aws_secret_access_key=b', `aws_session_token=${token}\0`];
  await writeFile(credentialsFile, keys.join('\n'));
  await assert.rejects(place.list(signal), (error) => {
    assert.match(messageOf(error), /other characters than/);
    assert(!messageOf(error).includes(token));
    return true;
  });
  assert.deepEqual(server.requests, []);
});

test('a server that says nothing is left with the signal', async (t) => {
  const { server, place } = await setUp(t);
  server.silent = true;
  const ending = new AbortController();
  const listing = place.list(ending.signal);
  const isOver = assert.rejects(listing, /that is enough/);
  await until('a request arrived', () => server.requests.length > 0);
  ending.abort(new Error('that is enough'));
  await isOver;
});

test('what is no listing is refused', () => {
  assert.throws(() => readListing('<ListBucketResult><Contents>'), { code: 'failed' });
  assert.deepEqual(readListing('<ListBucketResult/>'), { objects: [], next: null });
  for (const size of ['1e999', '-7', '0.5', '9'.repeat(20)]) {
    const { objects } = readListing(`<L><Contents><Key>k</Key><Size>${size}</Size></Contents></L>`);
    assert.deepEqual(objects, [{ key: 'k', sizeBytes: 0 }], 'other control nodes take no such size');
  }
});
