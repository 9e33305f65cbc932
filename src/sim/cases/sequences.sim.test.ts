import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runSequences, sequencesUpTo, VMS_AT_ONCE } from './sequences.ts';

const STEPS_MAX = 4;
/** Pauses between steps in ms, for sequences that do not wait for the previous step. */
const GAPS_MS = [5, 120, 700];
/** Shorter sequences are prefixes of these. */
const LONGEST = sequencesUpTo(STEPS_MAX).filter(({ length }) => length === STEPS_MAX);

const ALL = sequencesUpTo(STEPS_MAX);

function inGroups<T>(list: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}

test('whatever is done with a VM step by step, its guest keeps its memory unless it was reset, and every task succeeds', async () => {
  for (const [seed, sequences] of inGroups(ALL, VMS_AT_ONCE).entries())
    assert.deepEqual(await runSequences({ seed, sequences, gapMs: null }), []);
});

for (const gapMs of GAPS_MS) {
  test(`whatever is done with a VM every ${gapMs} ms, its guest is never started anew`, async () => {
    for (const [seed, sequences] of inGroups(LONGEST, VMS_AT_ONCE).entries())
      assert.deepEqual(await runSequences({ seed, sequences, gapMs }), []);
  });
}
