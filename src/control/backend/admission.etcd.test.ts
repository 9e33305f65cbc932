import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { CreateVm } from '../../api/requests.ts';
import { parseImageName, parseStorageName } from '../../base/ids.ts';
import type { ImageRecord } from '../../core/model/cluster.ts';
import { MIB, sha, startBackend, type TestBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { networkRecord, type RunningStore, vmRecord } from '../testing/records.ts';
import type { Signed } from './guarded.ts';
import { VmsBackend } from './vms.ts';

const etcd = etcdOfFile();
let running: RunningStore;
let backend: TestBackend;
let vms: VmsBackend;

beforeEach(async () => {
  running = await etcd.follow();
  backend = await startBackend(running);
  vms = new VmsBackend(backend.context);
  const { store } = running;
  await store.transact(
    [
      { key: '/gp/network/lan', value: networkRecord('lan'), expect: 0 },
      { key: '/gp/network/bare', value: networkRecord('bare', { cidr: null, gateway: null, vni: 5_001 }), expect: 0 },
      { key: '/gp/image/disk-only', value: image('disk-only', true, false), expect: 0 },
      { key: '/gp/image/kernel', value: image('kernel', false, true), expect: 0 },
    ],
    null,
  );
  for (const digit of ['a', 'b']) backend.world.storage.get('s1')?.artifacts.add(sha(digit));
});

function image(name: string, disk: boolean, direct: boolean): ImageRecord {
  return {
    name: parseImageName(name),
    disk: disk ? { sha256: sha('a'), sizeBytes: MIB, format: 'qcow2', virtualSizeBytes: 64 * MIB } : null,
    direct: direct ? { kernel: { sha256: sha('b'), sizeBytes: MIB }, initrd: null, append: 'quiet' } : null,
    defaults: { memoryBytes: 128 * MIB, vcpus: 1, blankDiskBytes: disk ? null : MIB },
    nodes: [parseStorageName('s1')],
    createdAt: 1,
  };
}

/** Everything in etcd but what grows by itself. */
async function everything(): Promise<readonly string[]> {
  return (await running.client.list('/gp/')).entries.map(({ key, modRevision }) => `${key} ${modRevision}`);
}

async function _refuses(request: Signed<CreateVm>, code: string, message?: RegExp): Promise<void> {
  const before = await everything();
  await assert.rejects(vms.create(request), (error: Error & { code?: string; advice?: string }) => {
    assert.equal(error.code, code, error.message);
    if (message !== undefined) assert.match(error.message, message);
    assert.match(error.advice ?? 'Nothing was created.', /Nothing was (created|changed)/);
    return true;
  });
  assert.deepEqual(await everything(), before, 'nothing half-made');
}

test('what is admitted is there as a whole: records, index keys, reservation and task', async () => {
  const vm = await vms.create({
    name: 'web',
    image: 'disk-only',
    firmware: 'uefi',
    disks: [{ sizeBytes: 8 * MIB }],
    networks: ['lan', 'lan', 'bare'],
    cloudInit: { userData: '#cloud-config\n{}\n' },
  });
  const { store } = running;
  assert.deepEqual(
    vm.disks.map(({ role }) => role),
    ['data', 'data', 'seed', 'nvram'],
  );
  assert.equal(store.vmNames.get('web')?.value, vm.id);
  assert.equal(store.disksOf(vm.id as never).length, 4);
  assert.equal(new Set(store.disksOf(vm.id as never).map(({ port }) => port)).size, 4);
  for (const { id, node, port } of store.disksOf(vm.id as never))
    assert.equal(store.diskPorts.get(`${node}/${port}`)?.value, id);
  assert.deepEqual(
    vm.nics.map(({ address }) => address),
    ['10.9.0.10', '10.9.0.11', null],
  );
  assert.equal(Object.keys(store.networks.get('lan')?.value.reservations ?? {}).length, 2);
  assert.equal(vm.task?.state, 'running');
  assert.equal(store.vms.get(vm.id)?.value.startTask, vm.task?.id);
});

test('thirty at once all get a port and an address of their own', async () => {
  const names = Array.from({ length: 30 }, (_, index) => `vm-${index}`);
  const created = await Promise.all(
    names.map((name) => vms.create({ name, start: false, disks: [{ sizeBytes: MIB }], networks: ['lan'] })),
  );
  assert.equal(new Set(created.map(({ nics }) => nics[0]?.address)).size, 30);
  assert.equal(running.store.diskPorts.size, 30);
  const again = await Promise.allSettled(names.map(() => vms.create({ name: 'same', image: 'kernel', start: false })));
  assert.equal(again.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('two control nodes at once: whoever is second decides anew', async () => {
  const other = await etcd.follow();
  const theirs = new VmsBackend((await startBackend(other)).context);
  const requests = Array.from({ length: 6 }, (_, index) => ({
    name: `n${index}`,
    image: 'kernel',
    start: false,
    networks: ['lan'],
  }));
  const created = await Promise.all(requests.map((request, index) => (index % 2 === 0 ? vms : theirs).create(request)));
  assert.equal(new Set(created.map(({ nics }) => nics[0]?.address)).size, 6);
});

test('an image or a network that is deleted meanwhile is noticed', async () => {
  const { store } = running;
  const transact = store.transact.bind(store);
  store.transact = async (...args) => {
    store.transact = transact;
    await running.client.txn({ compare: [], success: [{ delete: '/gp/image/kernel' }] });
    return transact(...args);
  };
  await assert.rejects(vms.create({ name: 'a', image: 'kernel', start: false }), { code: 'not-found' });
  assert.equal(store.vms.get(vmRecord(1).id), undefined);
  assert.equal(store.vms.size, 0);
  const disks = [{ sizeBytes: MIB }];
  store.transact = async (...args) => {
    store.transact = transact;
    await running.client.txn({ compare: [], success: [{ delete: '/gp/network/bare' }] });
    return transact(...args);
  };
  await assert.rejects(vms.create({ name: 'a', disks, networks: ['bare'], start: false }), { code: 'not-found' });
  assert.equal(store.vms.size, 0);
});
