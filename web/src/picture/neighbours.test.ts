import assert from 'node:assert/strict';
import { test } from 'node:test';
import { layoutOf } from './layout.ts';
import { gridRows, neighbourOf } from './neighbours.ts';

const hosts = Array.from({ length: 7 }, (_, n) => ({
  ...({
    name: `h${n + 1}`,
    rack: null,
    memoryTotalBytes: 1,
    memoryUsedBytes: 0,
    mood: 'normal',
    drain: true,
    vms: [],
  } as const),
}));
const ROWS = gridRows(layoutOf(hosts, { width: 750, height: 700 }));

test('all hosts are in the rows, as the picture shows them', () => {
  assert.deepEqual(
    ROWS.map((row) => row.map(({ host }) => host.name)),
    [['h1', 'h2', 'h3'], ['h4', 'h5', 'h6'], ['h7']],
  );
});

test('arrows go to the neighbour, and round the end of a row', () => {
  assert.equal(neighbourOf(ROWS, 'h1', 'ArrowRight'), 'h2');
  assert.equal(neighbourOf(ROWS, 'h3', 'ArrowRight'), 'h4');
  assert.equal(neighbourOf(ROWS, 'h2', 'ArrowDown'), 'h5');
  assert.equal(neighbourOf(ROWS, 'h6', 'ArrowDown'), 'h7');
  assert.equal(neighbourOf(ROWS, 'h7', 'ArrowUp'), 'h4');
});

test('at the edges the focus stays, and other keys mean nothing', () => {
  assert.equal(neighbourOf(ROWS, 'h1', 'ArrowLeft'), 'h1');
  assert.equal(neighbourOf(ROWS, 'h7', 'ArrowDown'), 'h7');
  assert.equal(neighbourOf(ROWS, 'h4', 'End'), 'h7');
  assert.equal(neighbourOf(ROWS, 'h4', 'x'), null);
});
