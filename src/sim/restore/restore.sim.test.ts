import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RESTORE_MISTAKES } from './restore-mistakes.ts';
import { runRestore } from './restore-run.ts';

const SEEDS = 40;
const CALM_SEEDS = 10;
/** Seeds from the first on in which each mistake must have been noticed. */
const SEEDS_MAX = 200;

test('G7 from an old snapshot, whatever fails: no generation is given twice, and nothing writes twice', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { violations } = await runRestore(seed);
    assert.deepEqual(violations, [], `seed ${seed}`);
  }
});

test('G7 where nothing else fails, every guest that the snapshot knows runs on', async () => {
  for (let seed = 1; seed <= CALM_SEEDS; seed++) {
    const { violations } = await runRestore(seed, { isCalm: true });
    assert.deepEqual(violations, [], `seed ${seed}`);
  }
});

for (const mistake of RESTORE_MISTAKES)
  test(`planted and noticed: ${mistake.says}`, async () => {
    const others = new Set<string>();
    for (let seed = 1; seed <= SEEDS_MAX; seed++)
      for (const isCalm of [true, false]) {
        const { violations } = await runRestore(seed, { mistake, isCalm });
        if (violations.some(({ rule }) => mistake.rules.includes(rule))) return;
        for (const { rule } of violations) others.add(rule);
      }
    assert.fail(`${SEEDS_MAX} seeds did not notice it; other rules broken: ${[...others].join(', ') || 'none'}`);
  });
