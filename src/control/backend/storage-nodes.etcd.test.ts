import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { parseStorageName, type VmId } from '../../base/ids.ts';
import { joinUnchecked } from '../../core/request/joining.ts';
import { deleteVm, startVm } from '../../core/request/vm-wishes.ts';
import { MIB, sha, startBackend, type TestBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { diskRecord, type RunningStore, storageRecord, vmRecord } from '../testing/records.ts';
import { AccessBackend } from './access.ts';
import { basisOf, change } from './changes.ts';
import { StorageNodesBackend } from './storage-nodes.ts';
import { VmsBackend } from './vms.ts';

const etcd = etcdOfFile();
let running: RunningStore;
let backend: TestBackend;

beforeEach(async () => {
  running = await etcd.follow();
  backend = await startBackend(running);
});

const remove = (name: string, more: { lost?: boolean; confirmed?: boolean; ifMatch?: string } = {}) =>
  new StorageNodesBackend(backend.context).delete(
    name,
    { ifMatch: null, lost: true, confirmed: true, ...more },
    { principal: { name: 'anna' } },
  );

/** Node s2, which does not answer, with the disk of a VM. */
async function withNode(): Promise<VmId> {
  const vm = vmRecord(1);
  const disk = { ...diskRecord(1, vm), node: parseStorageName('s2') };
  const writes = [
    { key: '/gp/storage/s2', value: { ...storageRecord('s2'), name: 's2' }, expect: null },
    { key: `/gp/vm/${vm.id}`, value: vm, expect: null },
    { key: `/gp/vm-name/${vm.name}`, value: vm.id, expect: null },
    { key: `/gp/disk/${disk.id}`, value: disk, expect: null },
  ];
  await running.store.transact(writes, null);
  return vm.id;
}

test('what is lost is named before anything is changed, and a node that answers is not lost', async () => {
  await withNode();
  await assert.rejects(remove('s9'), { code: 'not-found' });
  await assert.rejects(remove('s1'), { code: 'conflict', message: /s1 answers: it is not lost/ });
  await assert.rejects(remove('s2', { lost: false }), { code: 'conflict', advice: /gp storage remove s2 --lost/ });
  await assert.rejects(remove('s2', { confirmed: false }), {
    code: 'conflict',
    message: /Lost with it: 1 VM \(vm1\), 1 disk \(disk-[0-9a-f]{12}\), no shared disks, no images\./,
    advice: /Nothing was changed.*--yes/,
  });
  await assert.rejects(remove('s2', { ifMatch: '1' }), { code: 'stale-revision' });
  assert.equal(running.store.storage.get('s2')?.value.lost, undefined);
});

test('a node that was declared lost is out for good: audited, its name and its VMs refused, and repeating finishes it', async () => {
  await withNode();
  const access = new AccessBackend(backend.context);
  await access.createJoinToken({ role: 'storage', name: 's2' });
  const loss = await remove('s2');
  assert.deepEqual([loss.node, loss.vms, loss.disks.count], ['s2', { count: 1, names: ['vm1'] }, 1]);
  const { lost } = running.store.storage.get('s2')?.value ?? {};
  assert.equal(lost?.by, 'anna');
  const events = [...running.store.events.values()].map(({ value }) => value);
  assert.match(
    events.find(({ kind }) => kind === 'storage-lost')?.message ?? '',
    /declared lost by anna\. Lost with it: 1 VM \(vm1\)/,
  );
  assert.equal(running.store.tokens.size, 0, 'nobody joins by a token from before');
  assert.throws(
    () => joinUnchecked(basisOf(backend.context), { role: 'storage', name: 's2', addresses: { control: '10.0.0.9' } }),
    /named s2 was declared lost by anna/,
  );
  await assert.rejects(
    change(backend.context, (basis) => startVm(basis, 'vm1')),
    {
      code: 'conflict',
      message: /was on storage node s2, which is lost/,
    },
  );
  await change(backend.context, (basis) => deleteVm(basis, 'vm1', { ifMatch: null }));
  assert.equal((await remove('s2')).disks.count, 1, 'repeated');
  assert.deepEqual(running.store.storage.get('s2')?.value.lost, lost);
});

test('an empty node is removed, whether it answers or not, and its name is free again', async () => {
  await running.store.transact([{ key: '/gp/storage/s2', value: storageRecord('s2'), expect: null }], null);
  await new AccessBackend(backend.context).createJoinToken({ role: 'storage', name: 's2' });
  await assert.rejects(remove('s2', { lost: false, ifMatch: '1' }), { code: 'stale-revision' });
  await remove('s2', { lost: false });
  assert.deepEqual([running.store.storage.get('s2'), running.store.tokens.size], [undefined, 0]);
  const events = [...running.store.events.values()].map(({ value }) => value);
  assert.deepEqual(
    events.map(({ kind, message }) => [kind, message]),
    [['storage-removed', 'Storage node s2 was removed by anna. Nothing was on it.']],
  );
  const joining = { role: 'storage', name: 's2', addresses: { control: '10.0.0.9' } } as const;
  assert.equal(joinUnchecked(basisOf(backend.context), joining).id, 's2');
  await assert.rejects(remove('s2', { lost: false }), { code: 'not-found' });
});

test('a node with a disk, or the only copy of an image, is not removed, and what is there is named', async () => {
  await withNode();
  const refused = { code: 'conflict', message: /s2 is not empty\. On it: 1 VM \(vm1\), 1 disk .* no images\./ };
  await assert.rejects(remove('s2', { lost: false }), refused);
  const direct = { kernel: { sha256: sha('1'), sizeBytes: 1 }, initrd: null, append: '' };
  const defaults = { memoryBytes: MIB, vcpus: 1, blankDiskBytes: null };
  const image = { name: 'web', disk: null, direct, defaults, nodes: ['s1'], createdAt: 0 };
  await running.store.transact([{ key: '/gp/image/web', value: image, expect: null }], null);
  await assert.rejects(remove('s1', { lost: false }), { code: 'conflict', message: /1 image \(web\)\.$/ });
  assert.deepEqual(
    ['s1', 's2'].map((node) => running.store.storage.get(node)?.value.leaving),
    [undefined, undefined],
  );
});

/** Calls `act` once, between a decision and its transaction. */
function beforeNextTransaction(act: () => Promise<unknown>): void {
  const { store } = running;
  const transact = store.transact.bind(store);
  store.transact = async (...args: Parameters<typeof transact>) => {
    store.transact = transact;
    await act();
    return transact(...args);
  };
}

test('a VM that is created while its node is being removed keeps the node, or finds no room on it', async () => {
  const { store } = running;
  await store.transact([{ key: '/gp/storage/s2', value: storageRecord('s2'), expect: null }], null);
  beforeNextTransaction(async () => {
    const vm = vmRecord(1);
    const disk = { ...diskRecord(1, vm), node: parseStorageName('s2') };
    await store.transact([{ key: `/gp/disk/${disk.id}`, value: disk, expect: null }], null);
  });
  await assert.rejects(remove('s2', { lost: false }), { code: 'conflict', message: /s2 is not empty/ });
  assert.deepEqual(store.storage.get('s2')?.value, storageRecord('s2'), 'the mark is taken back');
  // The reverse order: decided before the mark, and sent after it.
  beforeNextTransaction(() => {
    const leaving = { ...storageRecord('s1'), leaving: true };
    return store.transact([{ key: '/gp/storage/s1', value: leaving, expect: null }], null);
  });
  const create = new VmsBackend(backend.context).create({ name: 'web', disks: [{ sizeBytes: MIB }], start: false });
  await assert.rejects(create, { code: 'no-capacity', message: /s1 is being removed/ });
});
