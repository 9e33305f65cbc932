/** What befalls simulated members, and what their clients see of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep } from '../../base/sleep.ts';
import type { Etcd } from '../../etcd/api.ts';
import { EtcdDeadlineUnknown, EtcdUnavailable } from '../../etcd/errors.ts';
import { follow } from '../../etcd/follow.ts';
import { SimClock } from '../time/sim-clock.ts';
import { SimRandom } from '../time/sim-random.ts';
import { SimEtcd } from './sim-etcd.ts';
import { SimEtcdClient } from './sim-etcd-client.ts';
import { drive } from './testing/drive.ts';
import { PlainRoute } from './testing/plain-network.ts';

const MEMBERS = ['m1', 'm2', 'm3'];

interface World {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly etcd: SimEtcd;
  /** Members that nobody hears. */
  readonly alone: Set<string>;
  readonly connect: (first?: number) => { readonly client: SimEtcdClient; readonly route: PlainRoute };
}

function makeWorld(seed = 1): World {
  const clock = new SimClock();
  const random = new SimRandom(seed);
  const alone = new Set<string>();
  const connected = (a: string, b: string): boolean => !alone.has(a) && !alone.has(b);
  const etcd = new SimEtcd({ members: MEMBERS, clock, random, connected });
  const connect = (first = 0) => {
    const route = new PlainRoute(etcd, { clock, random });
    return { route, client: new SimEtcdClient({ etcd, route, clock, first }) };
  };
  return { clock, random, etcd, alone, connect };
}

const put = (etcd: Etcd, key: string, options = {}) =>
  etcd.txn({ compare: [], success: [{ put: key, value: '' }] }, options);

/** Writes a key though outcomes may be unknown. */
async function putSurely(etcd: Etcd, key: string): Promise<void> {
  for (;;) {
    try {
      await etcd.txn({ compare: [{ key, exists: false }], success: [{ put: key, value: '' }] });
      return;
    } catch (error) {
      if (!(error instanceof EtcdUnavailable || error instanceof EtcdDeadlineUnknown)) throw error;
    }
  }
}

test('the leading member dies: writes and watches go on after an election, and leases live', async () => {
  const { clock, etcd, connect } = makeWorld();
  await drive(clock, async () => {
    const { client } = connect();
    const kept = client.keepLease(await client.leaseGrant(2), { graceMs: 10_000 });
    await client.txn({ compare: [], success: [{ put: '/lease', value: '', lease: kept.lease }] });
    const seen: string[] = [];
    const stop = new AbortController();
    const watching = client.watch('/k/', {
      fromRevision: etcd.state.revision + 1,
      signal: stop.signal,
      onEvents: (events) => {
        for (const { key } of events) seen.push(key);
        if (seen.length === 30) stop.abort();
      },
    });
    const keys = Array.from({ length: 30 }, (_, i) => `/k/${i}`);
    for (const [i, key] of keys.entries()) {
      if (i === 10) etcd.crash(etcd.leader ?? '');
      const sinceMs = clock.monotonicMs();
      await putSurely(client, key);
      const tookMs = clock.monotonicMs() - sinceMs;
      assert.ok(i === 10 ? tookMs > 900 && tookMs < 6_000 : tookMs < 1_000, `${i}: ${tookMs} ms`);
    }
    await watching;
    assert.deepEqual(seen, keys);
    await sleep(clock, 5_000);
    assert.notEqual(await client.get('/lease'), undefined);
    assert.equal(kept.isValid(), true);
    kept.stop();
  });
});

test('without a majority nothing is answered and no lease ends; a new leader gives each lease its time', async () => {
  const { clock, etcd, connect } = makeWorld();
  await drive(clock, async () => {
    const { client } = connect();
    const { lease } = await client.leaseGrant(2);
    await client.txn({ compare: [], success: [{ put: '/lease', value: '', lease }] });
    etcd.crash('m1');
    etcd.crash('m2');
    await sleep(clock, 1_000);
    await assert.rejects(
      put(client, '/a'),
      (error) => error instanceof EtcdUnavailable || error instanceof EtcdDeadlineUnknown,
    );
    await assert.rejects(client.get('/a'), EtcdUnavailable);
    assert.equal(etcd.leader, null);
    await sleep(clock, 30_000);
    await assert.rejects(put(client, '/b'), EtcdUnavailable);
    const backAtMs = clock.monotonicMs();
    etcd.restart('m2');
    while (etcd.leader === null) await sleep(clock, 10);
    const ledAtMs = clock.monotonicMs();
    assert.ok(ledAtMs - backAtMs <= 2_000);
    while ((await client.get('/lease')) !== undefined) await sleep(clock, 100);
    const livedMs = clock.monotonicMs() - ledAtMs;
    assert.ok(livedMs >= 2_000 && livedMs < 4_500, `${livedMs} ms`);
    assert.equal(await client.get('/b'), undefined);
  });
});

test('a leader that the others do not hear: it renews in vain for a while, its clients move on, nothing it took is lost', async () => {
  const { clock, etcd, alone, connect } = makeWorld();
  await drive(clock, async () => {
    const { client } = connect();
    const { client: observer } = connect(1);
    const granted = await client.leaseGrant(5);
    await put(client, '/before');
    alone.add('m1');
    etcd.topologyChanged();
    assert.equal(await etcd.leaseKeepAlive('m1', granted.lease), 5, 'it does not know yet');
    await assert.rejects(put(client, '/during', { deadlineMs: 500 }), EtcdDeadlineUnknown);
    await putSurely(client, '/after');
    assert.notEqual(etcd.leader, 'm1');
    assert.notEqual(await observer.get('/after'), undefined);
    alone.clear();
    etcd.topologyChanged();
    assert.notEqual(await etcd.get('m1', '/after'), undefined);
  });
});

test('a transaction whose leader dies under it is unknown, and is applied in some runs and not in others', async () => {
  const applied = { yes: 0, no: 0 };
  for (let seed = 1; seed <= 40; seed += 1) {
    const { clock, etcd, random, connect } = makeWorld(seed);
    await drive(clock, async () => {
      const { client } = connect();
      await put(client, '/warm');
      const writing = put(client, '/a', { deadlineMs: 1_500 });
      const outcome = writing.then(
        () => 'answered',
        (error: unknown) => (error instanceof EtcdDeadlineUnknown ? 'unknown' : 'other'),
      );
      await sleep(clock, random.between(0.5, 3));
      etcd.crash('m1');
      const result = await outcome;
      assert.notEqual(result, 'other');
      const { client: other } = connect(1);
      await putSurely(other, '/end');
      const isThere = (await other.get('/a')) !== undefined;
      if (result === 'answered') assert.equal(isThere, true);
      else applied[isThere ? 'yes' : 'no'] += 1;
    });
  }
  assert.ok(applied.yes >= 3 && applied.no >= 3, JSON.stringify(applied));
});

test('a quiet watch hears of progress, so that compaction does not overtake it', async () => {
  const { clock, etcd, connect } = makeWorld();
  await drive(clock, async () => {
    const { client } = connect();
    const stop = new AbortController();
    const progress: number[] = [];
    const watching = client.watch('/quiet/', {
      fromRevision: 1,
      signal: stop.signal,
      onEvents: () => assert.fail('nothing happens there'),
      onProgress: (revision) => progress.push(revision),
    });
    const { revision } = await put(client, '/elsewhere');
    await sleep(clock, 21_000);
    assert.ok(progress.includes(revision));
    etcd.compact(revision);
    client.reset();
    await sleep(clock, 2_000);
    stop.abort();
    await watching;
  });
});

/** What writers know of their writes. */
interface Written {
  /** With their revisions. */
  readonly acknowledged: Map<string, number>;
  readonly denied: Set<string>;
}

/** Writes sixty keys of its own, each once. */
async function write({ clock, random, connect }: World, writer: number, written: Written): Promise<void> {
  const { client } = connect(writer);
  const { acknowledged, denied } = written;
  for (let i = 0; i < 60; i += 1) {
    const key = `/k/${writer}-${i}`;
    try {
      acknowledged.set(key, (await put(client, key, { deadlineMs: 700 })).revision);
      assert.equal((await client.get(key))?.key, key, 'an acknowledged write is read');
    } catch (error) {
      if (error instanceof EtcdUnavailable && !acknowledged.has(key)) denied.add(key);
      else if (!(error instanceof EtcdDeadlineUnknown || error instanceof EtcdUnavailable)) throw error;
    }
    await sleep(clock, random.below(200));
  }
}

/** Breaks and repairs members and a client's connections until it is over, then repairs everything. */
async function misfortune(world: World, isOver: () => boolean, client: SimEtcdClient): Promise<void> {
  const { clock, random, etcd, alone } = world;
  while (!isOver()) {
    await sleep(clock, random.below(2_000));
    const member = random.pick(MEMBERS);
    if (random.chance(40)) etcd.crash(member);
    else if (random.chance(50)) alone.add(member);
    if (random.chance(50)) etcd.topologyChanged();
    await sleep(clock, random.below(3_000));
    if (random.chance(30)) client.reset();
    if (random.chance(60)) etcd.restart(member);
    if (random.chance(60)) alone.delete(member);
  }
  for (const member of MEMBERS) etcd.restart(member);
  alone.clear();
  etcd.topologyChanged();
}

/** Follows all keys into `seen`, over a network that loses, doubles and delays, until the signal aborts. */
function followAll(client: SimEtcdClient, seen: string[], signal: AbortSignal): Promise<void> {
  const see = (changes: readonly { readonly key: string; readonly modRevision: number }[]): void => {
    for (const { key, modRevision } of changes) seen.push(`${modRevision} ${key}`);
  };
  return follow(client, '/k/', {
    signal,
    onListing: ({ entries }) => {
      assert.equal(seen.length, 0, 'it lists once: nothing was compacted');
      see([...entries].sort((a, b) => a.modRevision - b.modRevision));
    },
    onEvents: see,
  });
}

/** One run of everything going wrong at once: what a follower saw, and last how much was acknowledged and denied. */
async function chaos(seed: number): Promise<readonly string[]> {
  const world = makeWorld(seed);
  const { clock, random, etcd, connect } = world;
  return drive(clock, async () => {
    const { client, route } = connect(random.below(3));
    Object.assign(route, { lossPercent: 5, duplicatePercent: 10, delayMsMax: 20 });
    const seen: string[] = [];
    const stop = new AbortController();
    const following = followAll(client, seen, stop.signal);
    const written: Written = { acknowledged: new Map(), denied: new Set() };
    let isOver = false;
    const troubled = misfortune(world, () => isOver, client);
    await Promise.all([0, 1, 2].map((writer) => write(world, writer, written)));
    isOver = true;
    await troubled;
    await putSurely(connect().client, '/k/end');
    while (!seen.at(-1)?.endsWith('/k/end')) await sleep(clock, 100);
    stop.abort();
    await following;
    const truth = etcd.state.eventsFrom(1, '/k/').map(({ modRevision, key }) => `${modRevision} ${key}`);
    assert.deepEqual(seen, truth);
    for (const [key, revision] of written.acknowledged) assert.equal(etcd.state.get(key)?.modRevision, revision);
    for (const key of written.denied) assert.equal(etcd.state.get(key), undefined);
    const { acknowledged, denied } = written;
    return [...seen, `${acknowledged.size} acknowledged, ${denied.size} denied, at ${clock.monotonicMs()}`];
  });
}

test('crashes, partitions and a bad network: acknowledged is there, denied is not, followers see each change once', async () => {
  let denied = 0;
  for (let seed = 1; seed <= 40; seed += 1) {
    const log = await chaos(seed);
    denied += Number(/(\d+) denied/.exec(log.at(-1) ?? '')?.[1]);
  }
  assert.ok(denied > 0, 'it was bad enough to tell');
});

test('the same seed gives the same run', async () => {
  assert.deepEqual(await chaos(5), await chaos(5));
  assert.notDeepEqual(await chaos(5), await chaos(6));
});
