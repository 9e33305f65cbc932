/**
 * Drains on a real cluster of four hosts and three control nodes, with 12 VMs that write, three guest clusters among
 * them: each host in turn, and with every fault in the middle. What is kept at every instant is judged from the event
 * log, by code that knows nothing of plans (event-limits.ts).
 */
import assert from 'node:assert/strict';
import type { ControlNode } from '../../src/api/views.ts';
import { present } from '../../src/base/assert.ts';
import type { RunResult } from '../../src/os/child-process.ts';
import { deleteVms, until, untilSaid, untilVm } from '../acceptance/case.ts';
import { type BusyCluster, DRAIN_MS, storiesOn } from './busy-cluster.ts';

/** Three of two members each: two hosts may be away at once. */
const story = storiesOn({
  ...{ hosts: 4, controlNodes: 3, vms: 12 },
  guestClusters: { sql: [1, 2], app: [3, 4], web: [5, 6] },
});

story(
  'each of four hosts is drained in turn, and its VMs come back: nothing is restarted, limits are kept',
  async (busy) => {
    await busy.judged(async () => {
      for (const host of busy.hosts) {
        const { id } = await busy.begin(host);
        const drain = await busy.drained(id);
        for (const move of drain.moves) assert.ok(['moved', 'gone'].includes(move.state), JSON.stringify(move));
        const back = drain.moved > 0 ? ['--return'] : [];
        await busy.gp(['host', 'undrain', host, ...back]);
      }
    });
  },
);

story('a drain is paused in the middle, resumed, cancelled and begun again', async (busy) => {
  await busy.judged(async () => {
    const host = await busy.busyHost(2);
    const { id } = await busy.begin(host, ['--parallel', '1']);
    await busy.moved(id, 1);
    await busy.gp(['maintenance', 'pause', id]);
    const paused = await until('nothing moves', async () => {
      const drain = await busy.drain(id);
      return drain.moves.every(({ state }) => state !== 'moving') ? drain : undefined;
    });
    await busy.gp(['maintenance', 'resume', id]);
    await busy.gp(['maintenance', 'cancel', id]);
    const cancelled = await busy.ended(id);
    assert.equal(cancelled.state, 'cancelled');
    assert.ok(cancelled.moved >= paused.moved);
    assert.equal((await busy.hostOf(host)).maintenance, null);
    const again = await busy.begin(host);
    // What has moved stays moved: it is in no plan again.
    const moved = cancelled.moves.filter(({ state }) => state === 'moved').map(({ vm }) => vm);
    assert.deepEqual(
      again.moves.filter(({ vm }) => moved.includes(vm)),
      [],
    );
    await busy.drained(again.id);
    await busy.gp(['host', 'undrain', host]);
  });
});

story('the leader is killed in the middle, and the next one goes on: nothing moves twice', async (busy) => {
  const { arrived } = await busy.judged(async () => {
    const host = await busy.busyHost(2);
    const { id } = await busy.begin(host, ['--parallel', '1']);
    await busy.moved(id, 1);
    const leader = await busy.leader();
    await busy.cluster.lab('kill-server', { target: leader });
    await busy.drained(id);
    assert.notEqual(await busy.leader(), leader);
    await busy.cluster.lab('restore');
    await busy.gp(['host', 'undrain', host]);
  });
  for (const [vm, times] of arrived) assert.equal(times, 1, `${vm} has moved ${times} times`);
});

story('two operators drain two hosts at once', async (busy) => {
  await busy.judged(async () => {
    const drains = [await busy.begin('h1', ['--parallel', '1']), await busy.begin('h2', ['--parallel', '1'])];
    for (const { id } of drains) await busy.drained(id);
    for (const host of ['h1', 'h2']) await busy.gp(['host', 'undrain', host]);
  });
});

story('a target is taken by somebody else: the rest is planned anew, and said so', async (busy) => {
  await busy.judged(async () => {
    const host = await busy.busyHost(2);
    const { id, moves } = await busy.begin(host, ['--parallel', '1']);
    const target = present(moves.at(-1)?.to, 'target');
    await busy.gp(['host', 'cordon', target]);
    const drain = await busy.drained(id);
    await busy.gp(['host', 'uncordon', target]);
    const late = drain.moves.filter(({ to, startedAt }) => to === target && startedAt !== null);
    const isNew = drain.deviations.some(({ what }) => what.startsWith('Planned anew'));
    assert.ok(isNew || late.length === drain.moves.length, JSON.stringify(drain));
    await busy.gp(['host', 'undrain', host]);
  });
});

story('another host is killed while a host is drained: only the VMs of the lost host began anew', async (busy) => {
  const host = await busy.busyHost(2);
  const plan = await busy.json<{ readonly moves: readonly { readonly to: string }[] }>([
    ...['host', 'drain', host, '--dry-run', '--parallel', '1'],
  ]);
  const victim = present(plan.moves.at(-1)?.to, 'a target');
  const { lost } = await busy.judged(
    async () => {
      const { id } = await busy.begin(host, ['--parallel', '1']);
      await busy.moved(id, 1);
      await busy.cluster.lab('kill-host', { target: victim });
      await busy.drained(id);
      await until('its VMs are known to be lost', async () =>
        (await busy.hostOf(victim)).quarantined ? true : undefined,
      );
    },
    { killed: [victim] },
  );
  assert.ok(lost.size > 0, 'the host that was killed had VMs');
  const told = (await busy.gp(['host', 'drain', victim, '--dry-run'])).stdout;
  assert.match(told, new RegExp(`${victim} is lost since .*: nothing is moved from there`));
  for (const name of lost) assert.match(told, new RegExp(`${name}: .* starts on`));
});

story('a host whose agent is dead is drained', async (busy) => {
  await busy.judged(async () => {
    const host = await busy.busyHost(2);
    await busy.cluster.lab('kill-agent', { target: host });
    await until('the agent is missed', async () => ((await busy.hostOf(host)).agent === 'alive' ? undefined : true));
    await busy.drained((await busy.begin(host)).id);
    assert.notEqual((await busy.hostOf(host)).agent, 'alive');
    await busy.cluster.lab('restore');
    await until('the agent is back', async () => ((await busy.hostOf(host)).agent === 'alive' ? true : undefined));
    await busy.gp(['host', 'undrain', host]);
  });
});

story('a VM that is on its way to the host is waited for, and moved on', async (busy) => {
  const at = await busy.settled();
  const host = await busy.busyHost(1);
  const members = Object.values(busy.guestClusters).flat();
  // In no guest cluster: nothing else waits for it.
  const coming = present(
    busy.vms.find((name) => !members.includes(name) && at.get(name) !== host),
    'a VM elsewhere',
  );
  // Guests are measured when a plan is asked for, which takes a second the first time.
  await busy.gp(['host', 'drain', host, '--dry-run']);
  const { events, arrived } = await busy.judged(async () => {
    await busy.gp(['vm', 'migrate', coming, '--to', host, '--no-wait']);
    // The move that a person asked for is none of the drain's.
    const { id, moves } = await busy.begin(host, ['--parallel', '1']);
    assert.ok(
      moves.some(({ vm, from }) => vm === coming && from === host),
      'the plan knew of it',
    );
    await busy.drained(id);
    await busy.gp(['host', 'undrain', host]);
  });
  const kinds = events.filter(({ kind, vm }) => kind === 'drain-started' || vm === coming).map(({ kind }) => kind);
  assert.ok(kinds.indexOf('drain-started') < kinds.indexOf('migrated'), `it was on its way: ${kinds.join()}`);
  assert.equal(arrived.get(coming), 2);
});

story(
  'a guest that writes faster than it is copied is named first; what is done is what its owner allows',
  async (busy) => {
    const { cluster } = busy;
    const from = await cluster.newestEvent();
    const work = ['--memory', '256M', '--append', 'gp.dirty=64 gp.dirty-rate=60'];
    await busy.gp(['vm', 'create', 'fast', '--image', 'tiny', ...work]);
    try {
      await untilSaid(cluster, 'fast', /dirty-pass 1/, { deadlineMs: DRAIN_MS });
      const first = await movesSlowedDown(busy);
      await busy.gp(['vm', 'set', 'fast', '--migration-policy', 'none']);
      const refused = /fast writes \d+ MiB a second and a move copies 14; its owner allows neither/;
      assert.notEqual((await planSays(busy, first, refused)).exitCode, 0);
      await stopsForItsMove(busy, first);
      const broken = (await cluster.eventsAfter(from)).filter(({ kind }) => kind === 'rule-broken');
      assert.deepEqual(
        broken.map(({ message }) => message),
        [],
      );
    } finally {
      await deleteVms(cluster, ['fast']);
    }
  },
);

/**
 * Waits until the plan that drains a host says so. On a machine that is busy with other things a guest may write slowly
 * for a while; it is measured once a minute.
 */
function planSays({ cluster }: BusyCluster, host: string, pattern: RegExp): Promise<RunResult> {
  let said = '';
  const look = async (): Promise<RunResult | undefined> => {
    // With eight moves at once each has an eighth of a host's link.
    const ran = await cluster.gp(['host', 'drain', host, '--dry-run', '--parallel', '8']);
    said = `${ran.stdout}\n${ran.stderr}`;
    return pattern.test(said) ? ran : undefined;
  };
  return until(`the plan says ${pattern}`, look, { deadlineMs: DRAIN_MS, seen: () => said });
}

/** The guest moves live while QEMU takes processor time from it, which is what happens unless its owner said otherwise. */
async function movesSlowedDown(busy: BusyCluster): Promise<string> {
  const host = present((await untilVm(busy.cluster, 'fast', { verdict: 'running' })).host, 'host');
  await planSays(busy, host, /fast writes faster than its memory is copied: it is slowed down/);
  const from = await busy.cluster.newestEvent();
  const drain = await busy.drained((await busy.begin(host, ['--parallel', '8'])).id);
  const move = drain.moves.find(({ vm }) => vm === 'fast');
  assert.deepEqual([move?.remedy, move?.state], ['slow-down', 'moved']);
  const kinds = (await busy.cluster.eventsAfter(from)).filter(({ vm }) => vm === 'fast').map(({ kind }) => kind);
  assert.ok(kinds.includes('migrated') && !kinds.includes('starting'), kinds.join());
  await busy.gp(['host', 'undrain', host]);
  return present((await untilVm(busy.cluster, 'fast', { verdict: 'running' })).host, 'host');
}

/** The guest is stopped, as its owner allows, and started on another host. */
async function stopsForItsMove(busy: BusyCluster, host: string): Promise<void> {
  await busy.gp(['vm', 'set', 'fast', '--migration-policy', 'stop']);
  const drain = await busy.drained((await busy.begin(host, ['--parallel', '8'])).id);
  assert.equal(drain.moves.find(({ vm }) => vm === 'fast')?.remedy, 'stop');
  const elsewhere = await untilVm(busy.cluster, 'fast', { verdict: 'running' });
  assert.notEqual(elsewhere.host, host);
  await busy.gp(['host', 'undrain', host]);
}

story('a control node is drained: the lead passes on; a second one is refused: etcd needs a majority', async (busy) => {
  const leader = await busy.leader();
  const drained = await busy.json<ControlNode>(['control', 'drain', leader, '--reason', 'new disks']);
  assert.deepEqual([drained.leader, drained.maintenance?.reason], [false, 'new disks']);
  const next = await busy.leader();
  assert.notEqual(next, leader);
  const refused = await busy.cluster.gp(['control', 'drain', next]);
  assert.notEqual(refused.exitCode, 0);
  assert.match(refused.stderr, /etcd would have 1 of its 3 members and needs 2/);
  await busy.gp(['control', 'undrain', leader]);
  const node = await busy.cluster.gp(['storage', 'drain', 's1']);
  assert.notEqual(node.exitCode, 0);
  assert.match(node.stderr, /The contents of storage node s1 exist nowhere else: .*m1/);
});
