/** The clock for measuring waits: never steps backwards, not touched when an administrator sets the time. */

/**
 * Milliseconds (with fraction) of CLOCK_MONOTONIC: comparable between processes of one machine, meaningless across
 * machines.
 */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
