import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SortedKeys } from './sorted-keys.ts';

test('whatever was added and removed, a prefix lists what a sorted array would', () => {
  const key = fc.stringMatching(/^[ab/]{0,6}$/);
  const steps = fc.array(fc.record({ isAdded: fc.boolean(), key }), { maxLength: 60 });
  fc.assert(
    fc.property(steps, key, (changes, prefix) => {
      const keys = new SortedKeys();
      const truth = new Set<string>();
      for (const change of changes) {
        if (!change.isAdded) keys.delete(change.key);
        else if (!truth.has(change.key)) keys.add(change.key);
        if (change.isAdded) truth.add(change.key);
        else truth.delete(change.key);
      }
      const expected = [...truth].sort().filter((each) => each.startsWith(prefix));
      assert.deepEqual([...keys.startingWith(prefix)], expected);
    }),
    { seed: 20_261_121, numRuns: 500 },
  );
});

test('many keys in any order: chunks are split, emptied and found', () => {
  const keys = new SortedKeys();
  const all = Array.from({ length: 5_000 }, (_, i) => `/k/${String((i * 7_919) % 5_000).padStart(4, '0')}`);
  for (const key of all) keys.add(key);
  assert.deepEqual([...keys.startingWith('/k/')], [...all].sort());
  assert.deepEqual([...keys.startingWith('/k/123')].length, 10);
  for (const key of all) if (!key.endsWith('7')) keys.delete(key);
  assert.equal([...keys.startingWith('')].length, 500);
  assert.deepEqual([...keys.startingWith('/k/0017')], ['/k/0017']);
  assert.deepEqual([...keys.startingWith('/l')], []);
});
