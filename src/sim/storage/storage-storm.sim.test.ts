/** One storage node under many faults, and whether mistakes planted in it are noticed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PLANTED_STORAGE_BUGS } from './testing/planted-storage-bugs.ts';
import { StorageStorm } from './testing/storage-storm.ts';

const SEED = Number(process.env['GP_STORM_SEED'] ?? 1);
const RUNS = Number(process.env['GP_STORM_RUNS'] ?? 120);
const RUNS_TO_NOTICE = 200;
const LINES_SHOWN = 60;
const COUNTS = ['writes', 'acks', 'fences', 'refused', 'enospc', 'broken', 'faults'] as const;

test('whatever dies, stands still, is slow or full: after an acknowledged fence no write of a fenced generation gets to a disk', async () => {
  const sums = new Map<string, number>();
  for (let seed = SEED; seed < SEED + RUNS; seed++) {
    const storm = await new StorageStorm({ seed }).play();
    const shown = () => `seed ${seed}\n${storm.log.slice(-LINES_SHOWN).join('\n')}\n${storm.violations.join('\n')}`;
    assert.ok(storm.violations.length === 0, shown());
    for (const name of COUNTS) sums.set(name, (sums.get(name) ?? 0) + storm.counts[name]);
  }
  for (const [name, sum] of sums) assert.ok(sum > RUNS, `${name}: ${sum}`);
});

test('the same seed gives the same log, to the last line', async () => {
  const [first, second] = [await new StorageStorm({ seed: 3 }).play(), await new StorageStorm({ seed: 3 }).play()];
  assert.deepEqual(second.log, first.log);
  assert.ok(first.log.length > 100);
});

for (const { name, plant } of PLANTED_STORAGE_BUGS) {
  test(`planted and noticed: ${name}`, async () => {
    for (let seed = 1; seed <= RUNS_TO_NOTICE; seed++) {
      const { violations } = await new StorageStorm({ seed, ...plant }).play();
      if (violations.length > 0) return;
    }
    assert.fail(`${RUNS_TO_NOTICE} seeds did not notice it`);
  });
}
