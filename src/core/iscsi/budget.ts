/**
 * Bytes that several takers share. Guarantees: what was taken and not given back never exceeds the total, but for one
 * taker that has nothing and needs more than the total while nobody has anything; who waits is woken in the order of
 * asking.
 */

/** A bound on memory. */
export class Budget {
  readonly #total: number;
  readonly #waiting = new Set<() => void>();
  #taken = 0;

  constructor(totalBytes: number) {
    this.#total = totalBytes;
  }

  /** Takes the bytes; false: not now, and `wake` is called once when it may be tried again. */
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
