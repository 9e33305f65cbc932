/**
 * Decides when a process that ended by itself, or could not be started, is started again. Guarantees: at once the first
 * time; after that at growing intervals, up to RESTART_MS_MAX, until one process has run for STEADY_MS. A process that
 * can never run (its files are gone, its pool is not mounted) does not use up the node's processors.
 */
import type { Clock } from '../ports/clock.ts';

const RESTART_MS_MIN = 1_000;
const RESTART_MS_MAX = 30_000;
const STEADY_MS = 30_000;

/** The restarts of one process. */
export class Restarts {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #startedAtMs: number | null = null;
  #failures = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** Whether the process may be restarted without an order now; an order starts it at any time. */
  get isDue(): boolean {
    return this.#clock.monotonicMs() >= this.#notBeforeMs;
  }

  /** The process runs. */
  started(): void {
    this.#startedAtMs = this.#clock.monotonicMs();
  }

  /** The process ended by itself, or did not start. */
  ended(): void {
    const now = this.#clock.monotonicMs();
    if (this.#startedAtMs !== null && now - this.#startedAtMs >= STEADY_MS) this.#failures = 0;
    this.#startedAtMs = null;
    this.#failures += 1;
    const delayMs = this.#failures === 1 ? 0 : RESTART_MS_MIN * 2 ** (this.#failures - 2);
    this.#notBeforeMs = now + Math.min(delayMs, RESTART_MS_MAX);
  }
}
