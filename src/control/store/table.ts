/**
 * The records under one prefix. Guarantees: an older revision never replaces a newer one, not even one that was
 * deleted.
 */
import { KeyOrder } from '../../base/key-order.ts';
import type { Entry } from '../../core/ports/store.ts';

/** How a table is listed: every key has a place of its own. */
export interface Listing<T> {
  placeOf(key: string, entry: Entry<T>): string;
  keyAt(place: string): string;
}

/** Lists by key. */
const BY_KEY: Listing<unknown> = { placeOf: (key) => key, keyAt: (place) => place };

/**
 * One table: what is newest of each key, deletions included. `K`: the identifier that the part of a key after the
 * prefix is; the records' shapes see to that (core/model/record-shapes.ts).
 */
export class Table<T, K extends string = string> {
  readonly prefix: string;
  readonly #entries = new Map<K, Entry<T>>();
  /** Deletions newer than #completeTo. */
  readonly #deletedAt = new Map<string, number>();
  #completeTo = 0;
  readonly #listing: Listing<T>;
  #order: KeyOrder | null = null;

  constructor(prefix: string, listing: Listing<T> = BY_KEY) {
    this.prefix = prefix;
    this.#listing = listing;
  }

  /** The places of all entries in listing order. Sorted on first use, and kept in order from then on. */
  get order(): KeyOrder {
    this.#order ??= new KeyOrder(
      (function* (entries, listing) {
        for (const [key, entry] of entries) yield listing.placeOf(key, entry);
      })(this.#entries, this.#listing),
    );
    return this.#order;
  }

  /** Returns the entry at a place of `order`; undefined if the entry is gone. */
  atPlace(place: string): Entry<T> | undefined {
    return this.get(this.#listing.keyAt(place));
  }

  /** The live map, by key without the prefix. Values are those that were noted under it. */
  get entries(): ReadonlyMap<K, Entry<T>> {
    return this.#entries;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): Entry<T> | undefined {
    return this.#entries.get(key as K);
  }

  keys(): IterableIterator<K> {
    return this.#entries.keys();
  }

  values(): IterableIterator<Entry<T>> {
    return this.#entries.values();
  }

  /** Returns true if `revision` is newer than the known revision of the key. */
  isNews(key: string, revision: number): boolean {
    const known = this.get(key)?.revision ?? Math.max(this.#deletedAt.get(key) ?? 0, this.#completeTo);
    return known < revision;
  }

  /** Notes a value (null: deleted) as of `revision`; false if that changes nothing or something newer is known. */
  note(key: string, value: unknown, revision: number): boolean {
    if (!this.isNews(key, revision)) return false;
    const before = this.get(key);
    if (value !== null) {
      const entry = { value: value as T, revision };
      this.#entries.set(key as K, entry);
      this.#move(key, before, entry);
      this.#deletedAt.delete(key);
      return true;
    }
    this.#move(key, before, undefined);
    this.#deletedAt.set(key, revision);
    return this.#entries.delete(key as K);
  }

  /**
   * Every change up to `revision` was noted: a key that is absent now was absent or deleted then, even if older changes
   * arrive later.
   */
  completedTo(revision: number): void {
    if (revision <= this.#completeTo) return;
    this.#completeTo = revision;
    for (const [key, at] of this.#deletedAt) if (at <= revision) this.#deletedAt.delete(key);
  }

  #move(key: string, before: Entry<T> | undefined, after: Entry<T> | undefined): void {
    if (this.#order === null) return;
    const from = before === undefined ? undefined : this.#listing.placeOf(key, before);
    const to = after === undefined ? undefined : this.#listing.placeOf(key, after);
    if (from === to) return;
    if (from !== undefined) this.#order.delete(from);
    if (to !== undefined) this.#order.add(to);
  }
}
