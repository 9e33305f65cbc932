/** Summaries of samples. Pure. Percentiles are nearest-rank: always a value that was measured. */

export interface Summary {
  readonly runs: number;
  readonly median: number;
  readonly p95: number;
  readonly min: number;
  readonly max: number;
}

/** Summarizes at least one sample, in the samples' unit, rounded to a tenth. */
export function summarize(samples: readonly number[]): Summary {
  const sorted = [...samples].sort((a, b) => a - b);
  return {
    runs: sorted.length,
    median: rounded(median(sorted)),
    p95: rounded(percentile(sorted, 95)),
    min: rounded(percentile(sorted, 0)),
    max: rounded(percentile(sorted, 100)),
  };
}

/** The middle sample, or the mean of the two in the middle. NaN without samples. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  return Number.isInteger(middle) ? ((sorted[middle - 1] ?? upper) + upper) / 2 : upper;
}

/** Rounds to a tenth: the measurements are no more exact than that. */
export function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}

/** The percentile of samples in ascending order; `percent` from 0 to 100. NaN without samples. */
export function percentile(sorted: readonly number[], percent: number): number {
  const rank = Math.max(1, Math.ceil((percent / 100) * sorted.length));
  return sorted[rank - 1] ?? Number.NaN;
}
