import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { anyScenario } from './any-scenario.ts';
import { FOUND } from './found-scenarios.ts';
import { PLANTED_BUGS } from './planted-bugs.ts';
import { type Outcome, play } from './scenario.ts';

/** One seed for the choice of scenarios; each scenario has one of its own for everything in it. */
const SEED = Number(process.env['GP_WORLD_SEED'] ?? 20_261_121);
const RUNS = Number(process.env['GP_WORLD_RUNS'] ?? 150);
const SHRINK = process.env['GP_WORLD_SHRINK'] !== undefined;
/** Scenarios in which a planted bug must have been noticed. */
const RUNS_TO_NOTICE = 150;
const LINES_SHOWN = 120;

function explain({ world, stuck }: Outcome): string {
  const rules = world.violations.map(({ rule, at, what }) => `${at} ${rule}: ${what}`);
  return [...new Set(rules), ...stuck.map((what) => `stuck: ${what}`)].join('\n');
}

function assertInOrder(outcome: Outcome): void {
  assert.equal(explain(outcome), '', `\n${outcome.world.log.slice(-LINES_SHOWN).join('\n')}\n${explain(outcome)}`);
}

test('any commands and faults: no rule is broken on the way, and once all works again everything is as it should be', async () => {
  const property = fc.asyncProperty(anyScenario, async (scenario) => assertInOrder(await play(scenario)));
  await fc.assert(property, { seed: SEED, numRuns: RUNS, endOnFailure: !SHRINK });
});

for (const { name, scenario } of FOUND) {
  test(`found once: ${name}`, async () => assertInOrder(await play(scenario)));
}

for (const { name, rules, plant } of PLANTED_BUGS) {
  test(`planted and noticed: ${name}`, async () => {
    for (const scenario of fc.sample(anyScenario, { seed: SEED, numRuns: RUNS_TO_NOTICE })) {
      const { world } = await play(scenario, { plant });
      if (world.violations.some(({ rule }) => rules.includes(rule))) return;
    }
    assert.fail(`${RUNS_TO_NOTICE} scenarios did not notice it`);
  });
}

test('the same scenario gives the same run, to the last line', async () => {
  for (const scenario of fc.sample(anyScenario, { seed: SEED, numRuns: 5 })) {
    const [first, second] = [await play(scenario), await play(scenario)];
    assert.deepEqual(second.world.log, first.world.log);
    assert.deepEqual(second.world.trace, first.world.trace);
    assert.ok(first.world.log.length > 10);
  }
});
