/** Lists of the fake backend in pages, as production makes them. */
import type { EventFilter } from '../../../api/requests.ts';
import type { Event } from '../../../api/views.ts';
import { KeyOrder } from '../../../base/key-order.ts';
import type { Call } from '../backend.ts';
import { type Page, type PageQuery, pageOf } from '../pages.ts';

/** Returns a page of `items` in the order of `keyOf`, or in their own order if `keyOf` is null. */
export function paged<T>(
  items: readonly T[],
  keyOf: ((item: T) => string) | null,
  asked: { readonly query: PageQuery; readonly call: Call; readonly isNewestFirst?: boolean },
): Promise<Page<T>> {
  const { query, call, isNewestFirst = false } = asked;
  const byKey = new Map(items.map((item, index) => [keyOf?.(item) ?? String(index).padStart(9, '0'), item]));
  const view = (key: string): T | null => byKey.get(key) ?? null;
  return pageOf({ order: new KeyOrder(byKey.keys()), isNewestFirst, view }, query, call.signal);
}

export const nameOf = ({ name }: { readonly name: string }): string => name;

/** Returns true if an event matches a filter. */
export function isWanted(event: Event, filter: EventFilter): boolean {
  const { eventKind, vm, host, since } = filter;
  return (
    (eventKind === undefined || eventKind.includes(event.kind)) &&
    (vm === undefined || event.vm === vm || event.vmId === vm) &&
    (host === undefined || event.host === host) &&
    (since === undefined || event.at >= since)
  );
}

/** Whether labels satisfy a selector: key, or key=value. */
export function matches(labels: Readonly<Record<string, string>>, selector: string): boolean {
  const [key = '', value] = selector.split('=', 2);
  return Object.hasOwn(labels, key) && (value === undefined || labels[key] === value);
}
