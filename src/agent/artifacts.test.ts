import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import type { PeerIdentity } from '../base/identity.ts';
import { parseHostName, parseSha256, parseStorageName } from '../base/ids.ts';
import type { ArtifactLocation } from '../core/ports/host-link.ts';
import { createAuthority, issue } from '../pki/authority.ts';
import { type RpcService, startService } from '../rpc/service.ts';
import { ArtifactCache } from './artifacts.ts';
import { cutToTail, readTail } from './tail.ts';

const CONTENT = Buffer.from('a kernel');
const SHA = parseSha256(createHash('sha256').update(CONTENT).digest('hex'));
let work: string;
let service: RpcService;
let cache: ArtifactCache;
let asked = 0;
let served = CONTENT;
let hold = async (): Promise<void> => undefined;

function artifact(changes: Partial<ArtifactLocation> = {}): ArtifactLocation {
  const from = [{ node: 's1', address: '127.0.0.1', port: service.port }];
  return { sha256: SHA, sizeBytes: CONTENT.length, from, ...changes };
}
const options = () => ({ deadlineMs: 10_000, signal: new AbortController().signal });

before(async () => {
  work = await mkdtemp(join(tmpdir(), 'gp-artifacts-'));
  const authority = await createAuthority({ clusterName: 'lab', daysValid: 2 });
  const certified = async (identity: PeerIdentity) => ({
    caPem: authority.certPem,
    ...(await issue(authority, { identity, daysValid: 1 })),
  });
  service = await startService({
    credentials: await certified({ kind: 'storage', name: parseStorageName('s1') }),
    address: '127.0.0.1',
    port: 0,
    routes: [
      {
        method: 'GET',
        path: '/v1/artifacts/:sha',
        allow: ['host'],
        handle: async () => {
          asked += 1;
          await hold();
          return { stream: Readable.from([served]), sizeBytes: served.length };
        },
      },
    ],
    onUnexpected: () => undefined,
  });
  const credentials = await certified({ kind: 'host', name: parseHostName('h1') });
  cache = new ArtifactCache(join(work, 'artifacts'), credentials);
});

after(async () => {
  await service.close(0);
  await rm(work, { recursive: true });
});

test('what is not the announced content is refused and not kept', async () => {
  for (const wrong of ['a kernet', 'a kern', 'a kernel and more']) {
    served = Buffer.from(wrong);
    await assert.rejects(cache.get(artifact(), options()), /could not be fetched.*s1/);
    assert.deepEqual(await readdir(join(work, 'artifacts')), []);
  }
  served = CONTENT;
});

test('a file is fetched once, also when it is asked for twice at the same time', async () => {
  asked = 0;
  const [one, two] = await Promise.all([cache.get(artifact(), options()), cache.get(artifact(), options())]);
  assert.equal(one, two);
  assert.deepEqual(await readFile(one), CONTENT);
  await cache.get(artifact(), options());
  assert.equal(asked, 1);
});

test('who gives up waiting for a fetch ends it for nobody else', async () => {
  await rm(join(work, 'artifacts'), { recursive: true });
  asked = 0;
  const begun = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  hold = () => {
    begun.resolve();
    return goOn.promise;
  };
  const first = new AbortController();
  const given = cache.get(artifact(), { deadlineMs: 10_000, signal: first.signal });
  await begun.promise;
  const other = cache.get(artifact(), options());
  first.abort(new Error('this VM is not wanted any more'));
  await assert.rejects(given, /not wanted any more/);
  goOn.resolve();
  assert.deepEqual(await readFile(await other), CONTENT);
  assert.equal(asked, 1);
});

test('the next storage node is asked where one is not there', async () => {
  await rm(join(work, 'artifacts'), { recursive: true });
  const from = [{ node: 's2', address: '127.0.0.1', port: service.port }, ...artifact().from];
  const path = await cache.get(artifact({ from }), options());
  assert.deepEqual(await readFile(path), CONTENT);
});

test('what was not used for longest makes room', async () => {
  const directory = join(work, 'artifacts');
  await writeFile(join(directory, 'f'.repeat(64)), '');
  // A sparse file as large as everything together may be.
  await truncate(join(directory, 'f'.repeat(64)), 512 * 1024 ** 2);
  await rm(join(directory, SHA));
  await cache.get(artifact(), options());
  assert.deepEqual(await readdir(directory), [SHA]);
});

test('the end of a file is read, and kept when it gets too long', async () => {
  const path = join(work, 'log');
  assert.equal(await readTail(path, 10), '');
  assert.equal(cutToTail(path, { limitBytes: 10, keepBytes: 4 }), false);
  await writeFile(path, '0123456789');
  assert.equal(cutToTail(path, { limitBytes: 10, keepBytes: 4 }), false);
  await writeFile(path, '0123456789a');
  assert.equal(cutToTail(path, { limitBytes: 10, keepBytes: 4 }), true);
  assert.equal(await readTail(path, 100), '789a');
  assert.equal(await readTail(path, 2), '9a');
});
