/** This machine's time, as the port of code that also runs in simulated time (core/ports/clock.ts). */
import { monotonicMs } from './monotonic.ts';

/** Timers keep the process alive until they fire or are cancelled. */
export const systemClock = {
  /** Unix time in ms; may jump. */
  wallMs: (): number => Date.now(),
  /** CLOCK_MONOTONIC in ms, with fraction. */
  monotonicMs,
  /** Calls back once after `delayMs`; the answer cancels it. */
  after: (delayMs: number, callback: () => void): (() => void) => {
    const timer = setTimeout(callback, Math.max(0, delayMs));
    return () => clearTimeout(timer);
  },
} as const;
