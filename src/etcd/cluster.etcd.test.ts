/** The client and the election against three real etcd members with mutual TLS. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { until } from '../os/testing/until.ts';
import { EtcdClient, type MemberStatus } from './client.ts';
import { campaign, type LeaderRecord, type Leadership, observe } from './election.ts';
import { EtcdDeadlineUnknown, EtcdUnavailable } from './errors.ts';
import { startCluster, startProxy, type TestCluster } from './testing/etcd-cluster.ts';

let cluster: TestCluster;
let client: EtcdClient;

before(async () => {
  cluster = await startCluster(3);
  client = new EtcdClient(cluster.clientOptions());
});

after(async () => {
  client?.close();
  await cluster?.stop();
});

async function statuses(): Promise<MemberStatus[]> {
  return (await client.status()).filter((state) => 'version' in state);
}

/** Whether a write by this leadership, with its guard, is applied. */
async function mayWrite(leadership: Leadership, key: string): Promise<boolean> {
  const txn = { compare: [leadership.compare], success: [{ put: key, value: '1' }] };
  return (await client.txn(txn)).succeeded;
}

test('two campaigners: one leads, the other follows when it resigns, with a higher term', async () => {
  const prefix = '/e/two';
  const seen: (LeaderRecord | undefined)[] = [];
  const stop = new AbortController();
  const observing = observe(client, prefix, { signal: stop.signal, onLeader: (leader) => seen.push(leader) });
  const one = await campaign(client, { prefix, value: 'one', ttlSeconds: 2 });
  let secondWon = false;
  const second = campaign(client, { prefix, value: 'two', ttlSeconds: 2 }).then((leadership) => {
    secondWon = true;
    return leadership;
  });
  assert.ok(one.isValid());
  assert.equal(await mayWrite(one, '/e/work'), true);
  assert.equal(secondWon, false);
  // An observer learns of a leader from its watch: maybe later than the leader itself.
  await until('the observer sees the first leader', () => seen.some((leader) => leader?.value === 'one'));
  await one.resign();
  await one.lost;
  const two = await second;
  assert.ok(two.createRevision > one.createRevision);
  assert.deepEqual([one.isValid(), two.isValid()], [false, true]);
  assert.deepEqual([await mayWrite(one, '/e/work'), await mayWrite(two, '/e/work')], [false, true]);
  await until('the observer sees the second leader', () => seen.some((leader) => leader?.value === 'two'));
  await two.resign();
  await two.resign();
  stop.abort();
  await observing;
  const values = seen.map((leader) => leader?.value).filter((value) => value !== undefined);
  assert.deepEqual([...new Set(values)], ['one', 'two']);
});

test('a leader that cannot renew: the next one leads, and the old guard is refused', async () => {
  const prefix = '/e/frozen';
  const proxy = await startProxy(cluster.members[0]?.clientAddress ?? '');
  const behind = new EtcdClient(cluster.clientOptions([proxy.address]));
  try {
    const old = await campaign(behind, { prefix, value: 'old', ttlSeconds: 2, graceMs: 0 });
    proxy.freeze();
    const next = await campaign(client, { prefix, value: 'next', ttlSeconds: 2 });
    assert.equal(old.isValid(), false, 'its own clock told it before anybody else led');
    assert.deepEqual([await mayWrite(old, '/e/f'), await mayWrite(next, '/e/f')], [false, true]);
    await old.lost;
    await next.resign();
  } finally {
    behind.close();
    await proxy.close();
  }
});

test('a leader whose key is deleted learns it; an aborted campaign leaves nothing behind', async () => {
  const prefix = '/e/deleted';
  const leader = await campaign(client, { prefix, value: 'x', ttlSeconds: 2 });
  const stop = new AbortController();
  const waiting = campaign(client, { prefix, value: 'y', ttlSeconds: 2, signal: stop.signal });
  const appeared = new AbortController();
  await client.watch(`${prefix}/`, {
    fromRevision: leader.createRevision + 1,
    signal: AbortSignal.any([appeared.signal, AbortSignal.timeout(10_000)]),
    onEvents: () => appeared.abort(),
  });
  stop.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
  assert.deepEqual(
    (await client.list(`${prefix}/`)).entries.map((entry) => entry.value),
    ['x'],
  );
  await client.txn({ compare: [], success: [{ delete: leader.key }] });
  await leader.lost;
  assert.equal(leader.isValid(), false);
});

test('the etcd leader is killed: a watch goes on, writes go on, leadership survives or is won again', async () => {
  const prefix = '/e/kill';
  let leadership = await campaign(client, { prefix, value: 'x', ttlSeconds: 2, graceMs: 10_000 });
  const { revision } = await client.list('/k/');
  const stop = new AbortController();
  const seen: string[] = [];
  const watching = client.watch('/k/', {
    fromRevision: revision + 1,
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(30_000)]),
    onEvents: (events) => {
      for (const event of events) seen.push(event.key);
      if (seen.includes('/k/29')) stop.abort();
    },
  });
  const writers = Array.from({ length: 30 }, (_, i) => `/k/${i}`);
  for (const [i, key] of writers.entries()) {
    if (i === 10) {
      const leader = (await statuses()).find((state) => state.isLeader);
      const member = cluster.members.find(({ clientAddress }) => clientAddress === leader?.endpoint);
      await cluster.kill(member?.name ?? 'no leader');
    }
    await putSurely(key);
  }
  await watching;
  assert.deepEqual(seen, writers, 'each key once, in order');
  if (!(await mayWrite(leadership, '/e/after'))) {
    await leadership.lost;
    leadership = await campaign(client, { prefix, value: 'x', ttlSeconds: 2 });
  }
  assert.equal(await mayWrite(leadership, '/e/after'), true);
  await leadership.resign();
  assert.equal((await client.status()).filter((state) => 'unreachable' in state).length, 1);
});

/** Creates a key though outcomes may be unknown: "create unless it exists" may be repeated. */
async function putSurely(key: string): Promise<void> {
  for (let attempt = 0; attempt < 20; attempt += 1) {
    try {
      await client.txn(
        { compare: [{ key, exists: false }], success: [{ put: key, value: '' }] },
        { deadlineMs: 1_000 },
      );
      return;
    } catch (error) {
      if (!(error instanceof EtcdDeadlineUnknown || error instanceof EtcdUnavailable)) throw error;
    }
  }
  assert.fail(`${key} could not be written`);
}

test('without a majority: transactions and reads fail in time, serializable reads work', async () => {
  await client.txn({ compare: [], success: [{ put: '/minority', value: '1' }] });
  const alive = (await statuses()).map((state) => state.endpoint);
  const [keep, drop] = cluster.members.filter((member) => alive.includes(member.clientAddress));
  await cluster.kill(drop?.name ?? '');
  const survivor = new EtcdClient(cluster.clientOptions([keep?.clientAddress ?? '']));
  try {
    const txn = survivor.txn({ compare: [], success: [{ put: '/minority', value: '2' }] });
    await assert.rejects(txn, (error) => error instanceof EtcdDeadlineUnknown || error instanceof EtcdUnavailable);
    const startedAtMs = performance.now();
    await assert.rejects(survivor.get('/minority', { deadlineMs: 1_000 }), EtcdUnavailable);
    // Before this was fixed, a member that refused at once was asked 64 times within 12 s. The limit is far above any
    // honest delay.
    assert.ok(performance.now() - startedAtMs < 6_000, 'the deadline counts also while a member answers');
    assert.equal((await survivor.get('/minority', { serializable: true }))?.value, '1');
  } finally {
    survivor.close();
  }
});
