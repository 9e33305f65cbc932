/**
 * Many runs, spread over the cores. Guarantees: every seed is played once, in a thread that plays nothing else
 * meanwhile; all threads end with the call, whatever ends it; a thread that dies fails the call.
 */
import { Worker } from 'node:worker_threads';
import { CodedError } from '../base/errors.ts';
import type { RollSize } from './faults/swarm.ts';
import type { Job, JobDone } from './worker.ts';

export interface SeedsOptions {
  readonly from: number;
  readonly count: number;
  readonly threads: number;
  readonly bug: string | null;
  /** Plays runs in which all hosts are rolled over; absent or null: what each seed draws. */
  readonly roll?: RollSize | null;
  /** Ends each run at its first broken rule. */
  readonly stopAtFirst: boolean;
  /** Whether each outcome comes with a digest of its log. */
  readonly digest?: boolean;
  readonly signal: AbortSignal;
  /** Called with each run's end, in the order in which they end; true: no more seeds. */
  readonly onOutcome: (outcome: JobDone) => boolean;
}

/**
 * Plays the seeds `from`, `from` + 1 …; resolves when all have ended, or no more are wanted. Rejects with the signal's
 * reason.
 */
export async function runSeeds(options: SeedsOptions): Promise<void> {
  const { from, count, threads, signal } = options;
  const workers: Worker[] = [];
  const seeds = Array.from({ length: count }, (_, i) => from + i).values();
  try {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      let busy = Math.min(threads, count);
      if (busy === 0) resolve();
      for (let i = Math.min(threads, count); i > 0; i--) {
        const worker = new Worker(new URL('./worker.ts', import.meta.url));
        workers.push(worker);
        let seed = from;
        const next = (isWanted: boolean): void => {
          const following = isWanted ? seeds.next() : { done: true as const, value: undefined };
          if (following.done === true) {
            if (--busy === 0) resolve();
            return;
          }
          seed = following.value;
          const { bug, roll = null, stopAtFirst, digest = false } = options;
          worker.postMessage({ seed, bug, roll, stopAtFirst, digest } satisfies Job);
        };
        worker.on('message', (outcome: JobDone) => {
          const isEnough = options.onOutcome(outcome);
          if (isEnough) resolve();
          else next(true);
        });
        worker.on('error', (cause) =>
          reject(
            new CodedError('failed', `The simulator itself failed with seed ${seed}: ${cause.stack ?? cause.message}`, {
              cause,
              advice: `Again: npm run sim -- --seed ${seed}.`,
            }),
          ),
        );
        next(true);
      }
    });
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}
