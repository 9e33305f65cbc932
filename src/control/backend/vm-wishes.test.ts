import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CodedError } from '../../base/errors.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import { incarnation, task, VM, vmRecord } from '../../core/plan/testing/sample-records.ts';
import type { Etcd } from '../../etcd/api.ts';
import type { Transaction } from '../../etcd/records.ts';
import { EtcdState } from '../../sim/etcd/etcd-state.ts';
import { ClusterStore } from '../store/cluster-store.ts';
import { newTask } from './changes.ts';
import { VmWishes } from './vm-wishes.ts';

const clock = { wallMs: () => 0, monotonicMs: () => 0, after: () => () => undefined };

/** A store that has read these records, and the context of changes to it. */
async function have(vm: VmRecord, kind: string, state: TaskRecord['state'] = 'running') {
  const etcdState = new EtcdState();
  const etcd = {
    clock,
    txn: async (transaction: Transaction) => etcdState.txn(transaction),
    list: async (prefix: string) => ({ revision: etcdState.revision, entries: etcdState.list(prefix) }),
  } as unknown as Etcd;
  const store = new ClusterStore(etcd, () => '00');
  const context = { store, clock, randomHex: () => '00000000000a' };
  const asked = { ...newTask(context, { kind, target: { kind: 'vm', name: 'web' }, message: '' }), id: task(1), state };
  for (const [key, value] of [
    [keyOf.vm(VM), vm],
    [keyOf.vmName('web'), VM],
    [keyOf.task(asked.id), asked],
  ] as const)
    etcdState.txn({ compare: [], success: [{ put: key, value: JSON.stringify(value) }] });
  await store.catchUp();
  const cancel = async (id: string = task(1)): Promise<readonly [TaskRecord['state'], VmRecord | undefined]> => {
    const { value } = await new VmWishes(context).cancel(id);
    return [value.state, store.vms.get(VM)?.value];
  };
  return { cancel };
}

const RUNNING = { kind: 'running', incarnation: incarnation(1) } as const;
const ENDS = { source: incarnation(1), destination: incarnation(2), taskId: task(1) };

test('cancel: a move that has not begun, a start and a reset are taken back at once', async () => {
  const rows = [
    ['vm.migrate', vmRecord(RUNNING, { migrationRequest: { to: null, taskId: task(1) } }), { migrationRequest: null }],
    ['vm.start', vmRecord({ kind: 'stopped' }, { startTask: task(1) }), { startTask: null, intent: 'stopped' }],
    [
      'vm.start',
      vmRecord(
        { kind: 'starting', incarnation: incarnation(1), reason: 'requested', avoid: [] },
        { startTask: task(1) },
      ),
      { startTask: null, intent: 'stopped' },
    ],
    ['vm.reset', vmRecord(RUNNING, { resetRequest: { taskId: task(1) } }), { resetRequest: null }],
  ] as const;
  for (const [kind, vm, change] of rows)
    assert.deepEqual(await (await have(vm, kind)).cancel(), ['cancelled', { ...vm, ...change }], kind);
});

test('cancel: a move that is under way is undone by its leader, and asking twice changes nothing', async () => {
  const vm = vmRecord({ kind: 'migrating', ...ENDS, deadlineAt: 0 });
  const { cancel } = await have(vm, 'vm.migrate');
  const asked = { ...vm, cancelRequest: { taskId: task(1) } };
  assert.deepEqual(await cancel(), ['running', asked]);
  assert.deepEqual(await cancel(), ['running', asked]);
  const undone = vmRecord({ kind: 'unwinding', ...ENDS, reason: 'it was cancelled.', cancelled: true });
  assert.deepEqual(await (await have(undone, 'vm.migrate')).cancel(), ['running', undone]);
});

test('cancel: what was committed, what has ended, and what cannot be taken back is refused, and says why', async () => {
  const switching = vmRecord({ kind: 'switching', ...ENDS });
  const stopping = vmRecord(RUNNING, { stopRequest: { mode: 'acpi', patienceMs: 1, taskId: task(1) } });
  const rows = [
    ['vm.migrate', switching, /too late/, /only forward is left/],
    ['vm.start', vmRecord(RUNNING), /too late/, /is started already/],
    ['vm.stop', stopping, /cannot be cancelled/, /gp vm start web/],
    ['vm.delete', vmRecord(RUNNING, { deleting: true }), /cannot be cancelled/, /may be deleted already/],
    ['vm.suspend', vmRecord(RUNNING, { pauseTask: task(1) }), /cannot be cancelled/, /gp vm resume web/],
    ['vm.resume', vmRecord(RUNNING, { pauseTask: task(1) }), /cannot be cancelled/, /gp vm pause web/],
    ['shared-disk.attach', vmRecord(RUNNING), /cannot be cancelled/, /command for the opposite/],
  ] as const;
  for (const [kind, vm, message, advice] of rows)
    await assert.rejects((await have(vm, kind)).cancel(), (error: CodedError) => {
      assert.equal(error.code, 'conflict');
      assert.match(error.message, message);
      assert.match(error.advice ?? '', advice);
      assert.match(error.advice ?? '', /^Nothing was changed\./);
      return true;
    });
  const ended = await have(switching, 'vm.migrate', 'failed');
  await assert.rejects(ended.cancel(), { code: 'conflict', message: /has ended: failed/ });
  await assert.rejects(ended.cancel('task-00000000000f'), { code: 'not-found' });
});

test('a wish ends the task of the one before it, also where its record was read back before the watch has shown that task (found by the simulator, seed 103599)', async () => {
  const state = new EtcdState();
  const etcd = {
    clock,
    txn: async (transaction: Transaction) => state.txn(transaction),
    list: async (prefix: string) => ({ revision: state.revision, entries: state.list(prefix) }),
  } as unknown as Etcd;
  const store = new ClusterStore(etcd, () => '00');
  const context = { store, clock, randomHex: () => '00000000000a' };
  const put = (key: string, value: object): void => {
    state.txn({ compare: [], success: [{ put: key, value: JSON.stringify(value) }] });
  };
  put(keyOf.vm(VM), vmRecord({ kind: 'running', incarnation: incarnation(1) }));
  await store.catchUp();
  // Somebody else asks for a stop; a refused transaction of ours reads the record, and the watch is late.
  const before = {
    ...newTask(context, { kind: 'vm.stop', target: { kind: 'vm', name: 'web' }, message: '' }),
    id: task(1),
  };
  const stopRequest = { mode: 'acpi', patienceMs: 1_000, taskId: before.id } as const;
  const known = store.vms.get(VM);
  put(keyOf.task(before.id), before);
  put(keyOf.vm(VM), vmRecord({ kind: 'running', incarnation: incarnation(1) }, { intent: 'stopped', stopRequest }));
  const refused = await store.transact([{ key: keyOf.vm(VM), value: {}, expect: known?.revision ?? 0 }], null);
  assert.deepEqual(refused, { kind: 'conflict' });
  const wish = new VmWishes(context).stop(VM, { mode: 'hard' });
  await store.catchUp();
  const { value } = await wish;
  assert.equal(store.vms.get(VM)?.value.stopRequest?.taskId, value.id);
  assert.equal(store.tasks.get(before.id)?.value.state, 'cancelled');
});
