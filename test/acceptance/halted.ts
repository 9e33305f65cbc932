/** Guests that stand still: what is done with them loses nothing of their memory. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoryCluster } from '../stories/story-cluster.ts';
import {
  acknowledged,
  type Case,
  createTiny,
  deleteVms,
  gp,
  gpJson,
  growsBeyond,
  untilSaid,
  untilVm,
  vmOf,
} from './case.ts';

/** What the events say of a VM, in their order. */
async function eventKinds(cluster: StoryCluster, name: string): Promise<readonly string[]> {
  return (await gpJson<readonly { kind: string }[]>(cluster, ['vm', 'events', name])).map(({ kind }) => kind);
}

/** No generation of the VM ended by itself. */
async function assertNothingEnded(cluster: StoryCluster, name: string): Promise<void> {
  const kinds = await eventKinds(cluster, name);
  assert.ok(
    !kinds.some((kind) => ['crashed', 'lost', 'launch-failed', 'migration-undone'].includes(kind)),
    kinds.join(),
  );
}

/** The guest's sequence goes on from its memory: it did not boot again. */
async function assertNeverBooted(cluster: StoryCluster, name: string): Promise<void> {
  const { id } = await vmOf(cluster, name);
  cluster.serial.look();
  const said = cluster.serial
    .of(id)
    .map(({ text }) => text)
    .join('');
  assert.equal(said.match(/groundplane-tiny ready/g)?.length, 1, said.slice(-800));
}

const movesTwice: Case = {
  name: 'a paused guest moves twice and goes on from its memory: with a seed, with UEFI, with a shared disk, reset between the moves',
  async run(cluster) {
    const userData = join(cluster.dir, 'halted-user-data');
    await writeFile(userData, '#cloud-config\n');
    await createTiny(cluster, 'p1', ['--append', 'gp.workload=sequence', '--user-data', userData]);
    await gp(cluster, ['vm', 'create', 'p2', '--firmware', 'uefi', '--memory', '96M', '--disk', '8M']);
    await createTiny(cluster, 'p3', ['--append', 'gp.workload=sequence']);
    await gp(cluster, ['shared-disk', 'create', 'pshared:8M']);
    await gp(cluster, ['shared-disk', 'attach', 'pshared', 'p3']);
    await growsBeyond(cluster, 'p1', 3);
    await growsBeyond(cluster, 'p3', 3);
    for (const name of ['p1', 'p2', 'p3']) {
      await gp(cluster, ['vm', 'pause', name]);
      await untilVm(cluster, name, { verdict: 'suspended' });
    }
    const before = await acknowledged(cluster, 'p1');
    for (const generation of [2, 3]) {
      for (const name of ['p1', 'p2', 'p3']) {
        await gp(cluster, ['vm', 'migrate', name]);
        await untilVm(cluster, name, { verdict: 'suspended', generation });
      }
      if (generation === 2) await gp(cluster, ['vm', 'reset', 'p2']);
    }
    assert.equal(await acknowledged(cluster, 'p1'), before);
    // What comes and goes while a guest stands still that was never continued here.
    await gp(cluster, ['shared-disk', 'detach', 'pshared', 'p3']);
    await gp(cluster, ['vm', 'migrate', 'p3']);
    for (const name of ['p1', 'p2', 'p3']) {
      await gp(cluster, ['vm', 'resume', name]);
      await untilVm(cluster, name, { verdict: 'running' });
      await assertNothingEnded(cluster, name);
    }
    await growsBeyond(cluster, 'p1', before + 3);
    await growsBeyond(cluster, 'p3', (await acknowledged(cluster, 'p3')) + 3);
    for (const name of ['p1', 'p3']) await assertNeverBooted(cluster, name);
    await gp(cluster, ['vm', 'stop', 'p1', '--patience', '60s']);
    await untilSaid(cluster, 'p1', /groundplane-tiny power button/);
    await deleteVms(cluster, ['p1', 'p2', 'p3']);
    await gp(cluster, ['shared-disk', 'delete', 'pshared']);
  },
};

export const halted: readonly Case[] = [movesTwice];
