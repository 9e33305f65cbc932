/** Finds the object at a point of the picture. Pure. */
import type { Box, Layout, Slice, Tile } from './layout.ts';

/** A host, and the VM of it where the point is on a slice. */
export interface Hit {
  readonly tile: Tile;
  readonly slice: Slice | null;
}

const contains = (box: Box, x: number, y: number): boolean =>
  x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height;

/** Finds the tile and the slice at a point of the unzoomed picture. */
export function hitOf(layout: Layout, x: number, y: number): Hit | null {
  for (const rack of layout.racks) {
    if (!contains(rack, x, y)) continue;
    const tile = rack.tiles.find((each) => contains(each, x, y));
    if (tile === undefined) continue;
    return { tile, slice: tile.slices.find((each) => contains(each, x, y)) ?? null };
  }
  return null;
}
