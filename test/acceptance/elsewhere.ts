/** A start does not wait for a host that hangs while another host can run the VM. */
import assert from 'node:assert/strict';
import type { Event } from '../../src/api/views.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import { type Case, createTiny, deleteVms, gp, gpJson, until, untilVm } from './case.ts';

const HOSTS = ['h1', 'h2', 'h3'] as const;
const ELSEWHERE_MS = 20_000;

/** Cordons all hosts except these; uses the API, since there is no time for a command. */
async function onlyOpen(cluster: StoryCluster, open: readonly string[]): Promise<void> {
  const { client } = cluster;
  for (const host of HOSTS)
    await client.call(
      client.http.PATCH('/v1/hosts/{host}', { params: { path: { host } }, body: { cordoned: !open.includes(host) } }),
    );
}

const ATTEMPTS = 5;

/**
 * Freezes the agent of h1 at the moment when h1 is the only possible host and runs `begin`, which returns whether
 * something began there. The leader believes a frozen agent's last report for a second or so: if it saw the silence
 * first, `again` undoes what `begin` asked for, and the moment is tried once more.
 */
async function withFrozenAgent(
  cluster: StoryCluster,
  begin: () => Promise<boolean>,
  again: () => Promise<void>,
): Promise<void> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    await onlyOpen(cluster, ['h1']);
    await cluster.lab('freeze-agent', { target: 'h1' });
    const hasBegun = await begin();
    if (hasBegun) return onlyOpen(cluster, HOSTS);
    await cluster.lab('thaw', { target: 'h1' });
    await until('the agent of h1 is back', async () => ((await agentOf(cluster, 'h1')) === 'alive' ? true : undefined));
    await again();
  }
  throw new Error(`In ${ATTEMPTS} attempts nothing began on h1 before the leader knew that its agent is silent.`);
}

async function agentOf(cluster: StoryCluster, host: string): Promise<string> {
  const { client } = cluster;
  return (await client.call(client.http.GET('/v1/hosts/{host}', { params: { path: { host } } }))).agent;
}

/** The events of a VM, oldest first. */
const eventsOf = (cluster: StoryCluster, vm: string) =>
  gpJson<readonly Pick<Event, 'kind' | 'host' | 'generation'>[]>(cluster, ['vm', 'events', vm]);

const frozenAtStart: Case = {
  name: 'the agent of a host freezes in the moment a VM starts there: it runs elsewhere within 20 s',
  async run(cluster, say) {
    const { client } = cluster;
    await gp(cluster, ['vm', 'create', 'e1', '--image', 'tiny', '--memory', '96M', '--no-start']);
    let startMs = 0;
    let generation = 0;
    const begin = async (): Promise<boolean> => {
      startMs = performance.now();
      await client.call(client.http.POST('/v1/vms/{vm}/start', { params: { path: { vm: 'e1' } }, body: {} }));
      return until('it starts on h1, or waits for it', async () => {
        const newest = (await eventsOf(cluster, 'e1')).at(-1);
        if (newest?.kind !== 'starting') return (await agentOf(cluster, 'h1')) === 'dead' ? false : undefined;
        generation = newest.generation ?? 0;
        return newest.host === 'h1';
      });
    };
    try {
      await withFrozenAgent(cluster, begin, async () => {
        await gp(cluster, ['vm', 'stop', 'e1', '--hard']);
        await untilVm(cluster, 'e1', { verdict: 'stopped' });
      });
      const { host } = await untilVm(cluster, 'e1', { verdict: 'running', generation: generation + 1 });
      const tookMs = performance.now() - startMs;
      say(`on ${host} after ${(tookMs / 1000).toFixed(1)} s`);
      assert.ok(host !== 'h1' && tookMs < ELSEWHERE_MS, `on ${host} after ${tookMs} ms`);
    } finally {
      await cluster.lab('thaw', { target: 'h1' });
      await onlyOpen(cluster, HOSTS);
    }
    await deleteVms(cluster, ['e1']);
  },
};

const frozenAtMove: Case = {
  name: 'the agent of a destination freezes in the moment a VM moves there: the move is undone within 20 s, and another one works',
  async run(cluster, say) {
    const { client } = cluster;
    await createTiny(cluster, 'e2');
    const { host } = await untilVm(cluster, 'e2', { verdict: 'running' });
    if (host === 'h1') await gp(cluster, ['vm', 'migrate', 'e2', '--to', 'h2']);
    const at = (await untilVm(cluster, 'e2', { verdict: 'running' })).host;
    let startMs = 0;
    const count = async (kind: string): Promise<number> =>
      (await eventsOf(cluster, 'e2')).filter((event) => event.kind === kind).length;
    const begin = async (): Promise<boolean> => {
      startMs = performance.now();
      const [begun, refused] = [await count('migrating'), await count('migration-refused')];
      await client.call(
        client.http.POST('/v1/vms/{vm}/migrate', { params: { path: { vm: 'e2' } }, body: { to: 'h1' } }),
      );
      return until('the move begins, or is refused', async () => {
        if ((await count('migrating')) > begun) return true;
        return (await count('migration-refused')) > refused ? false : undefined;
      });
    };
    try {
      const undone = await count('migration-undone');
      await withFrozenAgent(cluster, begin, async () => undefined);
      // Reported twice: that the move is being undone, and that it was.
      await until('the move is undone', async () =>
        (await count('migration-undone')) === undone + 2 ? true : undefined,
      );
      const tookMs = performance.now() - startMs;
      say(`undone after ${(tookMs / 1000).toFixed(1)} s`);
      assert.ok(tookMs < ELSEWHERE_MS, `undone after ${tookMs} ms`);
      await untilVm(cluster, 'e2', { verdict: 'running', host: at });
      await gp(cluster, ['vm', 'migrate', 'e2']);
    } finally {
      await cluster.lab('thaw', { target: 'h1' });
      await onlyOpen(cluster, HOSTS);
    }
    await deleteVms(cluster, ['e2']);
  },
};

export const elsewhere: readonly Case[] = [frozenAtStart, frozenAtMove];
