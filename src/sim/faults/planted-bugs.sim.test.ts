import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runSeed } from '../run.ts';
import { PLANTED_BUGS } from './planted-bugs.ts';

/** Seeds from the first on in which each mistake must have been noticed. */
const FIRST_SEED = 1;
const SEEDS_MAX = 200;

test('there are enough of them, each with a name of its own', () => {
  assert.ok(PLANTED_BUGS.length >= 15);
  assert.equal(new Set(PLANTED_BUGS.map(({ name }) => name)).size, PLANTED_BUGS.length);
});

for (const bug of PLANTED_BUGS) {
  test(`planted and noticed: ${bug.says}`, async () => {
    const stopAtFirst = !bug.rules.includes('L1-converges');
    const others = new Set<string>();
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS_MAX; seed++) {
      const { violations } = await runSeed(seed, { bug, stopAtFirst });
      if (violations.some(({ rule }) => bug.rules.includes(rule))) return;
      for (const { rule } of violations) others.add(rule);
    }
    assert.fail(`${SEEDS_MAX} seeds did not notice it; other rules broken: ${[...others].join(', ') || 'none'}`);
  });
}
