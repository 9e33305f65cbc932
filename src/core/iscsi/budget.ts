/**
 * Bytes that several takers share. Guarantees: the bytes that are taken and not given back never exceed the total, with
 * one exception: a taker that has nothing may take more than the total while nobody else has anything; waiting takers
 * are woken in the order of asking.
 */

/** A bound on memory. */
export class Budget {
  readonly #total: number;
  readonly #waiting = new Set<() => void>();
  #taken = 0;

  constructor(totalBytes: number) {
    this.#total = totalBytes;
  }

  /** Takes the bytes; false: not now, and `wake` is called once when a new attempt makes sense. */
  take(bytes: number, wake: () => void): boolean {
    if (this.#taken > 0 && this.#taken + bytes > this.#total) {
      this.#waiting.add(wake);
      return false;
    }
    this.#taken += bytes;
    return true;
  }

  /** Gives bytes back. */
  give(bytes: number): void {
    this.#taken -= bytes;
    if (bytes === 0 || this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Forgets somebody who waits. */
  forget(wake: () => void): void {
    this.#waiting.delete(wake);
  }
}
