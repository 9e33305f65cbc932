import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Action, type Outcome, play, type Scenario } from './testing/scenario.ts';

/** One seed for the scenarios; each scenario has one of its own for everything in it. */
const SEED = 20_261_121;
const RUNS = Number(process.env['GP_WORLD_RUNS'] ?? 60);
const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

const vm = fc.nat({ max: 3 });
const host = fc.nat({ max: 2 });
const wishes = fc.record({
  do: fc.constantFrom<('start' | 'stop' | 'power-off' | 'delete' | 'suspend' | 'resume' | 'migrate' | 'reset')[]>(
    'start',
    'stop',
    'power-off',
    'delete',
    'suspend',
    'resume',
    'migrate',
    'reset',
  ),
  vm,
});
const guestFaults = fc.record({
  do: fc.constantFrom<('crash-qemu' | 'guest-ends' | 'guest-panics')[]>('crash-qemu', 'guest-ends', 'guest-panics'),
  vm,
});
const hostFaults = fc.record({
  do: fc.constantFrom<
    (
      | 'kill-host'
      | 'power-on'
      | 'kill-agent'
      | 'start-agent'
      | 'cut-control'
      | 'cut-storage'
      | 'cut-host'
      | 'join-host'
      | 'deafen'
    )[]
  >(
    'kill-host',
    'power-on',
    'kill-agent',
    'start-agent',
    'cut-control',
    'cut-storage',
    'cut-host',
    'join-host',
    'deafen',
  ),
  host,
});
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 6, arbitrary: wishes },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('migrate' as const), vm }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('migrate-to' as const), vm, host }) },
  { weight: 2, arbitrary: guestFaults },
  { weight: 4, arbitrary: hostFaults },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom<('crash-storage' | 'restart-storage')[]>('crash-storage', 'restart-storage'),
      node: fc.nat({ max: 1 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom<('crash-leader' | 'depose-leader')[]>('crash-leader', 'depose-leader'),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('crash-leader-at' as const), step: fc.integer({ min: 1, max: 14 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const), percent: fc.constantFrom(0, 10, 30) }) },
);
const scenario: fc.Arbitrary<Scenario> = fc.record({
  seed: fc.nat(),
  vms: fc.integer({ min: 1, max: 4 }),
  actions: fc.array(fc.record({ afterMs: fc.constantFrom(0, 3, 20, 150, 700, 2_000, 6_000), action }), {
    minLength: 1,
    maxLength: 14,
    size: 'max',
  }),
});

function explain({ world, stuck }: Outcome): string {
  const rules = world.violations.map(({ rule, at, what }) => `${at} ${rule}: ${what}`);
  return [...new Set(rules), ...stuck.map((what) => `stuck: ${what}`)].join('\n');
}

test('any commands and faults: no rule is broken on the way, and once all works again everything is as it should be', async () => {
  const property = fc.asyncProperty(scenario, async (given) => {
    const outcome = await play(given, { settle });
    assert.equal(explain(outcome), '', `\n${outcome.world.log.slice(-120).join('\n')}`);
  });
  await fc.assert(property, { seed: SEED, numRuns: RUNS, endOnFailure: process.env['GP_WORLD_SHRINK'] === undefined });
});
