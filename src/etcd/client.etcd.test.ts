/** The client against one real etcd member with mutual TLS. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EtcdClient } from './client.ts';
import { EtcdCompacted, EtcdDeadlineUnknown, EtcdUnavailable } from './errors.ts';
import { follow } from './follow.ts';
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

test('compare-and-swap: one of two writers wins, the other learns what is there', async () => {
  const created = await client.txn({
    compare: [{ key: '/cas', exists: false }],
    success: [{ put: '/cas', value: '1' }],
  });
  assert.equal(created.succeeded, true);
  const kv = await client.get('/cas');
  assert.deepEqual(kv, {
    key: '/cas',
    value: '1',
    createRevision: created.revision,
    modRevision: created.revision,
    lease: '0',
  });
  const swap = (value: string) =>
    client.txn({
      compare: [{ key: '/cas', modRevision: created.revision }],
      success: [{ put: '/cas', value }],
      failure: [{ get: '/cas' }],
    });
  const results = await Promise.all([swap('2'), swap('3')]);
  assert.equal(results.filter((result) => result.succeeded).length, 1);
  const loser = results.find((result) => !result.succeeded);
  assert.equal(loser?.reads[0]?.value, results[0]?.succeeded ? '2' : '3');
  assert.equal(loser?.reads[0]?.createRevision, created.revision);
});

test('conditions: existence, create and mod revision, greater and less; deletes by key and prefix', async () => {
  const { revision } = await put('/cond/a', 'x');
  const holds = async (compare: Parameters<typeof client.txn>[0]['compare'][number]): Promise<boolean> =>
    (await client.txn({ compare: [compare], success: [] })).succeeded;
  assert.equal(await holds({ key: '/cond/a', exists: true }), true);
  assert.equal(await holds({ key: '/cond/b', exists: true }), false);
  assert.equal(await holds({ key: '/cond/b', modRevision: 0 }), true);
  assert.equal(await holds({ key: '/cond/a', createRevision: revision }), true);
  assert.equal(await holds({ key: '/cond/a', createRevision: revision, op: 'not-equal' }), false);
  assert.equal(await holds({ key: '/cond/a', modRevision: revision + 1, op: 'less' }), true);
  assert.equal(await holds({ key: '/cond/a', modRevision: revision, op: 'greater' }), false);
  await put('/cond/b', 'y');
  await client.txn({ compare: [], success: [{ delete: '/cond/a' }] });
  assert.equal(await client.get('/cond/a'), undefined);
  await client.txn({ compare: [], success: [{ deletePrefix: '/cond/' }] });
  assert.deepEqual((await client.list('/cond/')).entries, []);
});

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

test('an abort ends a read with its reason', async () => {
  const reason = new Error('enough');
  await assert.rejects(client.get('/a', { signal: AbortSignal.abort(reason) }), reason);
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

test('compacted history is an error with its revision; following lists again', async () => {
  const first = await put('/c/1', 'old');
  await client.txn({ compare: [], success: [{ delete: '/c/1' }] });
  const { revision } = await put('/c/2', 'new');
  await client.compact(revision);
  const watching = client.watch('/c/', { fromRevision: first.revision, onEvents: () => {} });
  await assert.rejects(watching, (error) => error instanceof EtcdCompacted && error.compactRevision === revision);

  const stop = new AbortController();
  const listings: string[][] = [];
  await follow(client, '/c/', {
    signal: stop.signal,
    onListing: async ({ entries }) => {
      listings.push(entries.map((entry) => entry.key));
      if (listings.length === 2) return stop.abort();
      const later = await put('/c/3', 'newer'); // after the listing, compacted before the watch starts
      await put('/c/4', 'newest');
      await client.compact(later.revision + 1);
    },
    onEvents: () => assert.fail('the missing events cannot come'),
  });
  assert.deepEqual(listings, [['/c/2'], ['/c/2', '/c/3', '/c/4']]);
});

test('a handler that throws ends the watch with its error', async () => {
  const { revision } = await put('/h', '1');
  const error = new Error('handler');
  const watching = client.watch('/h', {
    fromRevision: revision,
    onEvents: () => {
      throw error;
    },
  });
  await assert.rejects(watching, error);
});

test('a lease that is not renewed ends with its keys; one that is renewed lives on; a revoked one is gone', async () => {
  const left = await client.leaseGrant(1);
  assert.equal(left.ttlSeconds, 2, 'etcd raises it to its minimum');
  const kept = client.keepLease(await client.leaseGrant(2));
  await client.txn({
    compare: [],
    success: [
      { put: '/lease/left', value: '', lease: left.lease },
      { put: '/lease/kept', value: '', lease: kept.lease },
    ],
  });
  const { revision } = await client.list('/lease/');
  const stop = new AbortController();
  const gone: string[] = [];
  await client.watch('/lease/', {
    fromRevision: revision + 1,
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]),
    onEvents: (events) => {
      for (const event of events) gone.push(`${event.type} ${event.key}`);
      stop.abort();
    },
  });
  assert.deepEqual(gone, ['delete /lease/left']);
  assert.ok(client.clock.monotonicMs() >= left.validUntilMs, 'never gone before the conservative time');
  assert.ok(kept.isValid() && kept.validUntilMs > left.validUntilMs);
  await client.leaseRevoke(kept.lease);
  assert.equal(await kept.expired, 'gone');
  assert.equal(kept.isValid(), false);
  await client.leaseRevoke(kept.lease);
});

test('a lease whose holder is cut off turns invalid within its TTL, then counts as unreachable', async () => {
  const proxy = await startProxy(endpoint());
  const behind = new EtcdClient(cluster.clientOptions([proxy.address]));
  try {
    const kept = behind.keepLease(await behind.leaseGrant(2), { graceMs: 0 });
    proxy.freeze();
    const frozenAtMs = client.clock.monotonicMs();
    assert.equal(await kept.expired, 'unreachable');
    assert.equal(kept.isValid(), false);
    assert.ok(kept.validUntilMs <= frozenAtMs + 2_000);
  } finally {
    behind.close();
    await proxy.close();
  }
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
