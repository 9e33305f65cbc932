/**
 * The tests of a test file: one for each story whose cluster has its number of control nodes. A new story is found by
 * itself.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { listStories } from '../../src/sim/stories/tell.ts';
import { Stage } from './stage.ts';
import { readStory } from './tell.ts';

/** Declares the tests. Stories of one shape come one after the other, by name, on one cluster. */
export async function tellAll(controlNodes: number): Promise<void> {
  const stage = new Stage();
  after(() => stage.end());
  const found = await Promise.all(
    (await listStories()).map(async (name) => ({ name, shape: (await readStory(name)).shape })),
  );
  const stories = found.filter(({ shape }) => shape.controlNodes === controlNodes);
  assert.notEqual(stories.length, 0);
  const order = ({ shape }: (typeof stories)[number]): number => shape.hosts * 100 + shape.storageNodes;
  for (const { name } of stories.toSorted((a, b) => order(a) - order(b)))
    test(name, async () => {
      const { recorded, golden } = await stage.tell(name);
      assert.equal(recorded, golden, `scenarios/${name}/golden.log`);
    });
}
