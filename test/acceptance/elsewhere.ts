/** A start does not wait for a host that hangs while another host can run the VM. */
import assert from 'node:assert/strict';
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

/** Runs `begin`, and freezes the agent of h1 at the moment when h1 is the only possible host. */
async function withFrozenAgent(cluster: StoryCluster, begin: () => Promise<unknown>): Promise<void> {
  await onlyOpen(cluster, ['h1']);
  // The agent's last report stays valid for some hundred milliseconds.
  await cluster.lab('freeze-agent', { target: 'h1' });
  await begin();
  await onlyOpen(cluster, HOSTS);
}

const frozenAtStart: Case = {
  name: 'the agent of a host freezes in the moment a VM starts there: it runs elsewhere within 20 s',
  async run(cluster, say) {
    const { client } = cluster;
    await gp(cluster, ['vm', 'create', 'e1', '--image', 'tiny', '--memory', '96M', '--no-start']);
    const start = () => client.call(client.http.POST('/v1/vms/{vm}/start', { params: { path: { vm: 'e1' } } }));
    const startMs = performance.now();
    try {
      await withFrozenAgent(cluster, async () => {
        await start();
        await until('it starts on h1', async () => {
          const [first] = await gpJson<readonly { kind: string; host: string | null }[]>(cluster, [
            'vm',
            'events',
            'e1',
          ]);
          return first?.kind === 'starting' && first.host === 'h1' ? true : undefined;
        });
      });
      const { host } = await untilVm(cluster, 'e1', { verdict: 'running', generation: 2 });
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
    const startMs = performance.now();
    try {
      await withFrozenAgent(cluster, () =>
        client.call(client.http.POST('/v1/vms/{vm}/migrate', { params: { path: { vm: 'e2' } }, body: { to: 'h1' } })),
      );
      const kinds = async (): Promise<readonly string[]> =>
        (await gpJson<readonly { kind: string }[]>(cluster, ['vm', 'events', 'e2'])).map(({ kind }) => kind);
      await until('the move is undone', async () =>
        (await kinds()).filter((kind) => kind === 'migration-undone').length === 2 ? true : undefined,
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
