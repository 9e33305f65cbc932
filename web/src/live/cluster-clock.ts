/**
 * The present time in the cluster, as far as its records show it: the clock of the browser may differ. The latest time
 * in any record is a lower bound; between two records the browser's clock counts on.
 */

let aheadMs = Number.NEGATIVE_INFINITY;

/** Takes in a time that a record contains. */
export function noteClusterTime(time: string | null | undefined): void {
  if (time === null || time === undefined) return;
  aheadMs = Math.max(aheadMs, Date.parse(time) - Date.now());
}

/** The present by the cluster's clock, in ms since 1970; the browser's where no record was seen yet. */
export function clusterNowMs(): number {
  return Date.now() + (Number.isFinite(aheadMs) ? aheadMs : 0);
}
