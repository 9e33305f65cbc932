import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockPool } from './block-pool.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

test('a long piece that was given back is used again, by its size; what nobody gave back is not', () => {
  const pool = new BlockPool();
  const [first, second, small] = [pool.allocate(128 * KIB), pool.allocate(128 * KIB), pool.allocate(4 * KIB)];
  assert.notEqual(first.buffer, second.buffer);
  pool.release(first);
  pool.release(small);
  const longer = pool.allocate(200 * KIB);
  const again = pool.allocate(127 * KIB);
  assert.notEqual(longer.buffer, first.buffer);
  assert.equal(again.buffer, first.buffer);
  assert.equal(again.length, 127 * KIB);
  assert.notEqual(pool.allocate(128 * KIB).buffer, first.buffer);
  assert.notEqual(pool.allocate(4 * KIB).byteOffset, small.byteOffset);
});

test('what is kept is bounded, in pieces and in all; the oldest gives way', () => {
  const pool = new BlockPool();
  const huge = pool.allocate(2 * MIB);
  pool.release(huge);
  assert.notEqual(pool.allocate(2 * MIB).buffer, huge.buffer);
  const pieces = Array.from({ length: 20 }, () => pool.allocate(MIB));
  for (const piece of pieces) pool.release(piece);
  const kept = new Set(Array.from({ length: 20 }, () => pool.allocate(MIB).buffer));
  const isKept = pieces.map(({ buffer }) => kept.has(buffer));
  assert.deepEqual(isKept, [...Array<boolean>(4).fill(false), ...Array<boolean>(16).fill(true)]);
});
