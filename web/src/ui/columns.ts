/** The content of a table: columns over objects, and the rows that a search and filters leave. Pure. */
import type { ReactNode } from 'react';
import { byName } from '../texts/format.ts';
import { matches, type Search } from './search.ts';

/** One column. */
export interface Column<T> {
  readonly id: string;
  readonly header: string;
  /** Width in CSS, as of a grid's column. */
  readonly width: string;
  /** The value by which the column is sorted, searched and filtered. */
  readonly value: (row: T) => string | number | null;
  /** The shown text, if it is not the value. */
  readonly cell?: (row: T) => ReactNode;
  readonly align?: 'right';
  /** Whether rows can be filtered by the column's values. */
  readonly isFacet?: boolean;
}

/** Parts of the address that are no filters. */
const OTHER_PARTS = new Set(['q', 'sort']);

/** The rows that the address asks for, in the order of `rows`. */
export function rowsOf<T>(rows: readonly T[], columns: readonly Column<T>[], search: Search): readonly T[] {
  const filters = columns.filter(
    ({ id, isFacet }) => isFacet === true && !OTHER_PARTS.has(id) && (search[id] ?? '') !== '',
  );
  const query = (search['q'] ?? '').trim();
  if (filters.length === 0 && query === '') return rows;
  return rows.filter(
    (row) =>
      filters.every(({ id, value }) => String(value(row) ?? '') === search[id]) &&
      (query === '' || matches(columns.map(({ value }) => value(row) ?? '').join('\n'), query)),
  );
}

const FACET_VALUES_MAX = 400;

/** The values by which a column can be filtered, in order. */
export function facetValues<T>(rows: readonly T[], { value }: Column<T>): readonly string[] {
  const values = new Set<string>();
  for (const row of rows) {
    const each = value(row);
    if (each !== null && each !== '') values.add(String(each));
    if (values.size > FACET_VALUES_MAX) break;
  }
  return [...values].sort(byName);
}

/** Orders values of one column: numbers by size, texts by name, missing values last. */
export function compareValues(a: string | number | null, b: string | number | null): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  return typeof a === 'number' && typeof b === 'number' ? a - b : byName(String(a), String(b));
}

/** The order that an address asks for: `name`, or `-name` for the other way round. */
export function sortOf(search: Search, standard: string): { readonly id: string; readonly desc: boolean } {
  const text = search['sort'] ?? standard;
  return text.startsWith('-') ? { id: text.slice(1), desc: true } : { id: text, desc: false };
}
