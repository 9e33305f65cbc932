import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listed } from './listed.ts';

test('a sentence names a few and counts the others', () => {
  assert.equal(listed([]), '');
  assert.equal(listed(['a', 'b'], 2), 'a, b');
  assert.equal(listed(['a', 'b', 'c', 'd'], 2), 'a, b and 2 more');
});
