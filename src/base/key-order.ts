/**
 * Keeps unique keys in sorted order while keys are added and removed, so that a page of a long list can be read without
 * sorting the list.
 *
 * Guarantees: the order is that of JavaScript's `<` on strings; adding and removing a key costs one binary search and
 * one memory move.
 */
export class KeyOrder {
  readonly #keys: string[];

  constructor(keys: Iterable<string> = []) {
    this.#keys = [...new Set(keys)].sort();
  }

  get size(): number {
    return this.#keys.length;
  }

  /** Returns the key at an index from 0; undefined if the index is out of range. */
  at(index: number): string | undefined {
    return index < 0 ? undefined : this.#keys[index];
  }

  /** Returns how many keys sort before `key`, whether or not `key` is present. */
  placeOf(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#keys[middle] ?? '') < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  has(key: string): boolean {
    return this.#keys[this.placeOf(key)] === key;
  }

  add(key: string): void {
    const place = this.placeOf(key);
    if (this.#keys[place] !== key) this.#keys.splice(place, 0, key);
  }

  delete(key: string): void {
    const place = this.placeOf(key);
    if (this.#keys[place] === key) this.#keys.splice(place, 1);
  }
}
