/**
 * The lists of the cluster in the query cache. Guarantees: a list is read once, page by page, and kept by the event
 * stream; what the stream brought while it was read is not lost.
 */
import { type QueryClient, useQuery } from '@tanstack/react-query';
import { dataOf, http } from '../api/client.ts';
import type { Host, Task, Vm } from '../api/types.ts';
import { noteClusterTime } from './cluster-clock.ts';
import { applyChanges, type Change, type Collection, collectionOf } from './collection.ts';
import {
  hostRowOf,
  type Kind,
  type Kinds,
  LATEST_MAX,
  LIST_PATHS,
  LIST_QUERIES,
  PAGE_ITEMS,
  SHAPES,
  vmRowOf,
} from './kinds.ts';

const PAGE_ITEMS_USUAL = 1_000;
/** Changes that came lately, for lists that are being read: more than a page's answer can take to arrive. */
const RECENT_MAX = 20_000;
const recent: Change[] = [];
/** The number of objects that were dropped. */
let forgotten = 0;

interface Page {
  readonly items: readonly unknown[];
  readonly next: string | null;
}
type GetPage = (path: string, init: object) => Promise<{ readonly data?: Page }>;

/** Key of a list in the query cache. */
const listKey = (kind: Kind) => ['list', kind] as const;

async function readList<K extends Kind>(kind: K, signal: AbortSignal): Promise<Collection<Kinds[K]>> {
  const begin = forgotten + recent.length;
  const most = LATEST_MAX[kind] ?? Number.MAX_SAFE_INTEGER;
  const pages: (readonly unknown[])[] = [];
  let after: string | null = null;
  let count = 0;
  do {
    const limit = PAGE_ITEMS[kind] ?? PAGE_ITEMS_USUAL;
    const query = { ...LIST_QUERIES[kind], limit, ...(after === null ? {} : { after }) };
    const page: Page = await dataOf((http.GET as unknown as GetPage)(LIST_PATHS[kind], { params: { query }, signal }));
    pages.push(page.items);
    count += page.items.length;
    after = page.next;
  } while (after !== null && count < most);
  // For lists whose first page has the latest objects, the pages come newest first.
  const items = (kind in LATEST_MAX ? pages.reverse() : pages).flat() as Kinds[K][];
  if (begin < forgotten) return readList(kind, signal);
  if (kind in LATEST_MAX) for (const item of items) noteTimes(item);
  const missed = recent
    .slice(begin - forgotten)
    .flatMap(listChanges)
    .filter((change) => change.kind === kind);
  return applyChanges(collectionOf(items, SHAPES[kind]), missed, SHAPES[kind]);
}

/** The options of a list's query. */
function listQuery<K extends Kind>(kind: K) {
  return {
    queryKey: listKey(kind),
    queryFn: ({ signal }: { signal: AbortSignal }) => readList(kind, signal),
    staleTime: Number.POSITIVE_INFINITY,
    structuralSharing: false,
  } as const;
}

const EMPTY: readonly never[] = [];
const NOWHERE: ReadonlyMap<string, number> = new Map();

/** One object of a list, live; undefined until it was read, and if there is none. */
export function useItem<K extends Kind>(kind: K, key: string | null): Kinds[K] | undefined {
  const list = useQuery(listQuery(kind)).data;
  return list?.items[(list.places ?? NOWHERE).get(key ?? '') ?? -1];
}

/** A list, live. Empty until it was read. */
export function useList<K extends Kind>(kind: K): readonly Kinds[K][] {
  return useQuery(listQuery(kind)).data?.items ?? EMPTY;
}

/** Applies the stream's changes to the lists in the cache. */
export function takeChanges(cache: QueryClient, changes: readonly Change[]): void {
  for (const { object } of changes) noteTimes(object);
  if (recent.length > RECENT_MAX) forgotten += recent.splice(0, RECENT_MAX / 2).length;
  recent.push(...changes);
  for (const [kind, ofKind] of Map.groupBy(changes.flatMap(listChanges), (change) => change.kind)) {
    if (!Object.hasOwn(SHAPES, kind)) continue;
    const known = kind as Kind;
    cache.setQueryData<Collection<unknown>>(listKey(known), (list) =>
      list === undefined ? undefined : trimmed(known, applyChanges(list, ofKind, SHAPES[known] as never)),
    );
  }
}

/** The changes of lists that one change causes: hosts and VMs are also rows; a subtask is in no list. */
function listChanges(change: Change): readonly Change[] {
  const { kind, object } = change;
  if (kind === 'task' && ((object as Task | null)?.parent ?? null) !== null) return [];
  if (kind === 'vm')
    return [change, { ...change, kind: 'vm-row', object: object === null ? null : vmRowOf(object as Vm) }];
  if (kind !== 'host') return [change];
  return [change, { ...change, kind: 'host-row', object: object === null ? null : hostRowOf(object as Host) }];
}

/** Records of what happens name the time at which it did. */
function noteTimes(object: unknown): void {
  const { at, startedAt, endedAt } = (object ?? {}) as { at?: string; startedAt?: string; endedAt?: string | null };
  for (const time of [at, startedAt, endedAt]) noteClusterTime(time);
}

/** Keeps only the latest events and tasks. */
function trimmed(kind: Kind, list: Collection<unknown>): Collection<unknown> {
  const most = LATEST_MAX[kind];
  if (most === undefined || list.items.length <= 1.5 * most) return list;
  return collectionOf(list.items.slice(-most), SHAPES[kind] as never);
}
