import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTaskId } from '../../base/ids.ts';
import { keyOf } from '../../core/model/keys.ts';
import { VM, vmRecord } from '../../core/plan/testing/sample-records.ts';
import type { Etcd, TxnResult } from '../../etcd/api.ts';
import { EtcdDeadlineUnknown, EtcdUnavailable } from '../../etcd/errors.ts';
import type { Transaction } from '../../etcd/records.ts';
import { EtcdState } from '../../sim/etcd/etcd-state.ts';
import { ClusterStore } from './cluster-store.ts';
import { leaderStore } from './leader-store.ts';

const never = new Promise<never>(() => undefined);
const KEY = keyOf.vm(VM);
const record = (name: string) => ({ ...vmRecord({ kind: 'stopped' }), name });
const LAN = { name: 'lan', vni: 1, cidr: null, gateway: null, dhcp: false, nat: false, reservations: {}, createdAt: 0 };

/**
 * An etcd whose next transaction is under way for so long that its sender gives up; `arrive` applies the transaction
 * after all.
 */
function slowEtcd(state: EtcdState): { readonly etcd: Etcd; readonly arrive: () => TxnResult } {
  let late: Transaction | null = null;
  const etcd = {
    txn: async (transaction: Transaction) => {
      if (late !== null) return state.txn(transaction);
      late = transaction;
      throw new EtcdDeadlineUnknown('No answer.');
    },
    list: async (prefix: string) => ({ revision: state.revision, entries: state.list(prefix) }),
  } as unknown as Etcd;
  return {
    etcd,
    arrive: () => {
      assert.ok(late !== null);
      return state.txn(late);
    },
  };
}

test('a transaction that is reported as not applied is never applied afterwards (found by the simulator: two VMs in one slot)', async () => {
  const state = new EtcdState();
  const { revision } = state.txn({ compare: [], success: [{ put: KEY, value: JSON.stringify(record('old')) }] });
  const { etcd, arrive } = slowEtcd(state);
  const store = new ClusterStore(etcd, () => '00');
  const outcome = await store.transact([{ key: KEY, value: record('new'), expect: revision }], null);
  assert.deepEqual(outcome, { kind: 'conflict', isUncertain: true });
  assert.equal(arrive().succeeded, false);
  assert.equal(state.get(KEY)?.value, JSON.stringify(record('old')));
  // The store agrees with etcd: the next transaction of the same object succeeds.
  const known = store.vms.get('vm-000000000001');
  assert.equal(known?.revision, state.get(KEY)?.modRevision);
  const next = await store.transact([{ key: KEY, value: record('new'), expect: known?.revision ?? 0 }], null);
  assert.equal(next.kind, 'committed');
});

test('a removal that was not applied is not taken for applied because somebody else put the same into another of its objects (found by the simulator, seed 105784)', async () => {
  const state = new EtcdState();
  const network = '/gp/network/lan';
  state.txn({
    compare: [],
    success: [
      { put: KEY, value: JSON.stringify(record('web')) },
      { put: network, value: JSON.stringify(LAN) },
    ],
  });
  const { etcd } = slowEtcd(state);
  const store = new ClusterStore(etcd, () => '00');
  await store.catchUp();
  const expect = state.revision;
  // The removal of another VM of that network puts the same.
  state.txn({ compare: [], success: [{ put: network, value: JSON.stringify(LAN) }] });
  const writes = [
    { key: KEY, value: null, expect },
    { key: network, value: LAN, expect },
  ];
  assert.deepEqual(await store.transact(writes, null), { kind: 'conflict', isUncertain: true });
  assert.ok(store.vms.get('vm-000000000001') !== undefined);
});

test('who leads no more overtakes nothing: its late transaction is refused by its guard', async () => {
  const state = new EtcdState();
  const guard = {
    key: '/gp/election/1',
    createRevision: state.txn({ compare: [], success: [{ put: '/gp/election/1', value: 'c1' }] }).revision,
  };
  const { revision } = state.txn({ compare: [], success: [{ put: KEY, value: JSON.stringify(record('old')) }] });
  const { etcd, arrive } = slowEtcd(state);
  const store = new ClusterStore(etcd, () => '00');
  state.txn({ compare: [], success: [{ delete: '/gp/election/1' }] });
  const outcome = await store.transact([{ key: KEY, value: record('new'), expect: revision }], guard);
  assert.deepEqual(outcome, { kind: 'conflict', isUncertain: true });
  assert.equal(arrive().succeeded, false);
  assert.equal(state.get(KEY)?.modRevision, revision);
});

test('E2 a leader that cannot learn what became of a commit commits nothing more: its term is over (found by the simulator, seed 106988)', async () => {
  const state = new EtcdState();
  const { revision } = state.txn({ compare: [], success: [{ put: '/gp/election/1', value: 'c1' }] });
  let sent = 0;
  const etcd = {
    txn: async () => {
      sent++;
      throw new EtcdDeadlineUnknown('No answer.');
    },
    list: async () => {
      throw new EtcdUnavailable('No answer.');
    },
  } as unknown as Etcd;
  const ends: string[] = [];
  const compare = { key: '/gp/election/1', createRevision: revision };
  let isValid = true;
  const leadership = { ...compare, compare, isValid: () => isValid, lost: never, resign: () => never };
  const hand = leaderStore(new ClusterStore(etcd, () => '00'), { ...leadership, epoch: 0 }, (why) => ends.push(why));
  assert.equal(hand.leads(), true);
  isValid = false;
  assert.equal(hand.leads(), false, 'the lease is not confirmed');
  isValid = true;
  const task = { kind: 'task', id: parseTaskId('task-000000000001'), value: null } as const;
  assert.equal(await hand.commit({ changes: [task], events: [] }), 'deposed');
  assert.equal(await hand.commit({ changes: [task], events: [] }), 'deposed');
  assert.deepEqual(ends, ['unknown-outcome']);
  assert.equal(sent, 1);
  assert.equal(hand.leads(), false, 'the term is over');
});
