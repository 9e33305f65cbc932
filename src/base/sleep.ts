/** Waiting for time alone: between bounded retries and in polls that have a deadline, never instead of a condition. */

/** A clock that can call back later; every Clock can. */
export interface Timer {
  /** Calls back once after `delayMs`; the returned function cancels the call. */
  after(delayMs: number, callback: () => void): () => void;
}

/** The part of an AbortSignal that a wait needs, for code that is compiled without the type itself. */
export interface WakeSignal {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** Options that end a wait early. `until` must settle soon: each wait adds a callback to it. */
export interface SleepOptions {
  readonly signal?: WakeSignal | undefined;
  readonly until?: Promise<unknown>;
}

/**
 * Resolves after `limitMs` (at once for 0), or earlier when `signal` aborts or `until` settles. Never rejects: code
 * that must end with the signal calls `signal.throwIfAborted()` afterwards.
 */
export function sleep(timer: Timer, limitMs: number, { signal, until }: SleepOptions = {}): Promise<void> {
  if (limitMs <= 0 || signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const cancel = timer.after(limitMs, end);
    signal?.addEventListener('abort', end, { once: true });
    until?.then(end, end);
  });
}
