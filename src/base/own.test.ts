import assert from 'node:assert/strict';
import { test } from 'node:test';
import { own } from './own.ts';

test('only what was put in is found', () => {
  const all: Readonly<Record<string, number>> = JSON.parse('{"a": 1, "__proto__": 2}');
  assert.deepEqual([own(all, 'a'), own(all, '__proto__'), own(all, 'b')], [1, 2, undefined]);
  for (const key of Object.getOwnPropertyNames(Object.prototype)) assert.equal(own({}, key), undefined, key);
});
