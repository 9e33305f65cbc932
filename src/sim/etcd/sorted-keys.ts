/**
 * A set of keys in order, for listing by prefix without looking at all of them. Order is that of UTF-16 code units,
 * which for the ASCII keys of this project is etcd's order of bytes. Adding, removing and finding cost O(log n) and a
 * chunk.
 */

const CHUNK_KEYS_MAX = 512;

/** Chunks of sorted keys, none of them empty, each wholly before the next. */
export class SortedKeys {
  readonly #chunks: string[][] = [];

  /** Adds a key that is not in the set. */
  add(key: string): void {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at];
    if (chunk === undefined) {
      this.#chunks.push([key]);
      return;
    }
    chunk.splice(lowerBound(chunk, key), 0, key);
    if (chunk.length > CHUNK_KEYS_MAX) this.#chunks.splice(at + 1, 0, chunk.splice(chunk.length >> 1));
  }

  /** Removes a key; one that is not in the set is no error. */
  delete(key: string): void {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at];
    if (chunk === undefined) return;
    const index = lowerBound(chunk, key);
    if (chunk[index] !== key) return;
    chunk.splice(index, 1);
    if (chunk.length === 0) this.#chunks.splice(at, 1);
  }

  /** The keys that start with `prefix`, in order. The set must not change meanwhile. */
  *startingWith(prefix: string): Generator<string, void, void> {
    let at = this.#chunkOf(prefix);
    let index = lowerBound(this.#chunks[at] ?? [], prefix);
    for (; at < this.#chunks.length; at += 1, index = 0) {
      const chunk = this.#chunks[at] ?? [];
      for (; index < chunk.length; index += 1) {
        const key = chunk[index] ?? '';
        if (!key.startsWith(prefix)) return;
        yield key;
      }
    }
  }

  /** The last chunk that begins at or before `key`, else the first. */
  #chunkOf(key: string): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#chunks[middle]?.[0] ?? '') <= key) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

/** The index of the first key that is not before `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((keys[middle] ?? '') < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
