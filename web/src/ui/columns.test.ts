import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Column, compareValues, facetValues, rowsOf, sortOf } from './columns.ts';

interface Row {
  readonly name: string;
  readonly host: string | null;
  readonly size: number;
}

const COLUMNS: readonly Column<Row>[] = [
  { id: 'name', header: 'Name', width: '1fr', value: ({ name }) => name },
  { id: 'host', header: 'Host', width: '1fr', value: ({ host }) => host, isFacet: true },
  { id: 'size', header: 'Size', width: '1fr', value: ({ size }) => size },
];
const ROWS: readonly Row[] = [
  { name: 'web1', host: 'h10', size: 5 },
  { name: 'web2', host: 'h2', size: 7 },
  { name: 'db1', host: null, size: 5 },
];
const names = (search: Record<string, string>): string[] => rowsOf(ROWS, COLUMNS, search).map(({ name }) => name);

test('search looks at every column, filters at one', () => {
  assert.deepEqual(names({ q: 'web 7' }), ['web2']);
  assert.deepEqual(names({ host: 'h2' }), ['web2']);
  assert.deepEqual(names({ host: 'h2', q: 'db' }), []);
});

test('what the address says beyond filters of the table changes nothing', () => {
  assert.deepEqual(names({ sort: 'name', size: '5', other: 'x' }), ['web1', 'web2', 'db1']);
});

test('values to filter by are in the order of names, without empty ones', () => {
  assert.deepEqual(facetValues(ROWS, COLUMNS[1] as Column<Row>), ['h2', 'h10']);
});

test('numbers are ordered by size, texts by name, nothing is last', () => {
  assert.deepEqual(['h10', null, 'h2'].sort(compareValues), ['h2', 'h10', null]);
  assert.deepEqual([10, 9].sort(compareValues), [9, 10]);
});

test('an order is a column, or a column the other way round', () => {
  assert.deepEqual(sortOf({}, 'name'), { id: 'name', desc: false });
  assert.deepEqual(sortOf({ sort: '-size' }, 'name'), { id: 'size', desc: true });
});
