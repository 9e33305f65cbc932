/** Waits that end: every one has a limit in milliseconds and may be cut short by a signal or by what it waits for. */

/** Monotonic milliseconds; goes on while the process is stopped. */
export function monotonicMs(): number {
  return performance.now();
}

/** Resolves after `limitMs`, or earlier when `signal` aborts or `until` settles. Never rejects. */
export function pause(limitMs: number, signal?: AbortSignal, until?: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, Math.max(0, limitMs));
    if (signal?.aborted) end();
    else signal?.addEventListener('abort', end, { once: true });
    until?.then(end, end);
  });
}

/** `baseMs` doubled for each failure before this one, at most `limitMs`; none for the first. */
export function backoffMs(failures: number, baseMs: number, limitMs: number): number {
  return failures === 0 ? 0 : Math.min(limitMs, baseMs * 2 ** Math.min(failures - 1, 16));
}
