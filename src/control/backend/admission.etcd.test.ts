import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { CreateVm } from '../../api/requests.ts';
import { parseImageName, parseStorageName } from '../../base/ids.ts';
import type { ImageRecord } from '../../core/model/cluster.ts';
import { MIB, sha, startBackend, type TestBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { networkRecord, type RunningStore, vmRecord } from '../testing/records.ts';
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

async function refuses(request: CreateVm, code: string, message?: RegExp): Promise<void> {
  const before = await everything();
  await assert.rejects(vms.create(request), (error: Error & { code?: string; advice?: string }) => {
    assert.equal(error.code, code, error.message);
    if (message !== undefined) assert.match(error.message, message);
    assert.match(error.advice ?? 'Nothing was created.', /Nothing was (created|changed)/);
    return true;
  });
  assert.deepEqual(await everything(), before, 'nothing half-made');
}

test('every refusal says why, and leaves nothing behind', async () => {
  await refuses({ name: 'a', image: 'none' }, 'not-found', /no image none/);
  await refuses({ name: 'a', image: 'disk-only', firmware: 'direct' }, 'bad-input', /disk-only has none/);
  await refuses({ name: 'a', firmware: 'direct' }, 'bad-input', /needs an image with a kernel/);
  await refuses({ name: 'a' }, 'bad-input', /no disk, so it could not be fenced/);
  await refuses({ name: 'a', image: 'disk-only', append: 'x' }, 'bad-input', /needs firmware direct/);
  await refuses({ name: 'a', disks: [{ image: 'disk-only', sizeBytes: MIB }] }, 'bad-input', /at least 67108864 bytes/);
  await refuses({ name: 'a', disks: [{ image: 'kernel' }] }, 'bad-input', /no disk to clone/);
  await refuses({ name: 'a', image: 'kernel', networks: ['nowhere'] }, 'not-found', /no network nowhere/);
  await refuses(
    { name: 'a', image: 'kernel', memoryBytes: 2048 * MIB, start: false },
    'no-capacity',
    /largest host gives 1024 MiB/,
  );
  await refuses({ name: 'vm-0123456789ab', image: 'kernel' }, 'bad-input', /form of an id/);
});

test('less memory than an image says that its guest needs is refused, at creation and later', async () => {
  const least: ImageRecord = { ...image('least', false, true), minMemoryBytes: 96 * MIB };
  await running.store.transact([{ key: '/gp/image/least', value: least, expect: 0 }], null);
  const request = { name: 'a', image: 'least', start: false };
  await refuses(
    { ...request, memoryBytes: 95 * MIB },
    'bad-input',
    /least does not boot with less than 96 MiB.* 95 MiB/,
  );
  await vms.create({ ...request, memoryBytes: 96 * MIB });
  const small = vms.patch('a', { memoryBytes: 64 * MIB, ifMatch: null });
  await assert.rejects(small, { code: 'bad-input', advice: /Nothing was changed.*--memory 96M/ });
  assert.equal((await vms.patch('a', { memoryBytes: 128 * MIB, ifMatch: null })).spec?.memoryBytes, 128 * MIB);
  await vms.create({ name: 'b', image: 'kernel', start: false, memoryBytes: 16 * MIB });
});

test('taken addresses, MACs and names', async () => {
  const mac = '52:54:00:00:00:01';
  const bare = [{ network: 'bare', mac }];
  await vms.create({ name: 'zero', image: 'kernel', start: false, networks: bare });
  await vms.create({
    name: 'first',
    image: 'kernel',
    start: false,
    networks: [{ network: 'lan', mac, address: '10.9.0.77' }],
  });
  await refuses({ name: 'first', image: 'kernel' }, 'exists', /named first exists/);
  await refuses(
    { name: 'b', image: 'kernel', networks: [{ network: 'lan', mac }] },
    'conflict',
    /MAC address .* is taken/,
  );
  await refuses(
    { name: 'b', image: 'kernel', networks: [{ network: 'bare', mac }] },
    'conflict',
    /MAC address .* is taken/,
  );
  await refuses(
    { name: 'b', image: 'kernel', networks: [{ network: 'lan', address: '10.9.0.77' }] },
    'conflict',
    /10\.9\.0\.77 is taken/,
  );
  await refuses(
    { name: 'b', image: 'kernel', networks: [{ network: 'bare', address: '10.9.0.7' }] },
    'bad-input',
    /no address range/,
  );
  for (const network of ['lan', 'bare']) {
    await refuses(
      { name: 'b', image: 'kernel', networks: [{ network, mac: '02:67:70:00:00:01' }] },
      'bad-input',
      /that of the gateways/,
    );
  }
  for (const address of ['10.9.0.0', '10.9.0.1', '10.9.0.255', '10.9.1.5'])
    await refuses(
      { name: 'b', image: 'kernel', networks: [{ network: 'lan', address }] },
      'bad-input',
      /cannot be given/,
    );
  const twice = { network: 'lan', mac: '52:54:00:00:00:02' };
  await refuses({ name: 'b', image: 'kernel', networks: [twice, twice] }, 'conflict', /MAC address/);
});

test('two of one anti-affinity group need two hosts', async () => {
  const db1 = { name: 'db1', image: 'disk-only', antiAffinity: 'db' };
  assert.equal((await vms.create(db1)).spec.antiAffinity, 'db');
  const [vm] = [...running.store.vms.values()].map(({ value }) => value);
  const phase = { kind: 'running', incarnation: { generation: 1, host: 'h1', slot: 0 } };
  await running.store.transact(
    [{ key: `/gp/vm/${vm?.id}`, value: { ...vm, generation: 1, phase }, expect: null }],
    null,
  );
  await refuses({ ...db1, name: 'db2' }, 'no-capacity', /it has db1 of .* group db/);
  assert.equal((await vms.create({ ...db1, name: 'db3', antiAffinity: 'other' })).name, 'db3');
});

test('no room: storage that is away, full, or without the image; hosts that are away', async () => {
  const { world } = backend;
  const blank = { name: 'a', disks: [{ sizeBytes: MIB }] };
  world.storage.set('s1', { freeBytes: 10 * MIB, artifacts: new Set() });
  await refuses(blank, 'no-capacity', /s1 has 10 MiB free/);
  world.storage.set('s1', { freeBytes: 1024 * MIB, artifacts: new Set() });
  await refuses({ name: 'a', image: 'disk-only' }, 'no-capacity', /does not hold the image/);
  world.storage.clear();
  await refuses(blank, 'no-capacity', /s1 does not answer/);
  world.storage.set('s1', { freeBytes: 1024 * MIB, artifacts: new Set() });
  world.hosts.clear();
  await refuses({ name: 'a', image: 'kernel' }, 'no-capacity', /No host can run a/);
  assert.equal((await vms.create({ name: 'later', image: 'kernel', start: false })).phase, 'stopped');
});

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
