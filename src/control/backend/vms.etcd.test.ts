import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { parseGeneration, parseHostName } from '../../base/ids.ts';
import { keyOf } from '../../core/model/keys.ts';
import type { Incarnation, VmPhase, VmRecord } from '../../core/model/vm.ts';
import { startBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { type RunningStore, taskRecord, vmRecord } from '../testing/records.ts';
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
const _task = (number: number) => taskRecord(number).id;

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

test('a change holds for the revision that was read', async () => {
  await have({});
  const { revision } = vms.get('vm1');
  await vms.patch('vm1', { labels: { a: '1' }, ifMatch: `"${revision}"` });
  await assert.rejects(vms.patch('vm1', { labels: {}, ifMatch: revision }), { code: 'stale-revision' });
  await assert.rejects(vms.delete('vm1', { ifMatch: revision }), { code: 'stale-revision' });
  assert.deepEqual(vm().spec.labels, { a: '1' });
  assert.equal(vm().deleting, false);
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
