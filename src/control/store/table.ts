/** The records under one prefix. Guarantees: an older revision never replaces a newer one, not even one that was deleted. */
import type { Entry } from '../../core/ports/store.ts';

/** One table: what is newest of each key, deletions included. */
export class Table<T> {
  readonly prefix: string;
  readonly #entries = new Map<string, Entry<T>>();
  /** Deletions newer than #completeTo. */
  readonly #deletedAt = new Map<string, number>();
  #completeTo = 0;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  /** The live map, by key without the prefix. Values are those that were noted under it. */
  get entries(): ReadonlyMap<string, Entry<T>> {
    return this.#entries;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): Entry<T> | undefined {
    return this.#entries.get(key);
  }

  keys(): IterableIterator<string> {
    return this.#entries.keys();
  }

  values(): IterableIterator<Entry<T>> {
    return this.#entries.values();
  }

  /** Notes a value (null: deleted) as of `revision`; false where that changes nothing or something newer is known. */
  note(key: string, value: unknown, revision: number): boolean {
    const known = this.#entries.get(key)?.revision ?? Math.max(this.#deletedAt.get(key) ?? 0, this.#completeTo);
    if (known >= revision) return false;
    if (value !== null) {
      this.#entries.set(key, { value: value as T, revision });
      this.#deletedAt.delete(key);
      return true;
    }
    this.#deletedAt.set(key, revision);
    return this.#entries.delete(key);
  }

  /** Every change up to `revision` was noted: a key that is absent now was absent or deleted then, whatever arrives later. */
  completedTo(revision: number): void {
    if (revision <= this.#completeTo) return;
    this.#completeTo = revision;
    for (const [key, at] of this.#deletedAt) if (at <= revision) this.#deletedAt.delete(key);
  }
}
