import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PoolLevel, poolLevel, poolWords } from './pool-room.ts';

const GIB = 1024 ** 3;
const used = (percent: number) => ({ totalBytes: 100 * GIB, freeBytes: (100 - percent) * GIB });

test('a level begins at 80, 90 and almost 100 percent, whatever was before', () => {
  for (const [percent, level] of [
    [0, 'enough'],
    [79.9, 'enough'],
    [80, 'low'],
    [89.9, 'low'],
    [90, 'very-low'],
    [99.9, 'very-low'],
    [99.99, 'full'],
    [100, 'full'],
  ] as const)
    for (const before of [null, 'enough'] as const) assert.equal(poolLevel(used(percent), before), level, `${percent}`);
});

test('a level ends some way below where it began: a pool at a boundary is told of once', () => {
  for (const [percent, before, level] of [
    [79, 'low', 'low'],
    [77.9, 'low', 'enough'],
    [89, 'very-low', 'very-low'],
    [87.9, 'very-low', 'low'],
    [77.9, 'very-low', 'enough'],
    [99.9, 'full', 'full'],
    [99.8, 'full', 'very-low'],
    [50, 'full', 'enough'],
  ] as const)
    assert.equal(poolLevel(used(percent), before), level, `${percent} after ${before}`);
  let level: PoolLevel = 'enough';
  const seen = Array.from({ length: 40 }, (_, i) => {
    level = poolLevel(used(80 + (i % 2 === 0 ? 0.5 : -0.5)), level);
    return level;
  });
  assert.deepEqual([...new Set(seen)], ['low']);
});

test('a small pool is full with a hundredth of it left, and every level has its words', () => {
  assert.equal(poolLevel({ totalBytes: GIB, freeBytes: GIB / 100 }), 'full');
  assert.equal(poolLevel({ totalBytes: GIB, freeBytes: GIB / 50 }), 'very-low');
  assert.equal(poolLevel({ totalBytes: 0, freeBytes: 0 }), 'full');
  assert.match(poolWords(used(100), 'full'), /^is full \(0 MiB of 102400 MiB free\): guests that write are paused/);
});
