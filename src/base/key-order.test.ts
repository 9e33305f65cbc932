import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KeyOrder } from './key-order.ts';

const key = fc.string({ maxLength: 3 });

test('after any additions and removals the order is that of a sorted set', () => {
  const steps = fc.array(fc.record({ key, isAdded: fc.boolean() }), { maxLength: 60 });
  fc.assert(
    fc.property(fc.array(key, { maxLength: 20 }), steps, key, (first, changes, probe) => {
      const order = new KeyOrder(first);
      const set = new Set(first);
      for (const change of changes) {
        if (change.isAdded) set.add(change.key);
        else set.delete(change.key);
        if (change.isAdded) order.add(change.key);
        else order.delete(change.key);
      }
      const sorted = [...set].sort();
      assert.deepEqual(
        Array.from({ length: order.size }, (_, index) => order.at(index)),
        sorted,
      );
      assert.equal(order.placeOf(probe), sorted.filter((each) => each < probe).length);
      assert.equal(order.has(probe), set.has(probe));
      assert.equal(order.at(-1), undefined);
      assert.equal(order.at(order.size), undefined);
    }),
  );
});
