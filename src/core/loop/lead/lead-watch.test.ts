import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Term } from '../../../base/ids.ts';
import { SimClock } from '../../../sim/time/sim-clock.ts';
import type { EventRecord, StorageRecord } from '../../model/cluster.ts';
import { host, hostRecord, node } from '../../plan/testing/sample-records.ts';
import type { Reach, ReachTarget } from '../../ports/reach.ts';
import type { Entry, LeaderStore, Snapshot } from '../../ports/store.ts';
import { LeadWatch } from './lead-watch.ts';

const [H1, H2, S1] = [host(1), host(2), node(1)];

interface World {
  /** The machines that did not answer the last request. */
  silent: readonly string[];
  /** The machines that each control node reaches; null: the node does not answer. */
  reaches: Record<string, readonly string[] | null>;
  leads: boolean;
  /** Control nodes that are out of service. */
  drained?: readonly string[];
}

/** A leader c1 of two hosts and a storage node. */
function watched(world: World, keptMs = 0) {
  const clock = new SimClock();
  const asked: string[] = [];
  const given: string[] = [];
  const events: EventRecord[] = [];
  const storage: StorageRecord = { name: S1, addresses: { control: '', storage: '' }, joinedAt: 0 };
  const snapshot = {
    hosts: new Map([H1, H2].map((name, i) => [name, { value: hostRecord(i + 1), revision: 1 }])),
    get controls() {
      const maintenance = { since: 0, who: 'ops', reason: null };
      return new Map((world.drained ?? []).map((name) => [name, { value: { name, maintenance }, revision: 1 }]));
    },
    storage: new Map<typeof S1, Entry<StorageRecord>>([[S1, { value: storage, revision: 1 }]]),
  } as unknown as Snapshot;
  const store: LeaderStore = {
    term: 1 as Term,
    snapshot,
    leads: () => world.leads,
    commit: async (commit) => {
      events.push(...commit.events);
      return 'committed';
    },
    onChange: () => undefined,
    onCommit: () => undefined,
  };
  const reach: Reach = {
    self: 'c1',
    peers: () => ['c2', 'c3'],
    tryFrom: async (from, targets) => {
      asked.push(from);
      const reached = world.reaches[from] ?? null;
      return reached === null ? null : new Set(targets.filter(({ name }) => reached.includes(name)));
    },
  };
  const watch = new LeadWatch({
    clock,
    log: { info: () => undefined, warn: () => undefined },
    store,
    reach,
    isSilent: ({ name }: ReachTarget) => world.silent.includes(name),
    lead: { giveAway: (why) => void given.push(why), keptMs },
  });
  watch.start();
  return { clock, asked, given, events, watch };
}

const ALL = [H1, H2, S1];

test('while everything answers, nobody is asked anything', async () => {
  const { clock, asked, given } = watched({ silent: [], reaches: { c1: [], c2: ALL, c3: ALL }, leads: true });
  await clock.run(20_000);
  assert.deepEqual([asked, given], [[], []]);
});

test('a leader that reaches nothing gives the lead away once, within some seconds, and says so in an event', async () => {
  const { clock, given, events } = watched({ silent: ALL, reaches: { c1: [], c2: null, c3: ALL }, leads: true });
  await clock.run(2_900);
  assert.deepEqual(given, [], 'not after one round or two');
  await clock.run(20_000);
  assert.deepEqual(given, ['c1 gives the lead away: c3 reaches s1, h1, h2, which c1 does not reach itself.']);
  assert.deepEqual(
    events.map(({ kind, message }) => [kind, message]),
    [['lead-given-away', given[0]]],
  );
});

test('the lead stays where nobody else sees more: machines that are down, agents that stand still, peers that are gone', async () => {
  for (const reaches of [
    { c1: [H2, S1], c2: [H2, S1], c3: [H2, S1] },
    { c1: ALL, c2: ALL, c3: ALL },
    { c1: [], c2: null, c3: null },
    { c1: [H2, S1], c2: [H1, S1], c3: [] },
  ]) {
    const { clock, given } = watched({ silent: [H1], reaches, leads: true });
    await clock.run(60_000);
    assert.deepEqual(given, []);
  }
});

test('a sight that comes and goes is no reason, nor one that a peer had while this node stood still itself', async () => {
  const world: World = { silent: ALL, reaches: { c1: [], c2: ALL, c3: [] }, leads: true };
  const { clock, given } = watched(world);
  for (let second = 2; second < 60; second += 2) {
    await clock.run(second * 1_000 + 500);
    world.reaches = { c1: [], c2: world.reaches['c2'] === null ? ALL : null, c3: [] };
  }
  assert.deepEqual(given, []);
  const late: World = { silent: ALL, reaches: { c1: null, c2: ALL, c3: ALL }, leads: true };
  const second = watched(late);
  await second.clock.run(60_000);
  assert.deepEqual([second.given, new Set(second.asked)], [[], new Set(['c1'])]);
});

test('the lead is kept for as long as it is to be kept, and by one that may not lead any more', async () => {
  const world: World = { silent: ALL, reaches: { c1: [], c2: ALL, c3: ALL }, leads: false };
  const { clock, given } = watched(world, 15_000);
  await clock.run(15_000);
  assert.deepEqual(given, []);
  await clock.run(25_000);
  assert.deepEqual(given, [], 'whoever is deposed writes nothing');
  world.leads = true;
  await clock.run(30_000);
  assert.equal(given.length, 1);
});

test('a watch that was stopped gives nothing away', async () => {
  const { clock, given, watch } = watched({ silent: ALL, reaches: { c1: [], c2: ALL, c3: ALL }, leads: true });
  await clock.run(2_500);
  watch.stop();
  await clock.run(20_000);
  assert.deepEqual(given, []);
});

test('a leader whose node is taken out of service hands over at once to one that can lead and is in service', async () => {
  const world: World = { silent: [], reaches: { c1: ALL, c2: null, c3: ALL }, leads: true };
  const { clock, given, events } = watched(world);
  await clock.run(5_000);
  assert.deepEqual(given, []);
  world.drained = ['c1'];
  await clock.run(7_000);
  assert.deepEqual(given, ['Control node c1 is out of service, and c3 can lead.']);
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ['lead-given-away'],
  );
});

test('a leader whose node is out of service keeps the lead while no other node in service can take it', async () => {
  const world: World = { silent: [], reaches: { c1: ALL, c2: ALL, c3: null }, leads: true, drained: ['c1', 'c2'] };
  const { clock, given } = watched(world);
  await clock.run(10_000);
  assert.deepEqual(given, []);
});
