/** A page of a table of the store, in the order of its listing. */
import type { Entry } from '../../core/ports/store.ts';
import { type Page, type PageQuery, pageOf } from '../api/pages.ts';
import type { Table } from '../store/table.ts';

/** Which objects are shown, and how. */
export interface Shown<V, T> {
  readonly signal: AbortSignal;
  /** Null: not wanted. */
  readonly view: (entry: Entry<V>) => T | null;
  /** The newest page first. */
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
