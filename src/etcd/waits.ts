/** Waits that end: every one has a limit in milliseconds and may be cut short by a signal or by what it waits for. */
import type { Clock } from '../core/ports/clock.ts';

/** Ends a wait early. `until` must settle before long: each wait hangs a callback on it. */
export interface PauseOptions {
  readonly signal?: AbortSignal | undefined;
  readonly until?: Promise<unknown>;
}

/** Resolves after `limitMs` (at once for 0), or earlier when `signal` aborts or `until` settles. Never rejects. */
export function pause(clock: Clock, limitMs: number, { signal, until }: PauseOptions = {}): Promise<void> {
  if (limitMs <= 0 || signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const cancel = clock.after(limitMs, end);
    signal?.addEventListener('abort', end, { once: true });
    until?.then(end, end);
  });
}

/** `baseMs` doubled for each failure before this one, at most `limitMs`; none for the first. */
export function backoffMs(failures: number, baseMs: number, limitMs: number): number {
  return failures === 0 ? 0 : Math.min(limitMs, baseMs * 2 ** Math.min(failures - 1, 16));
}
