import assert from 'node:assert/strict';
import { test } from 'node:test';
import { comparedOf, DIFFERENCES, STAND_INS } from '../../stories/differences.ts';
import { listStories, tellStory } from './tell.ts';

const SEEDS = [1, 2, 3];
const stories = await listStories();

for (const name of stories) {
  test(`${name} comes true in the simulator`, async (t) => {
    const different = DIFFERENCES[name];
    if (different !== undefined) t.diagnostic(`${name}: ${different.why}`);
    for (const seed of SEEDS) {
      const { recorded, golden } = await tellStory(name, { seed });
      const again = `scenarios/${name}/golden.log; again: npm run sim -- --story ${name} --seed ${seed}`;
      assert.equal(comparedOf(name, recorded), comparedOf(name, golden), again);
    }
  });
}

test('what is told otherwise than on real machines is said, of stories that there are', (t) => {
  for (const standIn of STAND_INS) t.diagnostic(standIn);
  for (const name of Object.keys(DIFFERENCES)) assert.ok(stories.includes(name), name);
  assert.equal(comparedOf('09a-crash-while-starting', 'web1  lost  B  g2\n'), 'web1  lost  *  g2\n');
  assert.equal(comparedOf('03-host-killed', 'web1  lost  B  g2\n'), 'web1  lost  B  g2\n');
});
