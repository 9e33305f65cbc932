/**
 * What time it is in the cluster, as far as its records tell: the clock of the browser may be another. The latest time
 * that any record named is a lower bound; between two records the browser's clock counts on.
 */

let aheadMs = Number.NEGATIVE_INFINITY;

/** Takes a time that a record names. */
export function noteClusterTime(time: string | null | undefined): void {
  if (time === null || time === undefined) return;
  aheadMs = Math.max(aheadMs, Date.parse(time) - Date.now());
}

/** The present by the cluster's clock, in ms since 1970; the browser's where no record was seen yet. */
export function clusterNowMs(): number {
  return Date.now() + (Number.isFinite(aheadMs) ? aheadMs : 0);
}
