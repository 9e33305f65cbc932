import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScript } from '../run.ts';
import { FOUND_CASES } from './found-cases.ts';

const LINES_SHOWN = 120;
/** Each is played with different chances: what depends on an instant does not depend on one seed. */
const SEEDS = [1, 2, 3, 4, 5];

for (const { name, vms, lines } of FOUND_CASES) {
  test(`found once: ${name}`, async () => {
    for (const seed of SEEDS) {
      const log: string[] = [];
      const { violations } = await runScript({ seed, vms, lines, log: (line) => log.push(line) });
      const broken = violations.map(({ rule, what }) => `${rule}: ${what}`).join('\n');
      assert.equal(broken, '', `seed ${seed}\n${log.slice(-LINES_SHOWN).join('\n')}`);
    }
  });
}

test('a script that no longer fits the code fails', async () => {
  const { violations } = await runScript({ seed: 1, vms: 1, lines: [{ atStep: 'no such step', end: 'leader' }] });
  assert.deepEqual(
    violations.map(({ rule }) => rule),
    ['script-fits'],
  );
});
