import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Stage } from './stage.ts';

const STORIES = ['01-live-migration', '01b-migration-while-booting', '06-control-plane-killed', '07-storage-restarted'];

const stage = new Stage();
after(() => stage.end());

for (const name of STORIES) {
  test(name, async () => {
    const { recorded, golden } = await stage.tell(name);
    assert.equal(recorded, golden, `scenarios/${name}/golden.log`);
  });
}
