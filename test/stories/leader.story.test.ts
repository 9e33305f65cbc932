import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Stage } from './stage.ts';

const STORIES = ['08-leader-frozen', '09a-crash-while-starting', '09b-crash-while-stopping'];

const stage = new Stage();
after(() => stage.end());

for (const name of STORIES) {
  test(name, async () => {
    const { recorded, golden } = await stage.tell(name);
    assert.equal(recorded, golden, `scenarios/${name}/golden.log`);
  });
}
