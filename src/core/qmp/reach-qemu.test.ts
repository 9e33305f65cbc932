import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimClock } from '../../sim/time/sim-clock.ts';
import { CONNECT_MS, type Reached, reachQemu } from './reach-qemu.ts';
import { FakeDialer, targetOf } from './testing/fake-dialer.ts';

interface Searched {
  readonly reached: Reached;
  readonly attempts: readonly string[];
  readonly tookMs: number;
}

/** One search of the control node with this monitor. */
async function searched(meets: FakeDialer['meets'], monitor = 0): Promise<Searched> {
  const clock = new SimClock();
  const dialer = new FakeDialer(clock);
  dialer.meets = meets;
  const searching = reachQemu({ dialer, target: targetOf(1), monitor, onEvent: () => undefined });
  let reached: Reached | null = null;
  void searching.then((result) => {
    reached = result;
  });
  await clock.run(60_000, () => reached !== null);
  return { reached: await searching, attempts: dialer.attempts, tookMs: clock.monotonicMs() };
}

function seenBy({ reached }: Searched): string {
  return reached.channel === null ? reached.seen.kind : `answers ${reached.via}`;
}

test('the direct path comes first, with the own monitor of each control node', async () => {
  for (const monitor of [0, 1, 2, 4]) {
    const search = await searched(() => 'qemu', monitor);
    assert.equal(seenBy(search), 'answers direct');
    assert.deepEqual(search.attempts, [`direct ${monitor % 3}`]);
  }
});

test('what the kernel refuses on the first path that reaches it is refused: nobody else can know better', async () => {
  const search = await searched(() => 'refused');
  assert.equal(seenBy(search), 'refused');
  assert.deepEqual(search.attempts, ['direct 0']);
});

test('a frozen monitor does not stand in the way: the spare ones are tried on the same path', async () => {
  const search = await searched((_path, monitor) => (monitor === 1 ? 'accepted-but-silent' : 'qemu'), 1);
  assert.equal(seenBy(search), 'answers direct');
  assert.deepEqual(search.attempts, ['direct 1', 'direct 2']);
  const wrapped = await searched((_path, monitor) => (monitor === 1 ? 'qemu' : 'accepted-but-silent'), 2);
  assert.deepEqual(wrapped.attempts, ['direct 2', 'direct 0', 'direct 1']);
});

test('a process that speaks on no monitor is mute, and no other path is tried', async () => {
  const search = await searched(() => 'accepted-but-silent');
  assert.equal(seenBy(search), 'mute');
  assert.deepEqual(search.attempts, ['direct 0', 'direct 1', 'direct 2']);
  assert.equal(search.tookMs, 3 * CONNECT_MS);
});

test('another incarnation, or one that hangs up, is mute at once', async () => {
  const search = await searched(() => 'rejected');
  assert.equal(seenBy(search), 'mute');
  assert.deepEqual(search.attempts, ['direct 0']);
});

test('silence leads to the next path; the spare monitors are asked on the first silent one alone', async () => {
  const search = await searched(() => 'silent');
  assert.equal(seenBy(search), 'silent');
  assert.deepEqual(search.attempts, ['direct 0', 'direct 1', 'direct 2', 'via c2 0', 'via s1 0']);
  assert.deepEqual(search.reached.channel === null && search.reached.seen, {
    kind: 'silent',
    paths: ['direct', 'via c2', 'via s1'],
    ageMs: 0,
  });
  assert.equal(search.tookMs, 5 * CONNECT_MS);
});

test('a monitor whose queue is full is silent too: a spare one on the same path answers', async () => {
  const search = await searched((_path, monitor) => (monitor === 0 ? 'silent' : 'qemu'));
  assert.equal(seenBy(search), 'answers direct');
  assert.deepEqual(search.attempts, ['direct 0', 'direct 1']);
});

test('a relay that does not answer, or a network without a route, leads to the next path at once', async () => {
  for (const outcome of ['no-path', 'unreachable'] as const) {
    const search = await searched((path) => (path === 'via s1' ? 'qemu' : outcome));
    assert.equal(seenBy(search), 'answers via s1');
    assert.deepEqual(search.attempts, ['direct 0', 'via c2 0', 'via s1 0']);
  }
});
