/** The targets of arrow keys in the picture. Pure. */
import type { Layout, Tile } from './layout.ts';

/** The tiles in rows from top to bottom, each from left to right: the rows of the grid. */
export function gridRows({ tiles }: Layout): readonly (readonly Tile[])[] {
  const rows = [...Map.groupBy(tiles, ({ y }) => Math.round(y))];
  return rows.sort(([a], [b]) => a - b).map(([, row]) => row.toSorted((a, b) => a.x - b.x));
}

/** The name of the host that a key leads to from `name`; null: the key means nothing here. */
export function neighbourOf(rows: readonly (readonly Tile[])[], name: string, key: string): string | null {
  const at = rows.findIndex((row) => row.some(({ host }) => host.name === name));
  const row = rows[at] ?? [];
  const place = row.findIndex(({ host }) => host.name === name);
  const tile = row[place];
  if (tile === undefined) return null;
  const nameAt = (target: Tile | undefined): string => target?.host.name ?? name;
  switch (key) {
    case 'ArrowLeft':
      return nameAt(row[place - 1] ?? rows[at - 1]?.at(-1));
    case 'ArrowRight':
      return nameAt(row[place + 1] ?? rows[at + 1]?.[0]);
    case 'ArrowUp':
      return nameAt(nearest(rows[at - 1], tile));
    case 'ArrowDown':
      return nameAt(nearest(rows[at + 1], tile));
    case 'Home':
      return nameAt(rows[0]?.[0]);
    case 'End':
      return nameAt(rows.at(-1)?.at(-1));
    default:
      return null;
  }
}

function nearest(row: readonly Tile[] | undefined, { x }: Tile): Tile | undefined {
  return row?.reduce((best, tile) => (Math.abs(tile.x - x) < Math.abs(best.x - x) ? tile : best));
}
