import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counted } from './counted.ts';

test('one thing is singular; none and several are plural', () => {
  assert.deepEqual(
    [0, 1, 2].map((count) => counted(count, 'move')),
    ['0 moves', '1 move', '2 moves'],
  );
  assert.equal(counted(2, 'entry', 'entries'), '2 entries');
});
