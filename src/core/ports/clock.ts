import type { Timer } from '../../base/sleep.ts';

/** The core's access to time. The real clock uses the operating system, the simulated one an event queue. */
export interface Clock extends Timer {
  /** Unix time in ms: for people and for durations that survive a leader; may jump. */
  wallMs(): number;
  /** Monotonic ms since some start: for everything measured within one process. */
  monotonicMs(): number;
}
