import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fitOf, matches, parseSearch, searchText } from './search.ts';

test('search, filters and order survive the way through an address', () => {
  const search = { q: 'a b&c', verdict: 'running', sort: '-memory' };
  assert.deepEqual(parseSearch(searchText(search)), search);
  assert.equal(searchText({ q: '', verdict: undefined, count: 3 }), '');
});

test('all words must be there, in any order', () => {
  assert.equal(matches('Web7 running h2', 'h2 web'), true);
  assert.equal(matches('web7 running h2', 'h3 web'), false);
});

test('whole names come before beginnings, and those before the middle', () => {
  const fits = ['db', 'db1', 'sql-db', 'xdbx', 'web'].map((name) => fitOf(name, 'DB'));
  assert.deepEqual(fits, [4, 3, 2, 1, null]);
  assert.equal(fitOf('a.b', 'b'), 2);
  assert.equal(fitOf('anything', '('), null);
});
