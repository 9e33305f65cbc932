/**
 * How long a guest may be paused at the end of its live migration. A source copies memory pass by pass and stops the
 * guest as soon as it expects to send the rest within this (QEMU's `downtime-limit`, migration.json): a short one
 * first, which suffices for most guests, and longer ones for a guest that writes about as fast as it is copied, up to
 * QEMU's own default.
 */

/** The allowance at the beginning of sending, in ms. Below this, the switch-over itself takes longer. */
export const FIRST_PAUSE_MS = 50;
/** The most, in ms: QEMU's default. */
export const LONGEST_PAUSE_MS = 300;
/** Passes with each allowance; then it is doubled. The first pass is over all of memory. */
const PASSES_EACH = 3;

/**
 * The allowance in the pass given (from 1; 0 before the first), in ms. `longestMs`: what the owner of the VM allows
 * beyond LONGEST_PAUSE_MS; 0 where nothing.
 */
export function pauseAllowedMs(passes: number, longestMs = 0): number {
  const doublings = Math.floor(Math.max(0, passes - 1) / PASSES_EACH);
  return Math.min(Math.max(LONGEST_PAUSE_MS, longestMs), FIRST_PAUSE_MS * 2 ** doublings);
}
