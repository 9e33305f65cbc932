/** One request on many VMs, what may be done with one thing, and rows for pictures. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VmFigures } from '../../api/figure-views.ts';
import type { Lab } from '../../api/lab-views.ts';
import type { Admission, AllowedActions, BulkItem, HostRow, VmRow } from '../../api/overview-views.ts';
import type { Cluster, Task } from '../../api/views.ts';
import { parseHostName } from '../../base/ids.ts';
import { until } from '../../os/testing/until.ts';
import { type Answer, assertProblem, setUp } from './testing/asking.ts';

type Asked = Awaited<ReturnType<typeof setUp>>;
const as = <T>({ json }: Answer): T => json as unknown as T;

async function withVms({ ask }: Asked, names: readonly string[], more: object = {}): Promise<void> {
  const tasks = await Promise.all(names.map((name) => ask('POST /v1/vms', { name, image: 'tiny', ...more })));
  for (const { json } of tasks)
    if (json.task !== null) await ask(`GET /v1/tasks/${String((json.task as { id: string }).id)}?wait=20`);
}

async function ended({ ask }: Asked, answer: Answer): Promise<Task> {
  assert.equal(answer.status, 202, answer.text);
  return as<Task>(await ask(`GET /v1/tasks/${String(answer.json.id)}?wait=20`));
}

test('one request stops many VMs as one task; each says how it ended', async (t) => {
  const api = await setUp(t);
  const { ask } = api;
  await withVms(api, ['web1', 'web2', 'web3'], { labels: { tier: 'web' } });
  await withVms(api, ['db1'], { labels: { tier: 'db' } });
  const stopped = await ended(
    api,
    await ask('POST /v1/vms/actions', { action: 'stop', mode: 'hard', vms: ['web1', 'web2'] }),
  );
  assert.deepEqual([stopped.kind, stopped.state, stopped.message], ['vms.stop', 'succeeded', '2 succeeded.']);
  assert.deepEqual(stopped.target, { kind: 'vms', name: '2 VMs' });
  const rows = as<{ items: readonly BulkItem[] }>(await ask(`GET /v1/tasks/${stopped.id}/vms`)).items;
  assert.deepEqual(
    rows.map(({ vm, state }) => [vm, state]),
    [
      ['web1', 'succeeded'],
      ['web2', 'succeeded'],
    ],
  );
  // The filter selects two VMs that are stopped already and cannot be reset.
  const reset = await ended(
    api,
    await ask('POST /v1/vms/actions', { action: 'reset', filter: { labels: { tier: 'web' } } }),
  );
  assert.deepEqual([reset.state, reset.vms?.failed, reset.vms?.succeeded], ['failed', 2, 1]);
  const failed = as<{ items: readonly BulkItem[] }>(await ask(`GET /v1/tasks/${reset.id}/vms`)).items[0];
  assert.match(failed?.message ?? '', /web1 is not running\. Nothing was changed\. Start it/);
  const parts = as<{ items: readonly Task[] }>(await ask('GET /v1/tasks?parts=false')).items;
  assert(parts.every(({ parent }) => parent === null));
  assert(as<{ items: readonly Task[] }>(await ask('GET /v1/tasks')).items.some(({ parent }) => parent === stopped.id));
});

test('a request on many VMs that names none, too many, or none that exist is refused as a whole', async (t) => {
  const api = await setUp(t);
  const { ask, cluster } = api;
  await withVms(api, ['web1']);
  for (const [body, code] of [
    [{ action: 'stop' }, 'bad-input'],
    [{ action: 'stop', vms: [] }, 'bad-input'],
    [{ action: 'stop', vms: ['web1'], filter: { host: 'h1' } }, 'bad-input'],
    [{ action: 'explode', vms: ['web1'] }, 'bad-input'],
    [{ action: 'stop', filter: {} }, 'bad-input'],
    [{ action: 'stop', vms: ['web1', 'none'] }, 'not-found'],
    [{ action: 'stop', filter: { labels: { tier: 'none' } } }, 'not-found'],
  ] as const)
    assertProblem(await ask('POST /v1/vms/actions', body), code);
  assert.equal(cluster.vms.get('web1')?.intent, 'running');
});

test('a new leader goes on with a request on many VMs; what has not begun can be cancelled', async (t) => {
  const api = await setUp(t, {}, { controls: 3 });
  const { ask, cluster } = api;
  const names = Array.from({ length: 30 }, (_, n) => `web${n}`);
  await withVms(api, names, { start: false, memoryBytes: 64 * 2 ** 20 });
  const before = cluster.leader;
  const answer = await ask('POST /v1/vms/actions', { action: 'start', vms: names });
  assert.equal(answer.status, 202, answer.text);
  cluster.sim.powerOff(before.machine);
  await until('another node leads', () => cluster.sim.leader !== null && cluster.sim.leader !== before, {
    deadlineMs: 30_000,
  });
  const backend = cluster.backend();
  await until('every VM runs', () => [...cluster.vms.values()].every(({ phase }) => phase.kind === 'running'), {
    deadlineMs: 60_000,
  });
  const call = { principal: { name: 'test' }, signal: new AbortController().signal };
  const task = await backend.tasks.get(String(answer.json.id), 20_000, call);
  assert.deepEqual([task.state, task.message], ['succeeded', '30 succeeded.']);
});

test('what may be done with a thing is what its requests would answer', async (t) => {
  const api = await setUp(t);
  const { ask } = api;
  await withVms(api, ['web1']);
  const of = async (path: string): Promise<Readonly<Record<string, string>>> => {
    const { actions } = as<AllowedActions>(await ask(`GET ${path}/actions`));
    return Object.fromEntries(actions.map(({ action, allowed, reason }) => [action, allowed ? 'yes' : (reason ?? '')]));
  };
  const running = await of('/v1/vms/web1');
  assert.deepEqual([running['stop'], running['migrate'], running['delete']], ['yes', 'yes', 'yes']);
  assert.match(running['start'] ?? '', /web1 runs already/);
  const refusal = await ask('PATCH /v1/vms/web1', { vcpus: 2 });
  assert.equal(running['resize'], (refusal.json as { detail?: string }).detail);
  await ended(api, await ask('POST /v1/vms/web1/stop', { mode: 'hard' }));
  const stopped = await of('/v1/vms/web1');
  assert.deepEqual([stopped['start'], stopped['resize'], stopped['delete']], ['yes', 'yes', 'yes']);
  for (const action of ['reset', 'suspend', 'resume', 'migrate'])
    assert.equal(
      stopped[action],
      ((await ask(`POST /v1/vms/web1/${action}`, action === 'migrate' ? {} : undefined)).json as { detail?: string })
        .detail,
    );
  const host = await of('/v1/hosts/h1');
  assert.equal(host['cordon'], 'yes');
  assert.match(host['uncordon'] ?? '', /h1 is not cordoned/);
  assert.match(host['remove'] ?? '', /cordon/);
  assertProblem(await ask('GET /v1/vms/none/actions'), 'not-found');
  assertProblem(await ask('GET /v1/hosts/none/actions'), 'not-found');
});

test('rows of all hosts and VMs, in pages', async (t) => {
  const api = await setUp(t);
  const { ask } = api;
  await withVms(api, ['web1', 'web2']);
  await ask('PATCH /v1/hosts/h1', { rack: 'r1' });
  const hosts = as<{ items: readonly HostRow[] }>(await ask('GET /v1/overview/hosts')).items;
  assert.deepEqual(
    hosts.map(({ name, rack, agent }) => [name, rack, agent]),
    [
      ['h1', 'r1', 'alive'],
      ['h2', null, 'alive'],
      ['h3', null, 'alive'],
    ],
  );
  const first = as<{ items: readonly VmRow[]; next: string }>(await ask('GET /v1/overview/vms?limit=1'));
  const rest = as<{ items: readonly VmRow[]; next: null }>(await ask(`GET /v1/overview/vms?after=${first.next}`));
  assert.deepEqual(
    [...first.items, ...rest.items].map(({ name, verdict }) => [name, verdict]),
    [
      ['web1', 'running'],
      ['web2', 'running'],
    ],
  );
  assert.equal(rest.next, null);
});

test('what admission would say is what it says: in the same words, and nothing is changed', async (t) => {
  const api = await setUp(t);
  const { ask, cluster } = api;
  await withVms(api, ['web1']);
  const before = cluster.vms.size;
  for (const body of [
    { name: 'web1', image: 'tiny' },
    { name: 'web2', image: 'none' },
    { name: 'web2', image: 'tiny', networks: ['none'] },
    { name: 'web2', image: 'tiny', networks: [{ network: 'lan', address: '10.99.0.1' }] },
    { name: 'vm-0123456789ab', image: 'tiny' },
    { name: 'web2', image: 'tiny', cloudInit: { userData: '\ud800' } },
  ]) {
    const said = await ask('POST /v1/vms/check', body);
    assert.equal(said.status, 200, said.text);
    const { admitted, code, reason, advice } = as<Admission>(said);
    const { json } = await ask('POST /v1/vms', body);
    assert.deepEqual([admitted, code, reason, advice], [false, json.code, json.detail, json.advice ?? null]);
  }
  const fine = as<Admission>(await ask('POST /v1/vms/check', { name: 'web2', image: 'tiny' }));
  assert.deepEqual([fine.admitted, fine.node], [true, 's1']);
  assert.equal(cluster.vms.size, before);
  // A running VM keeps its memory and vCPUs; its labels may change.
  const memory = as<Admission>(await ask('POST /v1/vms/web1/check', { memoryBytes: 2 ** 30 }));
  const refused = await ask('PATCH /v1/vms/web1', { memoryBytes: 2 ** 30 });
  assert.deepEqual([memory.admitted, memory.reason], [false, refused.json.detail]);
  const labels = as<Admission>(await ask('POST /v1/vms/web1/check', { labels: { tier: 'db' } }));
  assert.equal(labels.admitted, true);
  assert.deepEqual(cluster.vms.get('web1')?.spec.labels, {});
  assertProblem(await ask('POST /v1/vms/none/check', { labels: {} }), 'not-found');
});

test('what a VM uses is asked for when somebody asks; a dead agent takes only its own part away', async (t) => {
  const api = await setUp(t);
  const { ask, cluster } = api;
  await withVms(api, ['web1']);
  const first = as<VmFigures>(await ask('GET /v1/vms/web1/figures'));
  assert.deepEqual([first.machineMissing, first.disksMissing], [null, null]);
  assert.equal(first.disks?.[0]?.disk, cluster.vms.get('web1')?.spec.disks[0]?.disk);
  const later = as<VmFigures>(await ask('GET /v1/vms/web1/figures'));
  assert.ok((later.machine?.cpuMs ?? 0) >= (first.machine?.cpuMs ?? 1));
  cluster.sim.hosts.get(parseHostName(first.host))?.agent?.process.end();
  const blind = as<VmFigures>(await ask('GET /v1/vms/web1/figures'));
  assert.equal(blind.machine, null);
  assert.match(blind.machineMissing ?? '', /./);
  assert.ok((blind.disks?.length ?? 0) > 0);
  await ask('POST /v1/vms/web1/stop', { mode: 'hard' });
  await until('web1 is stopped', () => cluster.vms.get('web1')?.phase.kind === 'stopped');
  assertProblem(await ask('GET /v1/vms/web1/figures'), 'conflict');
});

test('faults are injected through the API of a one-machine cluster, and refused with words by every other', async (t) => {
  const installed = await setUp(t);
  const refused = await installed.ask('POST /v1/lab/faults', { verb: 'kill-host', target: 'h1' });
  assertProblem(refused, 'conflict');
  assert.match(String(refused.json.detail), /machines of its own/);
  assert.equal(as<Cluster>(await installed.ask('GET /v1/cluster')).lab, false);
  const { ask } = await setUp(t, {}, { hasLab: true });
  const { machines, faults } = as<Lab>(await ask('GET /v1/lab'));
  assert.deepEqual(machines.map(({ name }) => name).sort(), ['c1', 'h1', 'h2', 'h3', 's1']);
  assert.ok(faults.some(({ verb, on }) => verb === 'kill-host' && on.includes('host')));
  const after = as<Lab>(await ask('POST /v1/lab/faults', { verb: 'kill-host', target: 'h2' }));
  assert.equal(after.machines.find(({ name }) => name === 'h2')?.power, 'off');
  assertProblem(await ask('POST /v1/lab/faults', { verb: 'explode', target: 'h2' }), 'bad-input');
  assertProblem(await ask('POST /v1/lab/faults', { verb: 'kill-host', target: 'h9' }), 'not-found');
});
