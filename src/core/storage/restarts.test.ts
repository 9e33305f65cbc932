import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Restarts } from './restarts.ts';

/** For how long each of these ends keeps the process from being started again, in ms. */
function delaysAfter(livesMs: readonly number[]): number[] {
  let now = 0;
  const restarts = new Restarts({ monotonicMs: () => now });
  return livesMs.map((lifeMs) => {
    if (lifeMs >= 0) restarts.started();
    now += Math.max(0, lifeMs);
    restarts.ended();
    const endedAt = now;
    while (!restarts.isDue) now += 500;
    return now - endedAt;
  });
}

const NEVER_RAN = -1;

test('the first restart is at once, the next ones ever later, up to half a minute', () => {
  assert.deepEqual(
    delaysAfter([5, 5, 5, 5, 5, 5, 5, 5, 5]),
    [0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000],
  );
  assert.deepEqual(delaysAfter(new Array(4).fill(NEVER_RAN)), [0, 1_000, 2_000, 4_000]);
});

test('a process that ran for half a minute is started again at once', () => {
  assert.deepEqual(delaysAfter([5, 5, 5, 30_000, 29_999]), [0, 1_000, 2_000, 0, 1_000]);
});
