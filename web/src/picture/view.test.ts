import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bounded, viewOf, WHOLE, zoomed } from './view.ts';

const SCREEN = { width: 1_000, height: 600 };
const PICTURE = { width: 1_000, height: 600 };

test('the point under the pointer stays while zooming', () => {
  const at = { x: 300, y: 200 };
  const view = zoomed(WHOLE, 3, at);
  assert.deepEqual([300 * view.scale + view.x, 200 * view.scale + view.y], [300, 200]);
});

test('the picture never leaves the screen and never becomes smaller than whole', () => {
  assert.deepEqual(bounded({ scale: 0.2, x: 400, y: -900 }, PICTURE, SCREEN), WHOLE);
  assert.deepEqual(bounded({ scale: 2, x: -5_000, y: 50 }, PICTURE, SCREEN), { scale: 2, x: -1_000, y: 0 });
});

test('a box is shown in the middle', () => {
  const view = viewOf({ x: 100, y: 100, width: 50, height: 20 }, SCREEN);
  assert.deepEqual([125 * view.scale + view.x, 110 * view.scale + view.y], [500, 300]);
});
