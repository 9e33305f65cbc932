/**
 * While a node leads: files that nothing names go, and storage nodes get the images that they lack (because they were away, or joined
 * later). One round after the other; `stop` ends the one under way.
 */
import { messageOf } from '../../base/errors.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { Log } from '../../core/ports/log.ts';

const INTERVAL_MS = 15_000;

/** What one round did, for the log. */
export interface Kept {
  readonly deleted: readonly string[];
  readonly copied: readonly string[];
  readonly failed: readonly string[];
}

/** Keeps images every 15 s from `start` to `stop`; a failure is logged and the next round tries again. */
export class ImageKeeper {
  readonly #options: {
    readonly clock: Clock;
    readonly log: Log;
    readonly keep: (signal: AbortSignal) => Promise<Kept>;
  };
  #over: AbortController | null = null;

  constructor(options: {
    readonly clock: Clock;
    readonly log: Log;
    readonly keep: (signal: AbortSignal) => Promise<Kept>;
  }) {
    this.#options = options;
  }

  start(): void {
    this.stop();
    const over = new AbortController();
    this.#over = over;
    this.#next(over.signal);
  }

  stop(): void {
    this.#over?.abort();
    this.#over = null;
  }

  #next(signal: AbortSignal): void {
    const cancel = this.#options.clock.after(INTERVAL_MS, () => {
      signal.removeEventListener('abort', cancel);
      void this.#round(signal);
    });
    signal.addEventListener('abort', cancel, { once: true });
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { keep, log } = this.#options;
    try {
      const { deleted, copied, failed } = await keep(signal);
      if (deleted.length + copied.length > 0) log.info('image files', { deleted, copied });
      if (failed.length > 0) log.warn('image files', { failed });
    } catch (error) {
      if (!signal.aborted) log.warn('keeping images failed', { error: messageOf(error) });
    }
    if (!signal.aborted) this.#next(signal);
  }
}
