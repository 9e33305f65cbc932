import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawRoll } from '../faults/swarm.ts';
import { runSeed } from '../run.ts';

const SEEDS = [2, 3];

for (const seed of SEEDS)
  test(`all of some hosts are rolled over while anything may fail, seed ${seed}`, async () => {
    const { violations } = await runSeed(seed, { swarm: drawRoll(seed, 'small') });
    assert.deepEqual(violations, [], `npm run sim -- --seed ${seed} --roll small --log roll.log`);
  });
