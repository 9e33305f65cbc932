/**
 * Lists of the cluster's objects as the browser keeps them. Pure. Guarantees: a change replaces only what is older than
 * it, so a list that was read while changes came in is as new as the newest of both; the order of a list never changes
 * by an update.
 */

/** A list and the place of each object in it, by key. Never changed in place. */
export interface Collection<T> {
  readonly items: readonly T[];
  readonly places: ReadonlyMap<string, number>;
}

/** The change of one object: `object` is null if it was deleted. */
export interface Change {
  readonly revision: string;
  readonly kind: string;
  readonly name: string;
  readonly object: unknown;
}

/** How the objects of a list are told apart, and which of two states of one object is newer. */
export interface Shape<T> {
  readonly keyOf: (item: T) => string;
  readonly revisionOf: (item: T) => string | null;
}

/** Makes a collection of what was listed. */
export function collectionOf<T>(items: readonly T[], shape: Shape<T>): Collection<T> {
  return { items, places: new Map(items.map((item, place) => [shape.keyOf(item), place])) };
}

/** Whether revision `a` is older than `b`: decimal numbers of any length. */
export function isOlder(a: string, b: string): boolean {
  return a.length === b.length ? a < b : a.length < b.length;
}

/** Applies changes in order; returns the same collection where nothing is new. */
export function applyChanges<T>(collection: Collection<T>, changes: readonly Change[], shape: Shape<T>): Collection<T> {
  let items: T[] | null = null;
  const places = new Map(collection.places);
  const deleted = new Set<string>();
  for (const { revision, name, object } of changes) {
    const current = items ?? collection.items;
    if (object === null) {
      const place = places.get(name);
      const item = place === undefined ? undefined : current[place];
      if (item === undefined || isOlder(revision, shape.revisionOf(item) ?? '0')) continue;
      deleted.add(name);
      continue;
    }
    const item = object as T;
    const key = shape.keyOf(item);
    const place = places.get(key);
    const known = place === undefined ? undefined : current[place];
    if (known !== undefined && isOlder(revision, shape.revisionOf(known) ?? '0')) continue;
    deleted.delete(key);
    items ??= [...collection.items];
    places.set(key, place ?? items.length);
    items[place ?? items.length] = item;
  }
  if (deleted.size > 0) {
    const left = (items ?? collection.items).filter((item) => !deleted.has(shape.keyOf(item)));
    return collectionOf(left, shape);
  }
  return items === null ? collection : { items, places };
}
