/**
 * Drains on a real cluster of four hosts and three control nodes, with 12 VMs that write, three guest clusters among
 * them: each host in turn, and with every fault in the middle. Code that knows nothing of plans judges the limits at
 * every instant from the event log (event-limits.ts). The tests share one cluster and run in order.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Drain } from '../../src/api/maintenance-views.ts';
import type { ControlNode, Event, Host, Vm } from '../../src/api/views.ts';
import { present } from '../../src/base/assert.ts';
import { createTiny, gp, gpJson, growsBeyond, until } from '../acceptance/case.ts';
import { StoryCluster } from '../stories/story-cluster.ts';
import { assertLimits, assertUndisturbed } from './event-limits.ts';

const VMS = Array.from({ length: 12 }, (_, n) => `m${n + 1}`);
/** Guest clusters of two members each: two hosts may be away at once. */
const GUEST_CLUSTERS = { sql: ['m1', 'm2'], app: ['m3', 'm4'], web: ['m5', 'm6'] };
const HOSTS = ['h1', 'h2', 'h3', 'h4'];
const PARALLEL = 2;
/** A drain on a machine that is busy with other things. */
const DRAIN_MS = 300_000;

let shared: StoryCluster | undefined;
const cluster = (): StoryCluster => present(shared, 'cluster');

before(async () => {
  shared = await StoryCluster.start({ hosts: 4, controlNodes: 3, storageNodes: 1 });
  for (const name of VMS)
    await createTiny(cluster(), name, ['--disk', '8M', '--append', 'gp.workload=sequence gp.dirty=4']);
  for (const [name, members] of Object.entries(GUEST_CLUSTERS))
    await gp(cluster(), ['guest-cluster', 'create', name, '--members', members.join(',')]);
});
after(() => shared?.end());

async function vms(): Promise<readonly Vm[]> {
  return (await gpJson<readonly Vm[]>(cluster(), ['vm', 'list'])).filter(({ name }) => VMS.includes(name));
}

/** Every VM runs and is seen to, so that a test begins as the one before did. */
async function settled(): Promise<ReadonlyMap<string, string>> {
  const all = await until(
    'every VM runs',
    async () => {
      const seen = await vms();
      return seen.every(({ verdict }) => verdict === 'running') ? seen : undefined;
    },
    { deadlineMs: DRAIN_MS },
  );
  return new Map(all.map(({ name, host }) => [name, host ?? assert.fail(`${name} has no host`)]));
}

async function ended(id: string): Promise<Drain> {
  let last: Drain | undefined;
  const look = async (): Promise<Drain | undefined> => {
    last = await cluster().observe((client) =>
      client.call(client.http.GET('/v1/drains/{drain}', { params: { path: { drain: id } } })),
    );
    return last === undefined || last.endedAt === null ? undefined : last;
  };
  return until(`${id} ends`, look, { deadlineMs: DRAIN_MS, seen: () => last });
}

async function untilMoved(id: string, count: number): Promise<void> {
  const look = async (): Promise<true | undefined> =>
    (await gpJson<Drain>(cluster(), ['maintenance', 'show', id])).moved >= count ? true : undefined;
  await until(`${count} moves of ${id} are made`, look, { deadlineMs: DRAIN_MS });
}

async function hostOf(name: string): Promise<Host> {
  const found = (await gpJson<readonly Host[]>(cluster(), ['host', 'list'])).find((host) => host.name === name);
  return present(found, name);
}

const begin = (host: string, words: readonly string[] = []): Promise<Drain> =>
  gpJson<Drain>(cluster(), ['host', 'drain', host, '--no-wait', ...words]);

/** A host with at least `count` VMs. */
async function busyHost(count: number): Promise<string> {
  const at = [...(await settled()).values()];
  const busy = HOSTS.find((host) => at.filter((each) => each === host).length >= count);
  return busy ?? assert.fail(`no host has ${count} VMs: ${at.join()}`);
}

/** Runs `act`, and judges the events of it. */
async function judged(act: () => Promise<void>, spared: readonly string[] = VMS): Promise<readonly Event[]> {
  const at = await settled();
  const reached = new Map<string, number>();
  for (const name of spared) reached.set(name, await growsBeyond(cluster(), name, 0));
  const from = await cluster().newestEvent();
  await act();
  await settled();
  const events = await cluster().eventsAfter(from);
  assertUndisturbed(events, spared);
  const guestClusters = spared.length === VMS.length ? GUEST_CLUSTERS : {};
  assertLimits(events, { parallel: PARALLEL, guestClusters, before: at });
  for (const [name, before] of reached) await growsBeyond(cluster(), name, before);
  return events;
}

test('each of four hosts is drained in turn under load, and its VMs come back: nothing is restarted, limits are kept', async () => {
  await judged(async () => {
    for (const host of HOSTS) {
      const { id } = await begin(host);
      const drain = await ended(id);
      assert.equal(drain.state, 'drained', JSON.stringify(drain));
      assert.deepEqual((await hostOf(host)).vms, []);
      for (const move of drain.moves) assert.ok(['moved', 'gone'].includes(move.state), JSON.stringify(move));
      const back = drain.moved > 0 ? ['--return'] : [];
      await gp(cluster(), ['host', 'undrain', host, ...back]);
    }
  });
});

test('a drain is paused in the middle, resumed, cancelled and begun again', async () => {
  await judged(async () => {
    const host = await busyHost(2);
    const { id } = await begin(host, ['--parallel', '1']);
    await untilMoved(id, 1);
    await gp(cluster(), ['maintenance', 'pause', id]);
    await until('nothing moves', async () => {
      const { moves } = await gpJson<Drain>(cluster(), ['maintenance', 'show', id]);
      return moves.every(({ state }) => state !== 'moving') ? true : undefined;
    });
    const { moved } = await gpJson<Drain>(cluster(), ['maintenance', 'show', id]);
    await gp(cluster(), ['maintenance', 'resume', id]);
    await gp(cluster(), ['maintenance', 'cancel', id]);
    const cancelled = await ended(id);
    assert.equal(cancelled.state, 'cancelled');
    assert.ok(cancelled.moved >= moved);
    assert.equal((await hostOf(host)).maintenance, null);
    const again = await ended((await begin(host)).id);
    assert.equal(again.state, 'drained');
    await gp(cluster(), ['host', 'undrain', host]);
  });
});

test('the leader is killed in the middle, and the next one goes on: nothing moves twice', async () => {
  const events = await judged(async () => {
    const host = await busyHost(2);
    const { id } = await begin(host, ['--parallel', '1']);
    await untilMoved(id, 1);
    const controls = await gpJson<readonly ControlNode[]>(cluster(), ['control', 'list']);
    const leader = present(controls.find((node) => node.leader)?.name, 'leader');
    await cluster().lab('kill-server', { target: leader });
    const drain = await ended(id);
    assert.equal(drain.state, 'drained');
    await cluster().lab('restore');
    await gp(cluster(), ['host', 'undrain', host]);
  });
  const arrivals = events.filter(({ kind }) => kind === 'migrated').map(({ vm }) => vm);
  assert.equal(new Set(arrivals).size, arrivals.length, arrivals.join());
});

test('two operators drain two hosts at once', async () => {
  await judged(async () => {
    const [first, second] = [await begin('h1', ['--parallel', '1']), await begin('h2', ['--parallel', '1'])];
    for (const { id } of [first, second]) assert.equal((await ended(id)).state, 'drained');
    for (const host of ['h1', 'h2']) {
      assert.deepEqual((await hostOf(host)).vms, []);
      await gp(cluster(), ['host', 'undrain', host]);
    }
  });
});

test('a target is taken by somebody else: the rest is planned anew, and said so', async () => {
  await judged(async () => {
    const host = await busyHost(2);
    const { id, moves } = await begin(host, ['--parallel', '1']);
    const target = present(moves.at(-1)?.to, 'target');
    await gp(cluster(), ['host', 'cordon', target]);
    const drain = await ended(id);
    await gp(cluster(), ['host', 'uncordon', target]);
    assert.equal(drain.state, 'drained');
    const late = drain.moves.filter(({ to, startedAt }) => to === target && startedAt !== null);
    const isNew = drain.deviations.some(({ what }) => what.startsWith('Planned anew'));
    assert.ok(isNew || late.length === drain.moves.length, JSON.stringify(drain));
    await gp(cluster(), ['host', 'undrain', host]);
  });
});

test('a host whose agent is dead is drained', async () => {
  await judged(async () => {
    const host = await busyHost(2);
    await cluster().lab('kill-agent', { target: host });
    await until('the agent is missed', async () => ((await hostOf(host)).agent === 'alive' ? undefined : true));
    const drain = await ended((await begin(host)).id);
    assert.equal(drain.state, 'drained', JSON.stringify(drain));
    assert.deepEqual((await hostOf(host)).vms, []);
    assert.notEqual((await hostOf(host)).agent, 'alive');
    await cluster().lab('restore');
    await until('the agent is back', async () => ((await hostOf(host)).agent === 'alive' ? true : undefined));
    await gp(cluster(), ['host', 'undrain', host]);
  });
});
