/**
 * Time that a test controls: no timer is due before the test says so, and due timers fire in order, each at its own
 * instant.
 */
import type { Clock } from '../clock.ts';

/** Unix ms at the beginning of every test. */
const EPOCH_MS = 1_700_000_000_000;

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

/** Starts at 1,000 ms of monotonic time, so that no time is 0 by chance. */
export class ManualClock implements Clock {
  #now = 1_000;
  #timers: Timer[] = [];

  wallMs(): number {
    return EPOCH_MS + this.#now;
  }

  monotonicMs(): number {
    return this.#now;
  }

  /** The number of waiting timers. */
  get waiting(): number {
    return this.#timers.length;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.#now + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  /** Lets `ms` pass, and runs everything that follows from the timers that become due. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await settled();
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((each) => each !== next);
      this.#now = next.at;
      next.callback();
      await settled();
    }
    this.#now = until;
  }
}

/** More than any chain of promises in a test is long. */
const TURNS = 200;

/** Resolves when everything that waits only for promises has happened. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await Promise.resolve();
}
