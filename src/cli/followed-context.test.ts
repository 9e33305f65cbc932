import assert from 'node:assert/strict';
import { chmod, chown, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ApiClient } from '../client/client.ts';
import { type Context, readContext } from './cluster-location.ts';
import { learn, reach } from './followed-context.ts';
import { testCluster } from './testing/test-cluster.ts';

const HOUR_MS = 60 * 60_000;
const url = (n: number): string => `https://10.0.0.${n}:7440`;

/** A context in a directory of its own, and a cluster of control nodes that says what it is asked. */
async function world(t: TestContext, content: object = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'gp-context-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const file = join(dir, 'context.json');
  const first = { apiUrl: url(1), caFile: 'ca.pem', tokenFile: 'token', ...content };
  await writeFile(file, JSON.stringify(first));
  await writeFile(join(dir, 'ca.pem'), 'old');
  await writeFile(join(dir, 'token'), 'secret\n');
  const cluster = { nodes: [1, 2, 3], caPem: 'old', asked: 0 };
  const client = {
    http: { GET: async () => ({ data: { caPem: cluster.caPem } }) },
    call: async (work: Promise<{ data: unknown }>) => (await work).data,
    list: async () => {
      cluster.asked++;
      return cluster.nodes.map((n) => ({ address: `10.0.0.${n}` }));
    },
    close: async () => undefined,
  } as unknown as ApiClient;
  return {
    ...{ dir, cluster, client },
    context: (): Promise<Context> => readContext({ dir, foundBy: '--dir' }),
    target: (apiUrl: string) => ({ apiUrl, caPem: 'old', token: 'secret' }),
    kept: async () => JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>,
    ca: () => readFile(join(dir, 'ca.pem'), 'utf8'),
  };
}

test('a context learns the other control nodes and the authorities, and asks again after an hour', async (t) => {
  const { context, cluster, client, target, kept, ca } = await world(t);
  cluster.caPem = 'old and new';
  const own = { client, target: target(url(1)) };
  await learn(await context(), own, 5 * HOUR_MS);
  assert.deepEqual(await kept(), {
    ...{ apiUrl: url(1), caFile: 'ca.pem', tokenFile: 'token' },
    ...{ others: [url(2), url(3)], learnedAt: 5 * HOUR_MS },
  });
  assert.equal(await ca(), 'old and new');
  await learn(await context(), own, 6 * HOUR_MS - 1);
  assert.equal(cluster.asked, 1);
  cluster.nodes = [1, 3, 4];
  await learn(await context(), own, 6 * HOUR_MS);
  assert.deepEqual((await kept())['others'], [url(3), url(4)]);
});

test('a file that a context replaces keeps its owner, its group and its mode', async (t) => {
  const { dir, context, cluster, client, target } = await world(t);
  cluster.caPem = 'old and new';
  const files = ['context.json', 'ca.pem'].map((name) => join(dir, name));
  const facts = async () => {
    const found = await Promise.all(files.map((path) => stat(path)));
    return found.map(({ uid, gid, mode }) => [uid, gid, mode & 0o777]);
  };
  const [uid, gid] = process.getuid?.() === 0 ? [12_345, 12_346] : [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  for (const path of files) {
    await chmod(path, 0o640);
    await chown(path, uid, gid);
  }
  await learn(await context(), { client, target: target(url(1)) }, HOUR_MS);
  assert.equal((await context()).learnedAt, HOUR_MS);
  assert.deepEqual(await facts(), [
    [uid, gid, 0o640],
    [uid, gid, 0o640],
  ]);
});

test('where another control node answered, that one is the first from now on', async (t) => {
  const { context, cluster, client, target, kept } = await world(t, { others: [url(2)], learnedAt: HOUR_MS });
  cluster.nodes = [2, 4];
  await learn(await context(), { client, target: target(url(2)) }, HOUR_MS + 1);
  assert.deepEqual([(await kept())['apiUrl'], (await kept())['others']], [url(2), [url(4)]]);
});

test('a context of what is reached in another way than by the address of a control node stays as it is', async (t) => {
  for (const apiUrl of ['https://127.0.0.1:7440', 'https://cluster.example:7440', 'https://10.0.0.1:443']) {
    const { context, client, target, kept } = await world(t, { apiUrl });
    await learn(await context(), { client, target: target(apiUrl) }, HOUR_MS);
    assert.deepEqual(await kept(), { apiUrl, caFile: 'ca.pem', tokenFile: 'token' });
  }
});

test('learning that fails changes nothing and fails nothing', async (t) => {
  const { context, client, target, kept } = await world(t);
  const broken = { ...client, list: () => Promise.reject(new Error('no answer')) } as unknown as ApiClient;
  await learn(await context(), { client: broken, target: target(url(1)) }, HOUR_MS);
  assert.deepEqual(await kept(), { apiUrl: url(1), caFile: 'ca.pem', tokenFile: 'token' });
});

test('what is no list of addresses in a context counts as none', async (t) => {
  const { context } = await world(t, { others: ['no address', 7, url(2)], learnedAt: 'yesterday' });
  assert.deepEqual([(await context()).others, (await context()).learnedAt], [[url(2)], 0]);
});

test('a command goes to a control node that is well, wherever the context points first', async (t) => {
  const { dir, apiUrl, gp } = await testCluster(t);
  const dead = 'https://127.0.0.1:1';
  const context = { apiUrl: dead, others: [apiUrl], caFile: 'ca.pem', tokenFile: 'admin-token' };
  await writeFile(join(dir, 'context.json'), JSON.stringify(context));
  const reached = await reach(await readContext({ dir, foundBy: '--dir' }), new AbortController().signal);
  t.after(() => reached.client.close());
  assert.equal(reached.target.apiUrl, apiUrl);
  assert.equal((await gp(['vm', 'list'])).code, 0);
  await writeFile(join(dir, 'context.json'), JSON.stringify({ ...context, others: [dead] }));
  assert.equal((await gp(['vm', 'list'])).code, 6);
});
