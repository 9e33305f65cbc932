/**
 * Lets simulated time pass as real time does, some times as fast. Guarantees: a turn of the event loop simulates at
 * most TURN_MS_MAX; where the machine is too slow, simulated time falls behind instead of using up the processor.
 */
import { performance } from 'node:perf_hooks';
import type { SimClock } from './sim-clock.ts';

/** Real time between two turns, in ms. */
const EVERY_MS = 2;
/** Simulated time of one turn at most, in ms. */
const TURN_MS_MAX = 200;

export interface PacedTimeOptions {
  readonly clock: SimClock;
  /** Simulated ms in one real ms. */
  readonly speed: number;
  /** Called if an event of the simulation throws: time stands still from then on. */
  readonly onFailed: (error: unknown) => void;
}

/** From its creation to `stop`. */
export class PacedTime {
  readonly #options: PacedTimeOptions;
  #timer: NodeJS.Timeout | undefined;
  #lastMs = performance.now();
  #isStopped = false;

  constructor(options: PacedTimeOptions) {
    this.#options = options;
    this.#next();
  }

  /** Time stands still after the turn under way. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #next(): void {
    if (!this.#isStopped) this.#timer = setTimeout(() => void this.#turn(), EVERY_MS);
  }

  async #turn(): Promise<void> {
    const { clock, speed, onFailed } = this.#options;
    const nowMs = performance.now();
    const passMs = Math.min((nowMs - this.#lastMs) * speed, TURN_MS_MAX);
    this.#lastMs = nowMs;
    try {
      await clock.run(clock.monotonicMs() + passMs);
      this.#next();
    } catch (error) {
      onFailed(error);
    }
  }
}
