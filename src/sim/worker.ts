/** A thread that plays the runs of the seeds it is given, one after the other, and says how each ended. */
import { parentPort } from 'node:worker_threads';
import { findBug } from './faults/planted-bugs.ts';
import { drawRoll, type RollSize } from './faults/swarm.ts';
import { type Outcome, runSeed } from './run.ts';

/** What a thread is told: the next seed. */
export interface Job {
  readonly seed: number;
  readonly bug: string | null;
  /** A run in which all hosts are rolled over; null: what the seed draws. */
  readonly roll: RollSize | null;
  readonly stopAtFirst: boolean;
  /** Whether a digest of the log is wanted, to compare it with another run's. */
  readonly digest: boolean;
}

/** What it answers. `logDigest`: FNV-1a of the log's characters, 0 where it was not wanted. */
export interface JobDone extends Outcome {
  readonly logDigest: number;
}

parentPort?.on('message', ({ seed, bug, roll, stopAtFirst, digest }: Job) => {
  let logDigest = digest ? 0x811c9dc5 : 0;
  const log = (line: string): void => {
    for (let i = 0; i < line.length; i++) logDigest = Math.imul(logDigest ^ line.charCodeAt(i), 0x01000193);
  };
  const swarm = roll === null ? {} : { swarm: drawRoll(seed, roll) };
  const options = { ...swarm, ...(bug === null ? {} : { bug: findBug(bug) }), ...(digest ? { log } : {}), stopAtFirst };
  void runSeed(seed, options).then((outcome) => parentPort?.postMessage({ ...outcome, logDigest } satisfies JobDone));
});
