/** What every benchmark is given and returns. A benchmark measures and reports; it never asserts a time. */

/** Given to a benchmark by main.ts. */
export interface BenchContext {
  /** Fires at Ctrl-C: the benchmark's waits end, and what was handed to `atEnd` is called. */
  readonly signal: AbortSignal;
  /** Fires at a second Ctrl-C. */
  readonly killSignal: AbortSignal;
  /** The value of `--NAME`, a positive integer; `otherwise` without it. */
  readonly number: (name: string, otherwise: number) => number;
  /** The value of `--NAME` as it was given; undefined without it. */
  readonly text: (name: string) => string | undefined;
  /** A line of progress, on standard error. */
  readonly say: (line: string) => void;
  /** Called once at the end of the run, whatever its outcome; the last one handed in is called first. */
  readonly atEnd: (end: () => Promise<void> | void) => void;
}

/** A figure beside the value that it must reach. */
export interface Bar {
  readonly figure: string;
  /** The required figure in words and numbers, as the issue states it. */
  readonly bar: string;
  readonly measured: number;
  readonly unit: string;
  readonly reached: boolean;
  /** The reason why the bar is missed. */
  readonly limitedBy?: string;
}

/** What a benchmark returns; main.ts adds command line, date and machine. */
export interface BenchResult {
  readonly bars: readonly Bar[];
  /** By figure. */
  readonly summary: Readonly<Record<string, unknown>>;
  /** The measured values, in the order of the runs. */
  readonly samples: Readonly<Record<string, unknown>>;
  /** How the figure was measured, where a reader must know it. */
  readonly method: readonly string[];
}

export type Bench = (context: BenchContext) => Promise<BenchResult>;

/** A bar that is an upper bound. */
export function atMost(figure: string, { measured, max, unit }: { measured: number; max: number; unit: string }): Bar {
  return { figure, bar: `at most ${max} ${unit}`, measured, unit, reached: measured <= max };
}
