/**
 * Decides whether a small read or write may be done synchronously, on the thread that serves all sessions. Node reaches
 * no preadv2(RWF_NOWAIT) and no mincore, so there is no way to ask whether a page is in the cache; but slow operations
 * can be seen. Guarantees: after a synchronous operation that waited for the disk, the following ones are asynchronous
 * for a time that doubles with each such event (20 ms to 2 s) and starts again after many quick ones: a file larger
 * than memory costs other sessions at most one disk access in each of these times, not one per read.
 */

/** An operation that took longer than this was not just a copy. */
const SLOW_MS = 0.4;
const PENALTY_MS_MIN = 20;
const PENALTY_MS_MAX = 2_000;
/** After this many quick operations in a row, the disk counts as quick again. */
const QUICK_IN_A_ROW = 4_096;

/** The facts on which the guess is based. */
export interface InlineIoPort {
  monotonicMs(): number;
  /**
   * Counts disk accesses of this process as far as the kernel reports them; a slow operation without one was only a
   * busy processor.
   */
  diskAccesses(): number;
}

/** One per file and direction. */
export class InlineIo {
  readonly #port: InlineIoPort;
  #penaltyMs = PENALTY_MS_MIN;
  #blockedUntilMs = 0;
  #isBlocked = false;
  #quick = 0;
  #accesses: number;

  constructor(port: InlineIoPort) {
    this.#port = port;
    this.#accesses = port.diskAccesses();
  }

  /** Does `operation` synchronously and answers true, or answers false if it should be done asynchronously. */
  attempt(operation: () => void): boolean {
    const startedMs = this.#port.monotonicMs();
    if (this.#isBlocked) {
      if (startedMs < this.#blockedUntilMs) return false;
      this.#isBlocked = false;
      this.#accesses = this.#port.diskAccesses();
    }
    operation();
    const endedMs = this.#port.monotonicMs();
    if (endedMs - startedMs > SLOW_MS) this.#slow(endedMs);
    else if (++this.#quick === QUICK_IN_A_ROW) this.#penaltyMs = PENALTY_MS_MIN;
    return true;
  }

  #slow(nowMs: number): void {
    const accesses = this.#port.diskAccesses();
    if (accesses === this.#accesses) return;
    this.#accesses = accesses;
    this.#quick = 0;
    this.#isBlocked = true;
    this.#blockedUntilMs = nowMs + this.#penaltyMs;
    this.#penaltyMs = Math.min(PENALTY_MS_MAX, this.#penaltyMs * 2);
  }
}
