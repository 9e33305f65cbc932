import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { makePrivateDirectory } from '../os/files.ts';
import { ensureAdminToken, ensureAuthority, ensureControlCredentials } from './identities.ts';

async function directoryOf(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'identities-'));
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

test('authority and token are made once, for their owner alone, and never replaced', async (t) => {
  const directory = await directoryOf(t);
  const first = await ensureAuthority(directory, () => 'one');
  const again = await ensureAuthority(directory, () =>
    assert.fail('a name is asked for although there is an authority'),
  );
  assert.deepEqual(again, first);
  assert.equal((await stat(join(directory, 'ca-key.pem'))).mode & 0o077, 0);
  const token = await ensureAdminToken(join(directory, 'token'));
  assert.equal(await ensureAdminToken(join(directory, 'token')), token);
  assert.equal((await stat(join(directory, 'token'))).mode & 0o077, 0);
});

test('an authority whose key is gone is not replaced by another one', async (t) => {
  const directory = await directoryOf(t);
  const { certPem } = await ensureAuthority(directory, () => 'one');
  await rm(join(directory, 'ca-key.pem'));
  await assert.rejects(
    ensureAuthority(directory, () => 'two'),
    { code: 'failed' },
  );
  assert.equal(await readFile(join(directory, 'ca-cert.pem'), 'utf8'), certPem);
});

test('a control node keeps the credentials that it has', async (t) => {
  const directory = await directoryOf(t);
  const authority = await ensureAuthority(directory, () => 'one');
  const credentials = join(directory, 'credentials');
  await makePrivateDirectory(credentials);
  const node = { name: 'c1', address: '10.0.0.11' };
  await ensureControlCredentials(credentials, node, authority);
  const certificate = await readFile(join(credentials, 'server-cert.pem'), 'utf8');
  await ensureControlCredentials(credentials, node, authority);
  assert.equal(await readFile(join(credentials, 'server-cert.pem'), 'utf8'), certificate);
});
