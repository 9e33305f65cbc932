import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { findBug } from './faults/planted-bugs.ts';
import { runSeed } from './run.ts';
import { runSeeds } from './seeds.ts';
import type { JobDone } from './worker.ts';

const SEEDS = 12;

async function logOf(seed: number): Promise<string> {
  const lines: string[] = [];
  await runSeed(seed, { log: (line) => lines.push(line) });
  return lines.join('\n');
}

async function playedBy(threads: number): Promise<readonly JobDone[]> {
  const outcomes: JobDone[] = [];
  await runSeeds({
    from: 1,
    count: SEEDS,
    threads,
    bug: null,
    stopAtFirst: false,
    digest: true,
    signal: new AbortController().signal,
    onOutcome: (outcome) => {
      outcomes.push(outcome);
      return false;
    },
  });
  return outcomes.sort((a, b) => a.seed - b.seed);
}

test('the same seed gives the same log, to the last character', async () => {
  for (const seed of [3, 4, 5]) {
    const log = await logOf(seed);
    assert.ok(log.split('\n').length > 50);
    assert.equal(await logOf(seed), log);
  }
});

test('however the seeds are spread over threads, each gives the same log', async () => {
  const one = await playedBy(1);
  assert.equal(one.length, SEEDS);
  assert.equal(new Set(one.map(({ logDigest }) => logDigest)).size, SEEDS);
  assert.deepEqual(await playedBy(2), one);
});

test('whether anybody reads the log changes nothing', async () => {
  const seen = await runSeed(7);
  assert.deepEqual(await runSeed(7, { log: () => undefined }), seen);
});

test('a run with a mistake ends at the first broken rule where it is told to', async () => {
  const bug = findBug('skip-the-fence');
  const first = await runSeed(1, { bug, stopAtFirst: true });
  const all = await runSeed(1, { bug });
  assert.equal(first.violations[0]?.rule, 'G5-cont-current-and-fenced');
  assert.deepEqual(all.violations[0], first.violations[0]);
  assert.ok(first.simulatedMs < all.simulatedMs);
});

test('many seeds end early when they are told to, and with the reason why', async () => {
  const stop = new AbortController();
  const reason = new CodedError('unavailable', 'enough');
  const options = { from: 1, count: 1_000, threads: 2, bug: null, stopAtFirst: true, signal: stop.signal };
  const played = runSeeds({
    ...options,
    onOutcome: () => {
      stop.abort(reason);
      return false;
    },
  });
  await assert.rejects(played, reason);
  let count = 0;
  await runSeeds({ ...options, signal: new AbortController().signal, onOutcome: () => ++count === 3 });
  assert.ok(count >= 3 && count < 10);
});

test('a run ends when it is told to by a signal, though it never waits for anything', async () => {
  const stop = new AbortController();
  const reason = new CodedError('unavailable', 'enough');
  const lines: string[] = [];
  const played = runSeed(3, { log: (line) => lines.push(line), signal: stop.signal });
  setImmediate(() => stop.abort(reason));
  await assert.rejects(played, reason);
  assert.ok(lines.length < (await logOf(3)).split('\n').length);
});

test('an unknown mistake is named with those that are known', () => {
  assert.throws(() => findBug('none'), /no planted bug "none".*/);
});
