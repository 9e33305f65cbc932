/** Control nodes over the simulated etcd, with the code of production: who leads, and whose commits count. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep } from '../../base/sleep.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import { keyOf, PREFIX } from '../../core/model/keys.ts';
import type { SimEtcd } from './sim-etcd.ts';
import {
  ControlNode,
  leaderOf,
  MEMBERS,
  makeCluster,
  OWN_TASK,
  type Result,
  TASK,
  until,
} from './testing/campaigners.ts';
import { drive } from './testing/drive.ts';

test('a leader frozen beyond its lease, then thawed: its commit is refused, and it learns that it was deposed', async () => {
  const cluster = makeCluster(3);
  const { clock, etcd } = cluster;
  await drive(clock, async () => {
    const nodes = ['c1', 'c2', 'c3'].map((name) => new ControlNode(name, cluster));
    await until(clock, () => leaderOf(nodes)?.results.includes('committed') === true);
    const old = leaderOf(nodes);
    assert.ok(old !== undefined);
    const oldTerm = old.term;
    const frozenMs = clock.monotonicMs();
    old.process.freezeFor(8_000);
    await until(clock, () => leaderOf(nodes)?.results.includes('committed') === true);
    const next = leaderOf(nodes);
    assert.ok(next !== undefined && next !== old && (next.term ?? 0) > (oldTerm ?? 0));
    assert.ok(clock.monotonicMs() - frozenMs < 4_000, 'the lease, and little more');
    await until(clock, () => old.process.isRunning);
    assert.equal(old.term, oldTerm, 'it still believes that it leads');
    const before = etcd.state.get(keyOf.task(TASK))?.modRevision ?? 0;
    assert.equal(await old.commit(OWN_TASK), 'deposed');
    assert.equal(await old.commit(), 'deposed');
    assert.equal(etcd.state.get(keyOf.task(OWN_TASK)), undefined);
    const writers = etcd.state.eventsFrom(before, keyOf.task(TASK)).map((event) => writerOf(event));
    assert.deepEqual([...new Set(writers)], [`${next.name} ${next.term}`]);
    await until(clock, () => old.term === null);
    await Promise.all(nodes.map((node) => node.stop()));
    assert.deepEqual(etcd.state.list(PREFIX.election), []);
  });
});

test('one that stops hands over at once; one that dies is replaced when its lease has run out', async () => {
  const cluster = makeCluster(4);
  const { clock } = cluster;
  await drive(clock, async () => {
    const nodes = ['c1', 'c2', 'c3'].map((name) => new ControlNode(name, cluster));
    await until(clock, () => leaderOf(nodes) !== undefined);
    const first = leaderOf(nodes);
    let sinceMs = clock.monotonicMs();
    await first?.stop();
    await until(clock, () => leaderOf(nodes) !== undefined);
    assert.ok(clock.monotonicMs() - sinceMs < 200);
    const second = leaderOf(nodes);
    sinceMs = clock.monotonicMs();
    second?.crash();
    await until(clock, () => leaderOf(nodes) !== undefined);
    const tookMs = clock.monotonicMs() - sinceMs;
    assert.ok(tookMs > 1_000 && tookMs < 3_500, `${tookMs} ms`);
    await leaderOf(nodes)?.stop();
  });
});

type Event = ReturnType<SimEtcd['state']['eventsFrom']>[number];
const writerOf = (event: Event): string =>
  event.type === 'put' ? (JSON.parse(event.kv.value) as TaskRecord).message : '';

/** One run of freezes, crashes, lost answers and dying members; the results of all commits. */
async function chaos(seed: number): Promise<{ readonly results: Result[]; readonly history: Event[] }> {
  const cluster = makeCluster(seed);
  const { clock, random, etcd } = cluster;
  const everyone: ControlNode[] = [];
  const begin = (name: string): ControlNode => {
    const node = new ControlNode(name, cluster);
    everyone.push(node);
    return node;
  };
  await drive(clock, async () => {
    const nodes = ['c1', 'c2', 'c3'].map(begin);
    for (let i = 0; i < 12; i += 1) {
      await sleep(clock, random.below(4_000));
      const at = random.below(nodes.length);
      const node = (random.chance(60) ? leaderOf(nodes) : nodes[at]) ?? nodes[at];
      if (node === undefined) continue;
      const member = random.pick(MEMBERS);
      const what = random.below(4);
      if (what === 0) node.process.freezeFor(random.below(6_000));
      if (what === 1) {
        node.crash();
        nodes[nodes.indexOf(node)] = begin(node.name);
      }
      if (what === 2) etcd.crash(member);
      if (what === 3) node.route.frozen = random.chance(50) ? 'answers' : 'all';
      await sleep(clock, random.below(3_000));
      etcd.restart(member);
      node.route.frozen = 'no';
    }
    const sinceRevision = etcd.state.revision;
    await until(clock, () => (etcd.state.get(keyOf.task(TASK))?.modRevision ?? 0) > sinceRevision + 3);
    await Promise.all(nodes.map((node) => node.stop()));
  });
  return { results: everyone.flatMap(({ results }) => results), history: etcd.state.eventsFrom(1, '/gp/') };
}

/** Each commit was made while its term's election key was there, and no term writes after a later one. */
function assertOrderly(history: readonly Event[]): void {
  const keys = new Map<string, number>();
  const writers = new Map<string, string>();
  let latest = 0;
  let value = '';
  for (const event of history) {
    if (event.key.startsWith(PREFIX.election)) {
      if (event.type === 'put') keys.set(event.key, event.kv.createRevision);
      else keys.delete(event.key);
    } else if (event.key === keyOf.task(TASK)) {
      // A leader that overtakes a late transaction writes again what is there.
      if (event.type === 'put' && event.kv.value === value) continue;
      value = event.type === 'put' ? event.kv.value : '';
      const [writer = '', term = ''] = writerOf(event).split(' ');
      assert.ok(
        [...keys.values()].includes(Number(term)),
        `${writer} wrote at ${event.modRevision} after its term ${term}`,
      );
      assert.ok(Number(term) >= latest, `term ${term} after term ${latest}`);
      assert.equal(writers.get(term) ?? writer, writer);
      writers.set(term, writer);
      latest = Number(term);
    }
  }
}

test('whatever freezes, dies and is lost: terms commit one after the other, and somebody leads in the end', async () => {
  const counts: Record<Result, number> = { committed: 0, conflict: 0, deposed: 0, failed: 0 };
  for (let seed = 1; seed <= 20; seed += 1) {
    const { results, history } = await chaos(seed);
    assertOrderly(history);
    for (const result of results) counts[result] += 1;
  }
  assert.ok(counts.committed > 1_000 && counts.deposed > 0 && counts.failed === 0, JSON.stringify(counts));
});

test('the same seed gives the same history', async () => {
  assert.deepEqual((await chaos(2)).history, (await chaos(2)).history);
});
