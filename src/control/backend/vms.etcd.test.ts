import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { parseGeneration, parseHostName } from '../../base/ids.ts';
import { keyOf } from '../../core/model/keys.ts';
import type { Incarnation, VmPhase, VmRecord } from '../../core/model/vm.ts';
import { startBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { hostRecord, type RunningStore, taskRecord, vmRecord } from '../testing/records.ts';
import { VmsBackend } from './vms.ts';

const etcd = etcdOfFile();
let running: RunningStore;
let vms: VmsBackend;

beforeEach(async () => {
  running = await etcd.follow();
  vms = new VmsBackend((await startBackend(running)).context);
});

const on = (host: string, generation: number): Incarnation => ({
  generation: parseGeneration(generation),
  host: parseHostName(host),
  slot: 0,
});
const incarnation = on('h1', 3);
const source = incarnation;
const destination = on('h2', 4);
const PHASES: Readonly<Record<VmPhase['kind'], VmPhase>> = {
  stopped: { kind: 'stopped' },
  starting: { kind: 'starting', incarnation, reason: 'requested', avoid: [] },
  running: { kind: 'running', incarnation },
  stopping: { kind: 'stopping', incarnation, mode: 'acpi', deadlineAt: 0, reason: 'requested' },
  migrating: { kind: 'migrating', source, destination, taskId: null, deadlineAt: 0 },
  switching: { kind: 'switching', source, destination, taskId: null },
  unwinding: { kind: 'unwinding', source, destination, taskId: null, reason: 'x' },
};

async function have(overrides: Partial<VmRecord>, tasks = 0): Promise<void> {
  const vm = vmRecord(1, { generation: 4 as never, ...overrides });
  const records = Array.from({ length: tasks }, (_, index) => taskRecord(index + 1));
  await running.store.transact(
    [
      { key: keyOf.vm(vm.id), value: vm, expect: null },
      { key: keyOf.vmName(vm.name), value: vm.id, expect: null },
      ...records.map((task) => ({ key: keyOf.task(task.id), value: task, expect: null })),
    ],
    null,
  );
}
const vm = (): VmRecord => running.store.vms.get(vmRecord(1).id)?.value ?? vmRecord(1);
const stateOf = (task: number): string => running.store.tasks.get(taskRecord(task).id)?.value.state ?? 'gone';
const task = (number: number) => taskRecord(number).id;

test('start, in every phase', async () => {
  for (const phase of Object.values(PHASES)) {
    const intent = phase.kind === 'stopped' || phase.kind === 'stopping' ? 'stopped' : 'running';
    await have({ phase, intent });
    const { state } = await vms.start('vm1');
    const begins = phase.kind === 'stopped' || phase.kind === 'stopping';
    assert.equal(state, begins ? 'running' : 'succeeded', phase.kind);
    assert.equal(vm().intent, 'running');
    assert.equal(vm().startTask !== null, begins, phase.kind);
  }
  await have({ phase: PHASES.starting, intent: 'running' });
  assert.match((await vms.start('vm1')).message, /is starting already/);
  await have({ phase: PHASES.running, intent: 'suspended' });
  assert.match((await vms.start('vm1')).message, /gp vm resume vm1/);
});

test('a second start of a VM that waits for room supersedes the first one: its task ends, once', async () => {
  await have({ intent: 'running', startTask: task(1) }, 1);
  const second = await vms.start('vm1');
  assert.equal(stateOf(1), 'cancelled');
  assert.equal(vm().startTask, second.id);
  const revision = running.store.tasks.get(task(1))?.revision;
  await vms.start('vm1');
  assert.equal(running.store.tasks.get(task(1))?.revision, revision);
});

test('a wish that loses a race supersedes the one that won it, though the watch has not shown it yet', async () => {
  await have({ intent: 'running' });
  const late = await etcd.follow({ watchLateMs: 300 });
  try {
    const entry = running.store.vms.get(vmRecord(1).id);
    const won = taskRecord(1);
    await running.store.transact(
      [
        { key: keyOf.vm(vm().id), value: { ...vm(), startTask: won.id }, expect: entry?.revision ?? 0 },
        { key: keyOf.task(won.id), value: won, expect: 0 },
      ],
      null,
    );
    const { id } = await new VmsBackend((await startBackend(late)).context).start('vm1');
    await running.store.catchUp();
    assert.equal(vm().startTask, id);
    assert.equal(stateOf(1), 'cancelled');
  } finally {
    await late.close();
  }
});

test('stop, in every phase', async () => {
  for (const phase of Object.values(PHASES)) {
    await have({ phase, intent: 'running' });
    const { state, id } = await vms.stop('vm1', {});
    assert.equal(state, phase.kind === 'stopped' ? 'succeeded' : 'running', phase.kind);
    assert.equal(vm().intent, 'stopped');
    const expected = { mode: 'acpi', patienceMs: 30_000, taskId: id };
    assert.deepEqual(vm().stopRequest, phase.kind === 'stopped' ? null : expected);
  }
  await have({ phase: PHASES.running, intent: 'running' });
  await vms.stop('vm1', { mode: 'hard' });
  assert.equal(vm().stopRequest?.patienceMs, 0);
});

test('a stop ends what was asked for before it', async () => {
  const migrationRequest = { to: null, taskId: task(2) };
  const stopRequest = { mode: 'acpi' as const, patienceMs: 5, taskId: task(1) };
  await have({ phase: PHASES.running, intent: 'running', stopRequest, migrationRequest }, 2);
  await vms.stop('vm1', { mode: 'hard' });
  assert.deepEqual([stateOf(1), stateOf(2)], ['cancelled', 'cancelled']);
  assert.equal(vm().migrationRequest, null);
  await have(
    {
      intent: 'running',
      startTask: task(1),
      resetRequest: { taskId: task(2) },
      stopRequest: { ...stopRequest, taskId: task(3) },
    },
    3,
  );
  await vms.stop('vm1', {});
  assert.deepEqual([stateOf(1), stateOf(2), stateOf(3)], ['cancelled', 'cancelled', 'cancelled']);
  const { startTask, resetRequest, stopRequest: after } = vm();
  assert.deepEqual([startTask, resetRequest, after], [null, null, null]);
});

test('a task that has ended stays as it ended', async () => {
  await have({ intent: 'running', startTask: task(1) });
  const ended = taskRecord(1, { state: 'failed', message: 'as it was', endedAt: 5 });
  await running.store.transact([{ key: keyOf.task(ended.id), value: ended, expect: 0 }], null);
  await vms.delete('vm1', { ifMatch: null });
  assert.deepEqual(running.store.tasks.get(ended.id)?.value, ended);
});

test('suspend, resume and reset want a VM that runs', async () => {
  for (const act of [
    () => vms.suspend('vm1'),
    () => vms.resume('vm1'),
    () => vms.reset('vm1'),
    () => vms.migrate('vm1', {}),
  ]) {
    await have({ phase: PHASES.stopped });
    await assert.rejects(act(), { code: 'conflict' });
    await have({ phase: PHASES.running, intent: 'running', deleting: true });
    await assert.rejects(act(), /is being deleted/);
  }
  await have({ phase: PHASES.running, intent: 'running' });
  const paused = await vms.suspend('vm1');
  assert.equal(paused.state, 'running', 'whether it stands still only its leader sees');
  assert.deepEqual([vm().intent, vm().pauseTask], ['suspended', paused.id]);
  const resumed = await vms.resume('vm1');
  assert.deepEqual([vm().intent, vm().pauseTask], ['running', resumed.id]);
  assert.equal(running.store.tasks.get(paused.id)?.value.state, 'cancelled');
  await have({ phase: PHASES.running, intent: 'suspended' });
  assert.deepEqual([(await vms.suspend('vm1')).state, vm().pauseTask ?? null], ['succeeded', null]);
  const first = await vms.reset('vm1');
  const second = await vms.reset('vm1');
  assert.equal(vm().resetRequest?.taskId, second.id);
  assert.equal(running.store.tasks.get(first.id)?.value.state, 'cancelled');
});

test('migrate, in every phase', async () => {
  await running.store.transact([{ key: '/gp/host/h2', value: hostRecord('h2'), expect: null }], null);
  for (const phase of Object.values(PHASES)) {
    if (phase.kind === 'running') continue;
    await have({ phase, intent: 'running' });
    await assert.rejects(vms.migrate('vm1', {}), { code: 'conflict' }, phase.kind);
    assert.equal(vm().migrationRequest, null);
  }
  await have({ phase: PHASES.running, intent: 'running' });
  await assert.rejects(vms.migrate('vm1', { to: 'h1' }), /is on h1 already/);
  await assert.rejects(vms.migrate('vm1', { to: 'h9' }), { code: 'not-found' });
  const begun = await vms.migrate('vm1', { to: 'h2' });
  const { askedAt = 0, ...request } = vm().migrationRequest ?? {};
  assert.deepEqual(request, { to: 'h2', taskId: begun.id });
  assert.ok(askedAt > 0, 'one that cannot begin does not wait for ever');
  await assert.rejects(vms.migrate('vm1', {}), /about to be migrated already/);
});

test('delete, in every phase; a second one is told so', async () => {
  for (const phase of Object.values(PHASES)) {
    await have({ phase, intent: 'running', startTask: task(1) }, 1);
    const deletion = await vms.delete('vm1', { ifMatch: null });
    assert.equal(deletion.state, 'running');
    assert.equal(vm().deleting, true);
    assert.equal(stateOf(1), 'cancelled');
    assert.match((await vms.delete('vm1', { ifMatch: null })).message, /being deleted already/);
    await assert.rejects(vms.start('vm1'), { code: 'conflict' });
    await assert.rejects(vms.stop('vm1', {}), { code: 'conflict' });
  }
  await assert.rejects(vms.delete('nobody', { ifMatch: null }), { code: 'not-found' });
});

test('a change holds for the revision that was read', async () => {
  await have({});
  const { revision } = vms.get('vm1');
  await vms.patch('vm1', { labels: { a: '1' }, ifMatch: `"${revision}"` });
  await assert.rejects(vms.patch('vm1', { labels: {}, ifMatch: revision }), { code: 'stale-revision' });
  await assert.rejects(vms.delete('vm1', { ifMatch: revision }), { code: 'stale-revision' });
  assert.deepEqual(vm().spec.labels, { a: '1' });
  assert.equal(vm().deleting, false);
});

test('vCPUs and memory change only while nothing runs', async () => {
  await have({});
  await vms.patch('vm1', { vcpus: 2, ifMatch: null });
  assert.equal(vm().spec.vcpus, 2);
  await have({ phase: PHASES.running });
  await assert.rejects(vms.patch('vm1', { vcpus: 3, ifMatch: null }), { code: 'conflict' });
  await vms.patch('vm1', { restartPolicy: 'never', ifMatch: null });
  assert.equal(vm().spec.restartPolicy, 'never');
});

test('changes at the same time, through two control nodes, all happen', async () => {
  await have({ phase: PHASES.running, intent: 'running' });
  const other = await etcd.follow();
  const theirs = new VmsBackend((await startBackend(other)).context);
  await Promise.all([vms.suspend('vm1'), theirs.reset('vm1'), vms.patch('vm1', { labels: { a: '1' }, ifMatch: null })]);
  const look = { deadlineMs: 5_000, signal: new AbortController().signal, what: 'the reset' };
  await running.store.waitFor(() => (vm().resetRequest !== null ? true : undefined), look);
  assert.equal(vm().intent, 'suspended');
  assert.deepEqual(vm().spec.labels, { a: '1' });
});

test('lists by name, host and labels, a value with an equals sign included', async () => {
  await have({ phase: PHASES.running, spec: { ...vmRecord(1).spec, labels: { expr: 'a=b=c', tier: 'web' } } });
  const names = async (query: Parameters<VmsBackend['list']>[0]): Promise<string[]> =>
    (await vms.list(query, { signal: new AbortController().signal })).items.map(({ name }) => name);
  assert.deepEqual(await names({}), ['vm1']);
  assert.deepEqual(await names({ host: 'h1' }), ['vm1']);
  assert.deepEqual(await names({ host: 'h2' }), []);
  assert.deepEqual(await names({ label: ['expr=a=b=c', 'tier'] }), ['vm1']);
  assert.deepEqual(await names({ label: ['expr=a=b'] }), []);
  assert.deepEqual(await names({ label: ['tier=db'] }), []);
  // Inherited properties of an object are no labels.
  for (const label of ['toString', 'constructor', '__proto__'])
    assert.deepEqual(await names({ label: [label] }), [], label);
});
