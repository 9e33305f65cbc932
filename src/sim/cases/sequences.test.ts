/** The short sequences; all of them play in sequences.sim.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runSequences, STEPS, sequencesUpTo, VMS_AT_ONCE } from './sequences.ts';

test('they are all there: every sequence of one to four steps, each once, with nothing after a stop', () => {
  const all = sequencesUpTo(4);
  assert.equal(all.length, 5 + 4 * 5 + 4 ** 2 * 5 + 4 ** 3 * 5);
  assert.equal(new Set(all.map((sequence) => sequence.join())).size, all.length);
  assert.deepEqual(
    sequencesUpTo(1),
    STEPS.map((step) => [step]),
  );
});

test('whatever is done with a VM first, its guest keeps its memory unless it was reset', async () => {
  const sequences = sequencesUpTo(1);
  assert(sequences.length <= VMS_AT_ONCE);
  assert.deepEqual(await runSequences({ seed: 1, sequences, gapMs: null }), []);
});
