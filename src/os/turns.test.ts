import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs } from './monotonic.ts';
import { inTurns, sortedInTurns } from './turns.ts';

test('every item is worked on once, in order, and others have their turn in between', async () => {
  const done: number[] = [];
  let othersTurns = 0;
  let isOver = false;
  const other = (): void => {
    othersTurns++;
    if (!isOver) setImmediate(other);
  };
  setImmediate(other);
  const items = Array.from({ length: 20 }, (_, index) => index);
  await inTurns(items, (item) => {
    const until = monotonicMs() + 2;
    while (monotonicMs() < until);
    done.push(item);
  });
  isOver = true;
  assert.deepEqual(done, items);
  // 20 items of 2 ms are more than four turns of 5 ms.
  assert.ok(othersTurns >= 4, `${othersTurns} turns`);
});

test('texts are sorted as `sort` does it, however many there are', async () => {
  for (const count of [0, 1, 999, 1_000, 1_001, 5_500]) {
    const texts = Array.from({ length: count }, (_, index) => `v${(index * 7_919) % (count + 3)}`);
    assert.deepEqual(await sortedInTurns(texts), texts.toSorted());
  }
});
