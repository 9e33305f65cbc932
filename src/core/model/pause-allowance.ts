/**
 * For how long a guest may be held still at the end of its live migration. A source copies memory pass by pass and
 * stops the guest as soon as it expects to send the rest within this (QEMU's `downtime-limit`, migration.json): a short
 * one first, which most guests need, and more for one that writes about as fast as it is copied, until it is what QEMU
 * takes by itself.
 */

/** What sending begins with, in ms. Below, the switch-over itself is the longer part. */
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
