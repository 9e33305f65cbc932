import assert from 'node:assert/strict';
import { test } from 'node:test';
import { vmRecord } from '../../core/plan/testing/sample-records.ts';
import type { Etcd, WatchOptions } from '../../etcd/api.ts';
import type { Transaction, WatchEvent } from '../../etcd/records.ts';
import { EtcdState } from '../../sim/etcd/etcd-state.ts';
import { SimClock } from '../../sim/time/sim-clock.ts';
import { ClusterStore } from './cluster-store.ts';

const KEY = '/gp/vm/vm-000000000001';

/**
 * A store that follows an etcd whose watch shows a transaction before the transaction is answered, and after `others`
 * wrote as well.
 */
async function followed(others: (state: EtcdState) => void): Promise<ClusterStore> {
  const state = new EtcdState();
  const told = Promise.withResolvers<WatchOptions>();
  const etcd = {
    clock: new SimClock(),
    list: async () => ({ revision: state.revision, entries: [] }),
    watch: (_prefix: string, options: WatchOptions) => {
      told.resolve(options);
      return new Promise<void>(() => undefined);
    },
    txn: async (transaction: Transaction) => {
      const from = state.revision + 1;
      const result = state.txn(transaction);
      others(state);
      const events: readonly WatchEvent[] = state.eventsFrom(from, '');
      await (await told.promise).onEvents(events, state.revision);
      return result;
    },
  } as unknown as Etcd;
  const store = new ClusterStore(etcd, () => '00');
  const ready = new Promise<void>((resolve) => {
    void store.follow({ signal: new AbortController().signal, onReady: resolve });
  });
  await ready;
  return store;
}

test('what this process wrote is in its tables as it wrote it, and what somebody else wrote after it as they did', async () => {
  const value = { ...vmRecord({ kind: 'stopped' }), name: 'ours' };
  const alone = await followed(() => undefined);
  assert.equal((await alone.transact([{ key: KEY, value, expect: 0 }], null)).kind, 'committed');
  assert.equal(alone.vms.get('vm-000000000001')?.value, value);
  const overtaken = await followed(
    (state) =>
      void state.txn({ compare: [], success: [{ put: KEY, value: JSON.stringify({ ...value, name: 'theirs' }) }] }),
  );
  assert.equal((await overtaken.transact([{ key: KEY, value, expect: 0 }], null)).kind, 'committed');
  assert.deepEqual(overtaken.vms.get('vm-000000000001')?.value, { ...value, name: 'theirs' });
});
