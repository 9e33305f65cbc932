/**
 * The client against one real etcd member with mutual TLS: what the compliance suite (compliance.etcd.test.ts) does not
 * ask of every etcd.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EtcdClient } from './client.ts';
import { EtcdDeadlineUnknown, EtcdUnavailable } from './errors.ts';
import type { WatchEvent } from './records.ts';
import { startCluster, startProxy, type TestCluster } from './testing/etcd-cluster.ts';

let cluster: TestCluster;
let client: EtcdClient;

before(async () => {
  cluster = await startCluster(1);
  client = new EtcdClient(cluster.clientOptions());
});

after(async () => {
  client?.close();
  await cluster?.stop();
});

const put = (key: string, value: string) => client.txn({ compare: [], success: [{ put: key, value }] });
const endpoint = (): string => cluster.members[0]?.clientAddress ?? '';

test('a listing is of one revision over several pages, and bounded', async () => {
  for (let i = 0; i < 5; i += 1) {
    const success = Array.from({ length: 100 }, (_, j) => ({ put: `/list/${i * 100 + j}`, value: '{}' }));
    await client.txn({ compare: [], success });
  }
  const { revision } = await put('/list-other', 'not under the prefix');
  const listing = await client.list('/list/', { pageEntries: 7 });
  assert.equal(listing.revision, revision);
  assert.equal(new Set(listing.entries.map((entry) => entry.key)).size, 500);
  await assert.rejects(client.list('/list/', { entriesMax: 499 }), { code: 'too-large' });
});

test('what etcd refuses is told apart, and was not applied', async () => {
  const twice = [
    { put: '/twice', value: '1' },
    { put: '/twice', value: '2' },
  ];
  await assert.rejects(client.txn({ compare: [], success: twice }), { code: 'failed' });
  await assert.rejects(client.txn({ compare: [], success: [{ put: '/l', value: '1', lease: '12345' }] }), {
    code: 'not-found',
  });
  await assert.rejects(put('/large', 'x'.repeat(3_000_000)), { code: 'too-large' });
  assert.equal(await client.get('/twice'), undefined);
});

test('a certificate of the same CA with another name does not open etcd', async () => {
  const stranger = new EtcdClient({ ...cluster.strangerOptions(), deadlineMsDefault: 1_000 });
  await assert.rejects(stranger.get('/cas'), EtcdUnavailable);
  stranger.close();
});

test('nobody listening: unavailable by the deadline; a closed client: at once', async () => {
  const lost = new EtcdClient({ ...cluster.clientOptions(['127.0.0.1:9']), deadlineMsDefault: 300 });
  await assert.rejects(lost.get('/a'), { name: 'CodedError', code: 'unavailable', message: /ECONNREFUSED/ });
  await assert.rejects(lost.txn({ compare: [], success: [] }), EtcdUnavailable);
  lost.close();
  await assert.rejects(lost.get('/a'), /closed/);
});

test('a transaction without an answer is unknown and not repeated; a read moves on', async () => {
  const proxy = await startProxy(endpoint());
  const other = await startProxy(endpoint(), 'closed');
  const behind = new EtcdClient({ ...cluster.clientOptions([proxy.address, other.address]), deadlineMsDefault: 5_000 });
  try {
    await behind.get('/warm');
    proxy.freeze();
    other.admit();
    const success = [{ put: '/frozen', value: '1' }];
    await assert.rejects(behind.txn({ compare: [], success }, { deadlineMs: 300 }), EtcdDeadlineUnknown);
    assert.equal(await behind.get('/frozen'), undefined);
    assert.equal((await behind.txn({ compare: [], success })).succeeded, true, 'the next one goes to another member');
  } finally {
    behind.close();
    await Promise.all([proxy.close(), other.close()]);
  }
});

test('a watch over a connection that is cut again and again: 20,000 events, none lost, none twice', async () => {
  const start = (await client.list('/w/')).revision;
  const total = 20_000;
  // Ten keys at each revision: the value makes a message of many revisions larger than etcd's fragments.
  const filler = 'x'.repeat(200);
  for (let i = 0; i < total; i += 10) {
    const success = Array.from({ length: 10 }, (_, j) => ({ put: `/w/${i + j}`, value: `${i + j} ${filler}` }));
    await client.txn({ compare: [], success });
  }
  const proxy = await startProxy(endpoint());
  const behind = new EtcdClient(cluster.clientOptions([proxy.address]));
  const stop = new AbortController();
  const seen: number[] = [];
  let cuts = 0;
  let lastRevision = start;
  try {
    await behind.watch('/w/', {
      fromRevision: start + 1,
      signal: AbortSignal.any([stop.signal, AbortSignal.timeout(60_000)]),
      onEvents: (events: readonly WatchEvent[], revision) => {
        for (const event of events) {
          assert.equal(event.type, 'put');
          assert.ok(event.modRevision > lastRevision);
          seen.push(Number(event.key.slice(3)));
        }
        lastRevision = revision;
        if (cuts < 8 && seen.length >= (cuts + 1) * 2_000) {
          proxy.cut();
          cuts += 1;
        }
        if (seen.length >= total) stop.abort();
      },
    });
  } finally {
    behind.close();
    await proxy.close();
  }
  assert.deepEqual(
    seen,
    Array.from({ length: total }, (_, i) => i),
  );
  assert.ok(cuts >= 3, `the connection was cut ${cuts} times`);
});

test('a watch on a connection that swallows everything is noticed and resumed elsewhere', async () => {
  const proxy = await startProxy(endpoint());
  const other = await startProxy(endpoint(), 'closed');
  const behind = new EtcdClient(cluster.clientOptions([proxy.address, other.address]));
  const stop = new AbortController();
  const { revision } = await put('/freeze', '0');
  const values: string[] = [];
  const lost: unknown[] = [];
  try {
    await behind.watch('/freeze', {
      fromRevision: revision,
      signal: AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]),
      onDisconnected: (error) => lost.push(error),
      onEvents: async (events) => {
        for (const event of events) if (event.type === 'put') values.push(event.kv.value);
        if (values.length === 2) stop.abort();
        if (values.length !== 1) return;
        proxy.freeze();
        other.admit();
        await put('/freeze', '1');
      },
    });
  } finally {
    behind.close();
    await Promise.all([proxy.close(), other.close()]);
  }
  assert.deepEqual(values, ['0', '1']);
  assert.ok(lost.length >= 1);
});

test('status and members', async () => {
  const [state] = await client.status();
  assert.ok(state !== undefined && 'version' in state);
  assert.match(state.version, /^3\./);
  assert.equal(state.isLeader, true);
  const members = await client.members();
  assert.deepEqual(
    members.map(({ name, id }) => [name, id]),
    [['m1', state.memberId]],
  );
});
