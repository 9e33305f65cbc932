import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { keyOf, PREFIX } from '../../core/model/keys.ts';
import { EtcdClient } from '../../etcd/client.ts';
import { campaign, type Leadership } from '../../etcd/election.ts';
import { EtcdDeadlineUnknown, EtcdUnavailable } from '../../etcd/errors.ts';
import { startProxy } from '../../etcd/testing/etcd-cluster.ts';
import { randomHex } from '../../os/random.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { diskRecord, networkRecord, type RunningStore, taskRecord, vmRecord } from '../testing/records.ts';
import { ClusterStore } from './cluster-store.ts';
import { leaderStore, snapshotOf, writesOf } from './leader-store.ts';

const WAIT = { deadlineMs: 10_000, signal: new AbortController().signal, what: 'The change' };
const etcd = etcdOfFile();
let a: RunningStore;
let b: RunningStore;

beforeEach(async () => {
  a = await etcd.follow();
  b = await etcd.follow();
});

const put = (key: string, value: object | string, expect: number | null = 0) => ({ key, value, expect });

test('an own commit is in the tables when its promise resolves; others see it by their watch', async () => {
  const vm = vmRecord(1);
  const outcome = await a.store.transact([put(keyOf.vm(vm.id), vm), put(keyOf.vmName(vm.name), vm.id)], null);
  assert.equal(outcome.kind, 'committed');
  assert.deepEqual(a.store.vms.get(vm.id)?.value, vm);
  assert.equal(a.store.vmNames.get('vm1')?.value, vm.id);
  const entry = await b.store.waitFor(() => b.store.vms.get(vm.id), WAIT);
  assert.deepEqual(entry, a.store.vms.get(vm.id));
  assert.equal(a.store.vms.get(vm.id)?.revision, outcome.kind === 'committed' ? outcome.revision : 0);
});

test('a conflict refreshes what was compared: the next attempt succeeds', async () => {
  const vm = vmRecord(1);
  await a.store.transact([put(keyOf.vm(vm.id), vm)], null);
  const stale = await b.store.waitFor(() => b.store.vms.get(vm.id), WAIT);
  await a.store.transact([put(keyOf.vm(vm.id), { ...vm, intent: 'running' }, stale.revision)], null);
  const write = put(keyOf.vm(vm.id), { ...vm, deleting: true }, stale.revision);
  // Its watch may or may not have brought the change by now; the transaction's answer has.
  assert.deepEqual(await b.store.transact([write], null), { kind: 'conflict' });
  const fresh = b.store.vms.get(vm.id);
  assert.equal(fresh?.value.intent, 'running');
  assert.equal((await b.store.transact([{ ...write, expect: fresh?.revision ?? 0 }], null)).kind, 'committed');
  assert.equal((await a.store.transact([{ ...write, expect: 0 }], null)).kind, 'conflict');
  await a.store.transact([{ key: keyOf.vm(vm.id), value: null, expect: null }], null);
  assert.equal((await b.store.transact([write], null)).kind, 'conflict');
  assert.equal(b.store.vms.get(vm.id), undefined, 'a deletion is a fresh state too');
});

test('an object that a change was decided from must be unchanged though it is not written', async () => {
  const network = networkRecord('lan');
  await a.store.transact([put(keyOf.network(network.name), network)], null);
  const held = [{ key: keyOf.network(network.name), expect: a.store.networks.get('lan')?.revision ?? 0 }];
  assert.equal((await a.store.transact([put(keyOf.vm(vmRecord(1).id), vmRecord(1))], null, held)).kind, 'committed');
  await b.store.transact([{ key: keyOf.network(network.name), value: null, expect: null }], null);
  assert.equal((await a.store.transact([put(keyOf.vm(vmRecord(2).id), vmRecord(2))], null, held)).kind, 'conflict');
  assert.equal(a.store.networks.get('lan'), undefined);
  assert.equal(a.store.vms.get(vmRecord(2).id), undefined);
});

test('a lost reply is read back: what happened counts as committed, once', async () => {
  const target = etcd.address;
  const proxy = await startProxy(target);
  const client = new EtcdClient(etcd.clientOptions([proxy.address]));
  const vm = vmRecord(1);
  // The transaction goes through and its answer does not: the client sees the connection die.
  const lossy = new Proxy(client, {
    get: (of, name) => {
      if (name !== 'txn')
        return typeof of[name as 'txn'] === 'function' ? of[name as 'txn'].bind(of) : of[name as 'txn'];
      return async (...args: Parameters<EtcdClient['txn']>) => {
        await of.txn(...args);
        proxy.cut();
        throw new EtcdDeadlineUnknown('the connection was lost');
      };
    },
  });
  const lossyStore = new ClusterStore(lossy, randomHex);
  const created = await lossyStore.transact([put(keyOf.vm(vm.id), vm), put(keyOf.vmName('vm1'), vm.id)], null);
  assert.equal(created.kind, 'committed');
  assert.deepEqual(lossyStore.vms.get(vm.id)?.value, vm);
  const revision = (): number => lossyStore.vms.get(vm.id)?.revision ?? 0;
  // The same value again, under a condition that does not hold: nothing in the table comes from this transaction.
  assert.equal(
    (await lossyStore.transact([put(keyOf.vm(vm.id), { ...vm, intent: 'running' }, 1)], null)).kind,
    'conflict',
  );
  const changed = { ...vm, intent: 'suspended' };
  assert.equal((await lossyStore.transact([put(keyOf.vm(vm.id), changed, revision())], null)).kind, 'committed');
  // A value that somebody else may also have written proves nothing: the caller decides anew.
  assert.equal((await lossyStore.transact([put(keyOf.vm(vm.id), changed, revision())], null)).kind, 'conflict');
  assert.equal(
    (await lossyStore.transact([{ key: keyOf.vmName('vm1'), value: null, expect: null }], null)).kind,
    'committed',
  );
  assert.equal(lossyStore.vmNames.size, 0);
  client.close();
  await proxy.close();
});

test('a transaction that was lost, and cannot be read back either, stays unknown', async () => {
  const proxy = await startProxy(etcd.address);
  const running = await etcd.follow({ endpoints: [proxy.address] });
  proxy.freeze();
  const transaction = running.store.transact([put(keyOf.vm(vmRecord(1).id), vmRecord(1))], null);
  await assert.rejects(transaction, EtcdDeadlineUnknown);
  await running.close();
  await proxy.close();
});

test('etcd that cannot be reached has changed nothing, and the store says that it is not connected', async () => {
  const proxy = await startProxy(etcd.address);
  const running = await etcd.follow({ endpoints: [proxy.address] });
  assert.equal(running.store.connected, true);
  await proxy.close();
  await assert.rejects(running.store.transact([put(keyOf.vm(vmRecord(1).id), vmRecord(1))], null), (error) => {
    assert.ok(error instanceof EtcdUnavailable || error instanceof EtcdDeadlineUnknown);
    return true;
  });
  assert.equal(running.store.connected, false);
  assert.equal((await a.client.get(keyOf.vm(vmRecord(1).id))) ?? null, null);
  await running.close();
});

test('a value that is no JSON is named with its key by every store, and following goes on', async () => {
  await a.client.txn({ compare: [], success: [{ put: '/gp/vm/broken', value: '{' }] });
  await a.store.transact([put(keyOf.vm(vmRecord(1).id), vmRecord(1))], null);
  for (const { store } of [a, b]) {
    await store.waitFor(() => store.vms.get(vmRecord(1).id), WAIT);
    assert.deepEqual([...store.unreadable], [['/gp/vm/broken', 'is not JSON']]);
  }
});

test('keys of nobody here are left alone', async () => {
  await a.client.txn({ compare: [], success: [{ put: '/gp/something-else', value: '{}' }] });
  await a.store.waitFor(() => (a.store.completeRevision > 1 ? true : undefined), WAIT);
  assert.equal(a.store.vms.size, 0);
});

test('disksOf follows creation, change and deletion, in the order of ids', async () => {
  const vm = vmRecord(1);
  const disks = [diskRecord(2, vm), diskRecord(1, vm), diskRecord(3, vmRecord(2))];
  await a.store.transact(
    disks.map((disk) => put(keyOf.disk(disk.id), disk)),
    null,
  );
  const ids = (of: RunningStore): string[] => of.store.disksOf(vm.id).map(({ id }) => id.slice(-1));
  assert.deepEqual(ids(a), ['1', '2']);
  await b.store.waitFor(() => (b.store.disks.size === 3 ? true : undefined), WAIT);
  assert.deepEqual(ids(b), ['1', '2']);
  const key = keyOf.disk(diskRecord(1, vm).id);
  await a.store.transact([put(key, diskRecord(1, vm, { phase: 'deleting' }), null)], null);
  assert.equal(a.store.disksOf(vm.id)[0]?.phase, 'deleting');
  await a.store.transact([{ key, value: null, expect: null }], null);
  assert.deepEqual(ids(a), ['2']);
  assert.deepEqual(a.store.disksOf(vmRecord(9).id), []);
});

test('5,000 VMs with their disks are loaded, and changed, without quadratic work', async () => {
  const writes = Array.from({ length: 5_000 }, (_, number) => {
    const vm = vmRecord(number);
    return [
      put(keyOf.vm(vm.id), vm),
      put(keyOf.vmName(vm.name), vm.id),
      put(keyOf.disk(diskRecord(number, vm).id), diskRecord(number, vm)),
    ];
  });
  for (let from = 0; from < writes.length; from += 40)
    await a.client.txn({
      compare: [],
      success: writes
        .slice(from, from + 40)
        .flat()
        .map(({ key, value }) => ({ put: key, value: JSON.stringify(value) })),
    });
  const startedAt = performance.now();
  const loaded = await etcd.follow();
  assert.equal(loaded.store.vms.size, 5_000);
  assert.equal(loaded.store.disks.size, 5_000);
  await loaded.store.catchUp();
  for (let number = 0; number < 5_000; number++) assert.equal(loaded.store.disksOf(vmRecord(number).id).length, 1);
  assert.ok(performance.now() - startedAt < 8_000, `${performance.now() - startedAt} ms`);
  await loaded.close();
});

test('waitFor: at once, after a change, at its deadline, by its signal, and by a condition that throws', async () => {
  const { store } = a;
  assert.equal(await store.waitFor(() => 7, WAIT), 7);
  const waiting = store.waitFor(() => store.vms.get(vmRecord(1).id)?.value.name, WAIT);
  await b.store.transact([put(keyOf.vm(vmRecord(1).id), vmRecord(1))], null);
  assert.equal(await waiting, 'vm1');
  await assert.rejects(
    store.waitFor(() => undefined, { ...WAIT, deadlineMs: 5, what: 'Nothing' }),
    /Nothing did not happen within 5 ms/,
  );
  const leaving = new AbortController();
  const left = store.waitFor(() => undefined, { ...WAIT, signal: leaving.signal });
  leaving.abort(new Error('gone'));
  await assert.rejects(left, /gone/);
  await assert.rejects(
    store.waitFor(() => undefined, { ...WAIT, signal: leaving.signal }),
    /gone/,
  );
  let asked = 0;
  const failing = store.waitFor(() => {
    if (asked++ > 0) throw new Error('the object is gone');
    return undefined;
  }, WAIT);
  const failed = assert.rejects(failing, /the object is gone/);
  await b.store.transact([{ key: keyOf.vm(vmRecord(1).id), value: null, expect: null }], null);
  await failed;
  // The follower lives on.
  await b.store.transact([put(keyOf.vm(vmRecord(2).id), vmRecord(2))], null);
  await store.waitFor(() => store.vms.get(vmRecord(2).id), WAIT);
});

async function lead(of: RunningStore): Promise<Leadership> {
  return campaign(of.client, { prefix: PREFIX.election.slice(0, -1), value: '{}', ttlSeconds: 2 });
}

test('a leader commits; one that was deposed is told so, once, and writes nothing', async () => {
  const leadership = await lead(a);
  let deposed = 0;
  const hand = leaderStore(a.store, { ...leadership, epoch: 0 }, () => deposed++);
  const vm = vmRecord(1);
  const event = { at: 1, kind: 'x', vm: vm.id, vmName: vm.name, host: null, generation: null, message: 'm' };
  assert.equal(hand.term, leadership.createRevision);
  const seen: string[] = [];
  hand.onChange(({ kind, id }) => seen.push(`${kind} ${id}`));
  assert.equal(await hand.commit({ changes: [{ kind: 'vm', id: vm.id, value: vm }], events: [event] }), 'committed');
  assert.deepEqual(hand.snapshot.vms.get(vm.id)?.value, vm);
  assert.equal(seen[0], `vm ${vm.id}`);
  assert.match(seen[1] ?? '', /^event 0/);
  await b.store.waitFor(() => b.store.vms.get(vm.id), WAIT);
  await b.store.transact([put(keyOf.vm(vm.id), { ...vm, intent: 'running' }, null)], null);
  const change = { changes: [{ kind: 'vm' as const, id: vm.id, value: { ...vm, deleting: true } }], events: [] };
  const results = [await hand.commit(change)];
  // Depending on whether the watch was faster, the first attempt conflicts.
  if (results[0] === 'conflict') results.push(await hand.commit(change));
  assert.equal(results.at(-1), 'committed');
  await leadership.resign();
  assert.equal(await hand.commit({ changes: [{ kind: 'vm', id: vm.id, value: null }], events: [] }), 'deposed');
  assert.equal(deposed, 1);
  assert.equal((await a.client.get(keyOf.vm(vm.id))) === undefined, false);
  hand.close();
});

test('index keys live and die with their objects', async () => {
  const leadership = await lead(a);
  const hand = leaderStore(a.store, { ...leadership, epoch: 0 }, () => undefined);
  const vm = vmRecord(1);
  const disk = diskRecord(1, vm);
  await a.store.transact(
    [
      put(keyOf.vm(vm.id), vm),
      put(keyOf.vmName(vm.name), vm.id),
      put(keyOf.disk(disk.id), disk),
      put(keyOf.diskPort(disk.node, disk.port), disk.id),
    ],
    null,
  );
  assert.equal(
    await hand.commit({ changes: [{ kind: 'disk', id: disk.id, value: { ...disk, phase: 'deleting' } }], events: [] }),
    'committed',
  );
  assert.equal(a.store.diskPorts.size, 1);
  assert.equal(await hand.commit({ changes: [{ kind: 'disk', id: disk.id, value: null }], events: [] }), 'committed');
  assert.equal(a.store.diskPorts.size, 0);
  assert.equal(await hand.commit({ changes: [{ kind: 'vm', id: vm.id, value: null }], events: [] }), 'committed');
  assert.equal(a.store.vmNames.size, 0);
  assert.deepEqual((await a.client.list('/gp/vm')).entries, []);
  const gone = writesOf({ kind: 'vm', id: vm.id, value: null }, snapshotOf(a.store));
  assert.deepEqual(gone, [{ key: keyOf.vm(vm.id), value: null, expect: 0 }]);
  const task = taskRecord(1);
  assert.deepEqual(writesOf({ kind: 'task', id: task.id, value: task }, snapshotOf(a.store)), [
    put(keyOf.task(task.id), task),
  ]);
  hand.close();
  await leadership.resign();
});
