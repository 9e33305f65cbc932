import type { Timer } from '../../base/sleep.ts';

/** Time, as the core may know it. The real one stands on the operating system, the simulated one on an event queue. */
export interface Clock extends Timer {
  /** Unix time in ms: for people and for durations that survive a leader; may jump. */
  wallMs(): number;
  /** Monotonic ms since some start: for everything measured within one process. */
  monotonicMs(): number;
}
