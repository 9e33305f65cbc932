/** Reads a page of a store table, in the order of the table's listing. */
import type { Entry } from '../../core/ports/store.ts';
import { type Page, type PageQuery, pageOf } from '../api/pages.ts';
import type { Table } from '../store/table.ts';

/** Selects and formats the listed objects. */
export interface Shown<V, T> {
  readonly signal: AbortSignal;
  /** Returns null for an entry that is not wanted. */
  readonly view: (entry: Entry<V>) => T | null;
  /** True if the first page has the newest entries. */
  readonly isNewestFirst?: boolean;
}

/** Reads one page of `table`. */
export function pageOfTable<V, T>(table: Table<V>, query: PageQuery, shown: Shown<V, T>): Promise<Page<T>> {
  const { signal, view, isNewestFirst = false } = shown;
  const at = (place: string): T | null => {
    const entry = table.atPlace(place);
    return entry === undefined ? null : view(entry);
  };
  return pageOf({ order: table.order, isNewestFirst, view: at }, query, signal);
}
