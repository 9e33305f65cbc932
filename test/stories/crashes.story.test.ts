import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Stage } from './stage.ts';

const STORIES = ['09c-crash-while-migrating', '09d-crash-while-recovering'];

const stage = new Stage();
after(() => stage.end());

for (const name of STORIES) {
  test(name, async () => {
    const { recorded, golden } = await stage.tell(name);
    assert.equal(recorded, golden, `scenarios/${name}/golden.log`);
  });
}
