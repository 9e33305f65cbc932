/** Hosts are taken out of service: every VM is moved while it runs, without any question. */
import assert from 'node:assert/strict';
import type { Drain } from '../../src/api/maintenance-views.ts';
import type { Host } from '../../src/api/views.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import { acknowledged, type Case, createTiny, deleteVms, gp, gpJson, growsBeyond, until, untilVm } from './case.ts';

const VMS = ['m1', 'm2', 'm3', 'm4'] as const;

/** The kinds of events of a VM, in order. */
async function eventKinds(cluster: StoryCluster, name: string): Promise<readonly string[]> {
  return (await gpJson<readonly { kind: string }[]>(cluster, ['vm', 'events', name])).map(({ kind }) => kind);
}

async function hostOf(cluster: StoryCluster, name: string): Promise<Host> {
  const found = (await gpJson<readonly Host[]>(cluster, ['host', 'list'])).find((each) => each.name === name);
  return found ?? assert.fail(`no host ${name}`);
}

/** The guests' sequences continue from where they were, and none of the guests was started anew. */
async function assertUndisturbed(cluster: StoryCluster, before: ReadonlyMap<string, number>): Promise<void> {
  for (const [name, reached] of before) {
    await growsBeyond(cluster, name, reached);
    const kinds = await eventKinds(cluster, name);
    assert.ok(!kinds.some((kind) => ['crashed', 'lost', 'launch-failed'].includes(kind)), `${name}: ${kinds.join()}`);
    assert.equal(kinds.filter((kind) => kind === 'starting').length, 1, `${name}: ${kinds.join()}`);
  }
}

const eachInTurn: Case = {
  name: 'each host is drained in turn, with its agent dead the second time: nothing is restarted, pauses are in the record',
  async run(cluster, say) {
    for (const name of VMS)
      await createTiny(cluster, name, ['--disk', '8M', '--append', 'gp.workload=sequence gp.disk=vda']);
    const before = new Map<string, number>();
    for (const name of VMS) before.set(name, await growsBeyond(cluster, name, 0));
    for (const host of ['h1', 'h2', 'h3']) {
      const plan = await gp(cluster, ['host', 'drain', host, '--dry-run']);
      assert.match(plan.stdout, new RegExp(`^${host}: \\d+ moves?\\b`));
      if (host === 'h2') await gp(cluster, ['lab', 'kill-agent', host]);
      if (host === 'h2')
        await until(`the agent of ${host} is dead`, async () =>
          (await hostOf(cluster, host)).agent === 'dead' ? true : undefined,
        );
      const drain = await gpJson<Drain>(cluster, ['host', 'drain', host, '--reason', 'test']);
      assert.equal(drain.state, 'drained', JSON.stringify(drain));
      assert.deepEqual((await hostOf(cluster, host)).vms, []);
      for (const { vm, measuredPauseMs } of drain.moves) say(`${vm} left ${host}: pause ${measuredPauseMs} ms`);
      for (const move of drain.moves) assert.equal(move.state, 'moved', JSON.stringify(move));
      if (host === 'h2') await gp(cluster, ['lab', 'heal-host', host]);
      await gp(cluster, ['host', 'undrain', host]);
    }
    await assertUndisturbed(cluster, before);
  },
};

const cancelled: Case = {
  name: 'a drain is cancelled in the middle and begun again; a new VM goes to no host that is drained',
  async run(cluster) {
    const before = new Map<string, number>();
    for (const name of VMS) before.set(name, await acknowledged(cluster, name));
    const busy = (await gpJson<readonly Host[]>(cluster, ['host', 'list'])).find(({ vms }) => vms.length >= 1);
    const host = busy?.name ?? assert.fail('no host has a VM');
    const begun = await gpJson<Drain>(cluster, ['host', 'drain', host, '--parallel', '1', '--no-wait']);
    await gp(cluster, ['maintenance', 'pause', begun.id]);
    const ended = await gpJson<Drain>(cluster, ['maintenance', 'cancel', begun.id]);
    const over = await until('the cancelled drain ends', async () => {
      const now = await gpJson<Drain>(cluster, ['maintenance', 'show', ended.id]);
      return now.endedAt === null ? undefined : now;
    });
    assert.equal(over.state, 'cancelled');
    assert.equal((await hostOf(cluster, host)).maintenance, null);
    const drain = await gpJson<Drain>(cluster, ['host', 'drain', host]);
    assert.equal(drain.state, 'drained');
    await createTiny(cluster, 'm5');
    const { host: placed } = await untilVm(cluster, 'm5', { verdict: 'running' });
    assert.notEqual(placed, host);
    await gp(cluster, ['host', 'undrain', host]);
    await assertUndisturbed(cluster, before);
    await deleteVms(cluster, [...VMS, 'm5']);
  },
};

export const maintenance: readonly Case[] = [eachInTurn, cancelled];
