import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hitOf } from './hit.ts';
import { type Box, layoutOf, type PictureHost } from './layout.ts';

const GIB = 2 ** 30;
const AREA = { width: 1_000, height: 700 };

function host(name: string, rack: string | null, memories: readonly number[] = []): PictureHost {
  const vms = memories.map((memory, n) => ({
    ...({ id: `vm-${name}-${n}`, name: `vm${n + 1}`, verdict: 'running', guestCluster: null } as const),
    memoryBytes: memory * GIB,
  }));
  return { name, rack, memoryTotalBytes: 16 * GIB, memoryUsedBytes: 0, mood: 'normal', drain: true, vms };
}

const hosts = (count: number, racks: number): PictureHost[] =>
  Array.from({ length: count }, (_, n) => host(`h${n + 1}`, `r${1 + (n % racks)}`, [1, 2, 4]));

const isInside = (inner: Box, outer: Box): boolean =>
  inner.x >= outer.x - 0.01 &&
  inner.y >= outer.y - 0.01 &&
  inner.x + inner.width <= outer.x + outer.width + 0.01 &&
  inner.y + inner.height <= outer.y + outer.height + 0.01;

const overlaps = (a: Box, b: Box): boolean =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

test('3 and 300 hosts fit, and no two tiles overlap', () => {
  for (const count of [3, 300]) {
    const layout = layoutOf(hosts(count, 10), { width: 1_200, height: 900 });
    assert.equal(layout.tiles.length, count);
    assert.ok(layout.height <= 900, `${count} hosts are ${layout.height} high`);
    for (const [n, tile] of layout.tiles.entries()) {
      assert.ok(tile.x >= 0 && tile.x + tile.width <= layout.width);
      assert.ok(!layout.tiles.slice(n + 1).some((other) => overlaps(tile, other)), `${tile.host.name} is covered`);
    }
  }
});

test('racks and hosts come in the order of their names, hosts without a rack last', () => {
  const layout = layoutOf([host('h10', 'r2'), host('h2', 'r2'), host('h1', null), host('h3', 'r1')], AREA);
  assert.deepEqual(
    layout.tiles.map((tile) => tile.host.name),
    ['h3', 'h2', 'h10', 'h1'],
  );
  assert.deepEqual(
    layout.racks.map(({ name }) => name),
    ['r1', 'r2', null],
  );
});

test('slices are as high as their share of the memory, and the rest stays free', () => {
  const [tile] = layoutOf([host('h1', null, [4, 8])], AREA).tiles;
  assert.ok(tile !== undefined);
  const room = tile.height - tile.headHeight;
  assert.deepEqual(
    tile.slices.map(({ height }) => Math.round((100 * height) / room)),
    [25, 50],
  );
  for (const slice of tile.slices) assert.ok(isInside(slice, tile));
});

test('a host that holds more than it has is drawn full, not beyond its tile', () => {
  const [tile] = layoutOf([host('h1', null, [16, 16])], AREA).tiles;
  assert.ok(tile !== undefined);
  for (const slice of tile.slices) assert.ok(isInside(slice, tile));
});

test('a point is found in its slice, in free memory, and between tiles', () => {
  const layout = layoutOf([host('h1', null, [8]), host('h2', null)], AREA);
  const [first] = layout.tiles;
  assert.ok(first !== undefined);
  assert.equal(hitOf(layout, first.x + 5, first.y + first.headHeight + 5)?.slice?.vm.id, 'vm-h1-0');
  assert.equal(hitOf(layout, first.x + 5, first.y + first.height - 2)?.slice, null);
  assert.equal(hitOf(layout, first.x + first.width + 2, first.y + 5), null);
});

test('an empty cluster has an empty picture', () => {
  const layout = layoutOf([], AREA);
  assert.deepEqual([layout.tiles.length, layout.height], [0, 0]);
});
