import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { Freshness } from './freshness.ts';

/** An etcd with programmed answers, over a clock that the test moves. */
function setUp() {
  const world = { nowMs: 0, asked: 0, answers: true, revision: 7, seen: [] as number[], completes: true };
  const freshness = new Freshness({
    etcd: {
      list: async () => {
        world.asked += 1;
        if (!world.answers) throw new CodedError('unavailable', 'No member answers.');
        return { entries: [], revision: world.revision };
      },
    },
    store: {
      caughtUp: async (_deadlineMs, revision = 0) => {
        world.seen.push(revision);
        if (!world.completes) throw new CodedError('deadline', 'Not seen.');
      },
    },
    clock: { monotonicMs: () => world.nowMs },
  });
  return { world, freshness };
}

const unknown = { code: 'unavailable', message: /cut off from etcd/ };

test('what is known is asked for first, then at most once a second, and counts from when etcd was asked', async () => {
  const { world, freshness } = setUp();
  await Promise.all([freshness.demand(), freshness.demand()]);
  assert.deepEqual([world.asked, world.seen], [1, [7]]);
  world.nowMs = 999;
  await freshness.demand();
  freshness.check();
  assert.equal(world.asked, 1);
  world.nowMs = 1_000;
  await freshness.demand();
  assert.equal(world.asked, 2);
});

test('nothing counts that was known too long ago: etcd does not answer, or answers with what the tables have not seen', async () => {
  for (const lack of ['answers', 'completes'] as const) {
    const { world, freshness } = setUp();
    await freshness.demand();
    world[lack] = false;
    world.nowMs = 3_500;
    await freshness.demand();
    world.nowMs = 3_501;
    assert.throws(() => freshness.check(), unknown);
    await assert.rejects(freshness.demand(), unknown);
    world[lack] = true;
    await freshness.demand();
    freshness.check();
  }
});

test('before anything was known nothing counts', async () => {
  const { world, freshness } = setUp();
  world.answers = false;
  assert.throws(() => freshness.check(), unknown);
  await assert.rejects(freshness.demand(), unknown);
});
