/** Time, as the core may know it. The real one stands on the operating system, the simulated one on an event queue. */
export interface Clock {
  /** Unix time in ms: for people and for durations that survive a leader; may jump. */
  wallMs(): number;
  /** Monotonic ms since some start: for everything measured within one process. */
  monotonicMs(): number;
  /** Calls back once after `delayMs`; the answer cancels it. */
  after(delayMs: number, callback: () => void): () => void;
}

/** Resolves after `delayMs`. */
export function pause(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => void clock.after(delayMs, resolve));
}
