/**
 * Lists in pages. A page begins after the place of the previous page's last object, not after a count, so that objects
 * may come and go in between.
 *
 * Guarantees: an object that is there all the time is on exactly one page; reading a page holds the event loop up for
 * some milliseconds at a time, however many objects the filter passes over.
 */
import { setImmediate } from 'node:timers/promises';
import { PAGE_ITEMS_DEFAULT } from '../../api/page-size.ts';
import type { KeyOrder } from '../../base/key-order.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import { endOfTurn } from '../../os/turns.ts';

/** The page that a request asks for. */
export interface PageQuery {
  /** Most objects of the page, 1 to PAGE_ITEMS_MAX. */
  readonly limit?: number;
  /** The `next` of the previous page; absent for the first page. */
  readonly after?: string;
}

/** A page of a list. `next`: the `after` of the following page; null if this is the last page. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** A list that is read in pages. */
export interface Paged<T> {
  /** The order of the list's places. */
  readonly order: KeyOrder;
  /** True if the first page has the last objects; within a page, objects stay in order. Default: false. */
  readonly isNewestFirst?: boolean;
  /** Returns the object at a place; null if it is gone or not wanted. */
  readonly view: (place: string) => T | null;
}

/** Reads one page; rejects with the reason of `signal` when `signal` aborts. */
export async function pageOf<T>(list: Paged<T>, query: PageQuery, signal: AbortSignal): Promise<Page<T>> {
  const limit = query.limit ?? PAGE_ITEMS_DEFAULT;
  const items: T[] = [];
  let last = query.after === undefined ? null : placeOfToken(query.after);
  let next: string | null = null;
  const take = (place: string): boolean => {
    const item = list.view(place);
    if (item === null) {
      last = place;
      return true;
    }
    // A further object exists, so that another page follows.
    if (items.length === limit) {
      next = tokenOf(last ?? '');
      return false;
    }
    items.push(item);
    last = place;
    return true;
  };
  while (!readSome(list, last, take)) {
    await setImmediate();
    signal.throwIfAborted();
  }
  return { items: list.isNewestFirst === true ? items.reverse() : items, next };
}

/**
 * Takes objects after `last`, for at most one turn of the event loop; returns true at the end of the list or of the
 * page.
 */
function readSome<T>(
  { order, isNewestFirst = false }: Paged<T>,
  last: string | null,
  take: (place: string) => boolean,
): boolean {
  const endsAtMs = endOfTurn();
  const step = isNewestFirst ? -1 : 1;
  let index = startOf(order, last, isNewestFirst);
  for (;;) {
    const place = order.at(index);
    if (place === undefined || !take(place)) return true;
    index += step;
    if (monotonicMs() >= endsAtMs) return false;
  }
}

function startOf(order: KeyOrder, last: string | null, isNewestFirst: boolean): number {
  if (last === null) return isNewestFirst ? order.size - 1 : 0;
  const place = order.placeOf(last);
  if (isNewestFirst) return place - 1;
  return order.at(place) === last ? place + 1 : place;
}

function tokenOf(place: string): string {
  return Buffer.from(place).toString('base64url');
}

/** Decodes a place. Any text is a valid place: an invented one only begins the page somewhere else. */
function placeOfToken(token: string): string {
  return Buffer.from(token, 'base64url').toString();
}
