import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Stage } from './stage.ts';

const STORIES = ['00-walk', '02-agent-killed', '03-host-killed', '11-everything-killed'];

const stage = new Stage();
after(() => stage.end());

for (const name of STORIES) {
  test(name, async () => {
    const { recorded, golden } = await stage.tell(name);
    assert.equal(recorded, golden, `scenarios/${name}/golden.log`);
  });
}
