/** The records under one prefix. Guarantees: an older revision never replaces a newer one, not even one that was deleted. */
import type { Entry } from '../../core/ports/store.ts';

export class Table<T> {
  readonly prefix: string;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #deletedAt = new Map<string, number>();

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

  /** Notes a value (null: deleted) as of `revision`; false where something at least as new is known. */
  note(key: string, value: unknown, revision: number): boolean {
    const known = this.#entries.get(key)?.revision ?? this.#deletedAt.get(key) ?? 0;
    if (known > revision || (known === revision && (value !== null) === this.#entries.has(key))) return false;
    if (value === null) {
      if (!this.#entries.delete(key)) return false;
      this.#deletedAt.set(key, revision);
    } else {
      this.#entries.set(key, { value: value as T, revision });
      this.#deletedAt.delete(key);
    }
    return true;
  }

  /** What was deleted up to `revision` cannot come back any more: the watch is past it. */
  forgetDeletionsBefore(revision: number): void {
    if (this.#deletedAt.size === 0) return;
    for (const [key, at] of this.#deletedAt) if (at <= revision) this.#deletedAt.delete(key);
  }
}
