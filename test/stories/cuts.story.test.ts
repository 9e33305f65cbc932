import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Stage } from './stage.ts';

const STORIES = ['04-host-cut-off', '05a-storage-cut', '05b-control-cut', '10-host-wiped'];

const stage = new Stage();
after(() => stage.end());

for (const name of STORIES) {
  test(name, async () => {
    const { recorded, golden } = await stage.tell(name);
    assert.equal(recorded, golden, `scenarios/${name}/golden.log`);
  });
}
