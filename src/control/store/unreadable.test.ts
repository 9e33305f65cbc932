import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyOf, PREFIX } from '../../core/model/keys.ts';
import { incarnation, VM, vmRecord } from '../../core/plan/testing/sample-records.ts';
import type { Etcd, WatchOptions } from '../../etcd/api.ts';
import type { Op } from '../../etcd/records.ts';
import { EtcdState } from '../../sim/etcd/etcd-state.ts';
import { ClusterStore } from './cluster-store.ts';

const record = (id: string = VM) => ({ ...vmRecord({ kind: 'running', incarnation: incarnation(1) }), id });
const STRAY = `${PREFIX.reservation}disk-0000000000ff`;

/** An etcd whose watch delivers what `write` wrote, and whose clock counts the turns that were asked for. */
class OneEtcd {
  readonly state = new EtcdState();
  turns = 0;
  #watch: WatchOptions | null = null;
  readonly etcd = {
    clock: {
      monotonicMs: () => 0,
      wallMs: () => 0,
      after: (_ms: number, act: () => void) => {
        this.turns++;
        setImmediate(act);
        return () => undefined;
      },
    },
    list: async (prefix: string) => ({ revision: this.state.revision, entries: this.state.list(prefix) }),
    watch: (_prefix: string, options: WatchOptions) => {
      this.#watch = options;
      return new Promise<void>(() => undefined);
    },
    txn: async (transaction: Parameters<EtcdState['txn']>[0]) => this.state.txn(transaction),
  } as unknown as Etcd;

  write(...success: Op[]): void {
    const from = this.state.revision + 1;
    this.state.txn({ compare: [], success });
    void this.#watch?.onEvents(this.state.eventsFrom(from, ''), this.state.revision);
  }

  async follow(store: ClusterStore): Promise<void> {
    const ready = Promise.withResolvers<void>();
    store.follow({ signal: new AbortController().signal, onReady: ready.resolve }).catch(ready.reject);
    await ready.promise;
    await new Promise(setImmediate);
  }
}

test('whatever value is found or comes, all others are read, and it is named until it is right or gone', async () => {
  const one = new OneEtcd();
  one.write(
    { put: STRAY, value: 'not JSON' },
    { put: `${PREFIX.reservation}../x`, value: '{}' },
    { put: '/gp/later/x', value: '1' },
    { put: keyOf.vm(VM), value: JSON.stringify({ ...record(), phase: null }) },
    { put: keyOf.vm('vm-000000000002' as typeof VM), value: JSON.stringify(record('vm-000000000002')) },
  );
  const warned: string[] = [];
  const log = { info: () => undefined, warn: (_: string, fields?: object) => void warned.push(JSON.stringify(fields)) };
  const store = new ClusterStore(one.etcd, () => '00', log);
  await one.follow(store);
  assert.deepEqual([...store.vms.keys()], ['vm-000000000002']);
  assert.deepEqual(
    [...store.unreadable.keys()].sort(),
    ['/gp/later/x', `${PREFIX.reservation}../x`, STRAY, keyOf.vm(VM)].sort(),
  );
  assert.equal(store.unreadable.get(STRAY), 'is not JSON');
  assert.ok(warned.some((line) => line.includes(STRAY)));
  const changed: string[] = [];
  store.onChange((changes) => changed.push(...changes.map(({ key }) => key)));
  one.write({ put: keyOf.vm(VM), value: JSON.stringify(record()) }, { delete: STRAY }, { delete: '/gp/later/x' });
  assert.deepEqual([...store.vms.keys()].sort(), [VM, 'vm-000000000002']);
  assert.deepEqual([...store.unreadable.keys()], [`${PREFIX.reservation}../x`]);
  assert.ok(changed.includes(keyOf.vm(VM)) && changed.includes(STRAY));
  one.write({ put: keyOf.vm(VM), value: '"overwritten"' });
  assert.equal(store.vms.get(VM), undefined);
  assert.equal(store.unreadable.get(keyOf.vm(VM)), 'is no object');
  one.write({ put: keyOf.vm(VM), value: 'overwritten again' });
  assert.deepEqual(store.lastReadable.get(keyOf.vm(VM)), record(), 'what it was is remembered');
  one.write({ put: keyOf.vm(VM), value: JSON.stringify(record()) });
  assert.deepEqual([...store.lastReadable], []);
});

test('a value that is no record is left alone: what would replace it is refused', async () => {
  const one = new OneEtcd();
  one.write({ put: keyOf.vm(VM), value: '{' });
  const store = new ClusterStore(one.etcd, () => '00');
  await one.follow(store);
  const outcome = await store.transact([{ key: keyOf.vm(VM), value: record(), expect: 0 }], null);
  assert.equal(outcome.kind, 'conflict');
  assert.equal(one.state.get(keyOf.vm(VM))?.value, '{');
  assert.equal(store.unreadable.get(keyOf.vm(VM)), 'is not JSON');
});

test('20,000 VMs are read in turns of a bounded size, and what comes meanwhile is newer', async () => {
  const one = new OneEtcd();
  for (let n = 0; n < 20_000; n += 100)
    one.write(
      ...Array.from({ length: 100 }, (_, i) => {
        const id = `vm-${(n + i).toString(16).padStart(12, '0')}` as typeof VM;
        return { put: keyOf.vm(id), value: JSON.stringify(record(id)) };
      }),
    );
  const store = new ClusterStore(one.etcd, () => '00');
  await one.follow(store);
  assert.equal(store.vms.size, 20_000);
  const chars = one.state.list(PREFIX.vm).reduce((sum, { value }) => sum + value.length, 0);
  assert.ok(one.turns >= Math.floor(chars / 300_000), `${one.turns} turns for ${chars} characters`);
  const catchingUp = store.catchUp();
  one.write({ put: keyOf.vm(VM), value: JSON.stringify({ ...record(), name: 'newer' }) });
  await catchingUp;
  assert.equal(store.vms.get(VM)?.value.name, 'newer');
});
