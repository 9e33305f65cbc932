/**
 * Waits that end. Guarantees: a wait ends at its deadline or when its signal fires, its timer is cleared whichever way
 * it ends, and an answer that was already in a socket when the timer fired is still taken.
 */

import { CodedError } from '../base/errors.ts';
import { monotonicMs } from './monotonic.ts';

export interface DeadlineOptions {
  /** How long from now, in milliseconds, > 0. */
  readonly deadlineMs: number;
  /** Ends the wait early; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** The thing that is waited for, for the error: "the answer of host h1". */
  readonly what: string;
}

/**
 * How many milliseconds later than asked we are: large when this process itself was stalled (stopped, swapped, busy).
 * Silence measured while stalled is no evidence about the peer.
 */
export function lateBy({ startedMs, deadlineMs }: { readonly startedMs: number; readonly deadlineMs: number }): number {
  return Math.max(0, monotonicMs() - startedMs - deadlineMs);
}

/**
 * Calls `callback` once, `deadlineMs` from now, after one more turn of the event loop's poll phase: if the process was
 * stalled, data that arrived in the meantime is handled before the deadline is declared. Returns the function that
 * cancels it.
 */
export function onDeadline(deadlineMs: number, callback: (lateByMs: number) => void): () => void {
  const startedMs = monotonicMs();
  let immediate: NodeJS.Immediate | undefined;
  const timer = setTimeout(() => {
    const lateByMs = lateBy({ startedMs, deadlineMs });
    immediate = setImmediate(() => callback(lateByMs));
  }, deadlineMs);
  return () => {
    clearTimeout(timer);
    if (immediate !== undefined) clearImmediate(immediate);
  };
}

/** One signal that fires when any of the given ones does; the absent ones are skipped. */
export function anySignal(...signals: readonly (AbortSignal | undefined)[]): AbortSignal {
  return AbortSignal.any(signals.filter((signal) => signal !== undefined));
}

/** The error for a passed deadline. `lateByMs` is named when this process itself was late. */
export function deadlineError(what: string, deadlineMs: number, lateByMs = 0): CodedError {
  const late = lateByMs < 50 ? '' : ` (this process was itself late by ${Math.round(lateByMs)} ms)`;
  return new CodedError('deadline', `No end of ${what} within ${deadlineMs} ms${late}.`);
}

/**
 * The result of `start`, or CodedError 'deadline' after `deadlineMs`, or the reason of `signal`. `start` gets a signal
 * that fires in both cases and must then release its resources; a later result is dropped.
 */
export function withDeadline<T>(
  start: (signal: AbortSignal) => Promise<T>,
  { deadlineMs, signal, what }: DeadlineOptions,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason);
      return;
    }
    const inner = new AbortController();
    const settle = (finish: () => void): void => {
      cancelTimer();
      signal?.removeEventListener('abort', onAbort);
      finish();
    };
    const giveUp = (reason: unknown): void =>
      settle(() => {
        reject(reason);
        inner.abort(reason);
      });
    const onAbort = (): void => giveUp(signal?.reason);
    const cancelTimer = onDeadline(deadlineMs, (lateByMs) => giveUp(deadlineError(what, deadlineMs, lateByMs)));
    signal?.addEventListener('abort', onAbort, { once: true });
    // Through a promise: a throw before the first await of `start` is a rejection like any other.
    new Promise<T>((resolveStart) => resolveStart(start(inner.signal))).then(
      (value) => settle(() => resolve(value)),
      (error: unknown) => settle(() => reject(error)),
    );
  });
}
