import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyOf } from '../../core/model/keys.ts';
import { incarnation, task, VM, vmRecord } from '../../core/plan/testing/sample-records.ts';
import { newTask } from '../../core/request/basis.ts';
import { stopVm } from '../../core/request/vm-wishes.ts';
import type { Etcd } from '../../etcd/api.ts';
import type { Transaction } from '../../etcd/records.ts';
import { EtcdState } from '../../sim/etcd/etcd-state.ts';
import { ClusterStore } from '../store/cluster-store.ts';
import { basisOf, changeWithTask } from './changes.ts';

const clock = { wallMs: () => 0, monotonicMs: () => 0, after: () => () => undefined };

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
    ...newTask(basisOf(context), { kind: 'vm.stop', target: { kind: 'vm', name: 'web' }, message: '' }),
    id: task(1),
  };
  const stopRequest = { mode: 'acpi', patienceMs: 1_000, taskId: before.id } as const;
  const known = store.vms.get(VM);
  put(keyOf.task(before.id), before);
  put(keyOf.vm(VM), vmRecord({ kind: 'running', incarnation: incarnation(1) }, { intent: 'stopped', stopRequest }));
  const refused = await store.transact([{ key: keyOf.vm(VM), value: {}, expect: known?.revision ?? 0 }], null);
  assert.deepEqual(refused, { kind: 'conflict' });
  const wish = changeWithTask(context, (basis) => stopVm(basis, null, VM, { mode: 'hard' }));
  await store.catchUp();
  const { value } = await wish;
  assert.equal(store.vms.get(VM)?.value.stopRequest?.taskId, value.id);
  assert.equal(store.tasks.get(before.id)?.value.state, 'cancelled');
});
