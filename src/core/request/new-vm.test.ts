import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CodedError, messageOf } from '../../base/errors.ts';
import { parseImageName, parseSha256, parseStorageName } from '../../base/ids.ts';
import type { ImageRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { hostRecord, incarnation } from '../plan/testing/sample-records.ts';
import { findVm, vmChange } from './basis.ts';
import { createNetwork } from './networks.ts';
import { createVm, type Newcomer, type NewVm } from './new-vm.ts';
import { RecordWorld } from './testing/record-world.ts';
import { patchVm } from './vm-changes.ts';

const MIB = 1024 ** 2;
const S1 = parseStorageName('s1');

function image(name: string, disk: boolean, direct: boolean): ImageRecord {
  const sha256 = (digit: string) => parseSha256(digit.repeat(64));
  return {
    name: parseImageName(name),
    disk: disk ? { sha256: sha256('a'), sizeBytes: MIB, format: 'qcow2', virtualSizeBytes: 64 * MIB } : null,
    direct: direct ? { kernel: { sha256: sha256('b'), sizeBytes: MIB }, initrd: null, append: 'quiet' } : null,
    defaults: { memoryBytes: 128 * MIB, vcpus: 1, blankDiskBytes: disk ? null : MIB },
    nodes: [S1],
    createdAt: 1,
  };
}

/** Host h1 (1 GiB), storage node s1, networks `lan` and `bare`, images `disk-only` and `kernel`. */
function world(): RecordWorld {
  const made = new RecordWorld();
  const capacity = { memoryBytes: 1024 * MIB, vcpus: 4, accelerator: 'tcg', cpuModels: [] } as const;
  made.apply([
    { kind: 'host', id: hostRecord(1).name, value: hostRecord(1, { capacity }) },
    ...made.storageNodes(['s1']),
    ...[image('disk-only', true, false), image('kernel', false, true)].map(
      (value) => ({ kind: 'image', id: value.name, value }) as const,
    ),
  ]);
  made.take(createNetwork(made.basis(), { name: 'lan', cidr: '10.9.0.0/24' }));
  made.take(createNetwork(made.basis(), { name: 'bare' }));
  return made;
}

function create(at: RecordWorld, request: NewVm, given?: Newcomer) {
  return at.take(createVm(at.basis(), at.observed(), request, given));
}

function refuses(at: RecordWorld, request: NewVm, code: string, message: RegExp): void {
  assert.throws(
    () => createVm(at.basis(), at.observed(), request),
    (error: CodedError) => {
      assert.equal(error.code, code, messageOf(error));
      assert.match(error.message, message);
      assert.match(error.advice ?? 'Nothing was created.', /Nothing was (created|changed)/);
      return true;
    },
  );
}

test('every refusal of a new VM says why', () => {
  const at = world();
  refuses(at, { name: 'a', image: 'none' }, 'not-found', /no image none/);
  refuses(at, { name: 'a', image: 'disk-only', firmware: 'direct' }, 'bad-input', /disk-only has none/);
  refuses(at, { name: 'a', firmware: 'direct' }, 'bad-input', /needs an image with a kernel/);
  refuses(at, { name: 'a' }, 'bad-input', /no disk, so it could not be fenced/);
  refuses(at, { name: 'a', image: 'disk-only', append: 'x' }, 'bad-input', /needs firmware direct/);
  refuses(at, { name: 'a', disks: [{ image: 'disk-only', sizeBytes: MIB }] }, 'bad-input', /at least 67108864 bytes/);
  refuses(at, { name: 'a', disks: [{ image: 'kernel' }] }, 'bad-input', /no disk to clone/);
  refuses(at, { name: 'a', image: 'kernel', networks: ['nowhere'] }, 'not-found', /no network nowhere/);
  refuses(at, { name: 'a', image: 'kernel', cpuModel: 'host' }, 'bad-input', /not offered by any host/);
  const large = { name: 'a', image: 'kernel', memoryBytes: 2048 * MIB, start: false };
  refuses(at, large, 'no-capacity', /largest host gives 1024 MiB/);
  refuses(at, { name: 'vm-0123456789ab', image: 'kernel' }, 'bad-input', /form of an id/);
});

test('less memory than an image says that its guest needs is refused, at creation and later', () => {
  const at = world();
  const least: ImageRecord = { ...image('least', false, true), minMemoryBytes: 96 * MIB };
  at.apply([{ kind: 'image', id: least.name, value: least }]);
  const request = { name: 'a', image: 'least', start: false };
  refuses(at, { ...request, memoryBytes: 95 * MIB }, 'bad-input', /does not boot with less than 96 MiB.* 95 MiB/);
  create(at, { ...request, memoryBytes: 96 * MIB });
  const patch = (memoryBytes: number) => patchVm(at.basis(), 'a', { memoryBytes, ifMatch: null });
  assert.throws(() => patch(64 * MIB), { code: 'bad-input', advice: /Nothing was changed.*--memory 96M/ });
  at.take(patch(128 * MIB));
  assert.equal(findVm(at.basis().records, 'a').value.spec.memoryBytes, 128 * MIB);
  create(at, { name: 'b', image: 'kernel', start: false, memoryBytes: 16 * MIB });
});

test('names, addresses and MACs that are taken or of no use to guests are refused', () => {
  const at = world();
  const mac = '52:54:00:00:00:01';
  const stopped = { image: 'kernel', start: false };
  create(at, { ...stopped, name: 'zero', networks: [{ network: 'bare', mac }] });
  create(at, { ...stopped, name: 'first', networks: [{ network: 'lan', mac, address: '10.9.0.77' }] });
  refuses(at, { ...stopped, name: 'first' }, 'exists', /named first exists/);
  const card = (card: NonNullable<NewVm['networks']>[number], code: string, message: RegExp): void =>
    refuses(at, { ...stopped, name: 'b', networks: [card] }, code, message);
  for (const network of ['lan', 'bare']) {
    card({ network, mac: mac.toUpperCase() }, 'conflict', /MAC address .* is taken/);
    card({ network, mac: '02:67:70:00:00:01' }, 'bad-input', /that of the gateways/);
  }
  card({ network: 'lan', address: '10.9.0.77' }, 'conflict', /10\.9\.0\.77 is taken/);
  card({ network: 'bare', address: '10.9.0.7' }, 'bad-input', /no address range/);
  for (const address of ['10.9.0.0', '10.9.0.1', '10.9.0.255', '10.9.1.5'])
    card({ network: 'lan', address }, 'bad-input', /cannot be given/);
  const twice = { network: 'lan', mac: '52:54:00:00:00:02' };
  refuses(at, { ...stopped, name: 'b', networks: [twice, twice] }, 'conflict', /MAC address/);
});

test('two of one anti-affinity group need two hosts', () => {
  const at = world();
  const db1 = { name: 'db1', image: 'disk-only', antiAffinity: 'db' };
  const { vm } = create(at, db1);
  assert.equal(vm.spec.antiAffinity, 'db');
  const run = incarnation(1);
  at.apply([vmChange({ ...vm, generation: run.generation, phase: { kind: 'running', incarnation: run } })]);
  refuses(at, { ...db1, name: 'db2' }, 'no-capacity', /it has db1 of .* group db/);
  assert.equal(create(at, { ...db1, name: 'db3', antiAffinity: 'other' }).vm.name, 'db3');
});

test('no room: storage that is away or full, hosts that are away; a stopped VM needs no host', () => {
  const at = world();
  const blank = { name: 'a', disks: [{ sizeBytes: MIB }] };
  at.freeBytes = 10 * MIB;
  refuses(at, blank, 'no-capacity', /s1 has 10 MiB free/);
  at.freeBytes = 1024 * MIB;
  at.silent.add(S1);
  refuses(at, blank, 'no-capacity', /s1 does not answer/);
  at.silent.clear();
  at.deadAgents.add(hostRecord(1).name);
  refuses(at, { name: 'a', image: 'kernel' }, 'no-capacity', /No host can run a/);
  const { vm, task } = create(at, { name: 'later', image: 'kernel', start: false });
  assert.deepEqual([vm.intent, vm.startTask, task], ['stopped', null, null]);
});

test('a node that leads nothing knows no storage node that answers, and judges no host', () => {
  const at = world();
  const request = { name: 'a', image: 'kernel' };
  assert.throws(() => createVm(at.basis(), null, request), { code: 'no-capacity', message: /s1 does not answer/ });
});

test('what is admitted is one transaction: the VM, its disks, the addresses, the task; it depends on its images', () => {
  const at = world();
  const seed = { sha256: parseSha256('c'.repeat(64)), sizeBytes: 4096 };
  const request: NewVm = {
    name: 'web',
    image: 'disk-only',
    firmware: 'uefi',
    disks: [{ sizeBytes: 8 * MIB }, { image: 'disk-only' }],
    networks: ['lan', 'lan', 'bare'],
  };
  const { id } = create(world(), { name: 'other', image: 'kernel' }).vm;
  const admitted = createVm(at.basis(), at.observed(), request, { id, seed, node: S1 });
  const kinds = admitted.changes.map(({ kind }) => kind);
  assert.deepEqual(kinds, ['vm', 'disk', 'disk', 'disk', 'disk', 'disk', 'network', 'network', 'task']);
  assert.deepEqual(admitted.unchanged, [{ kind: 'image', id: 'disk-only' }]);
  const { vm, task, node } = at.take(admitted);
  assert.deepEqual([vm.id, vm.startTask, vm.phase, node], [id, task?.id, { kind: 'stopped' }, 's1']);
  assert.deepEqual(
    vm.spec.disks.map(({ role }) => role),
    ['data', 'data', 'data', 'seed', 'nvram'],
  );
  const disks = at.basis().records.disksOf(vm.id);
  assert.equal(new Set(disks.map(({ port }) => port)).size, 5);
  assert.deepEqual(disks.find(({ source }) => source.kind === 'content')?.source, {
    kind: 'content',
    artifact: seed.sha256,
  });
  assert.deepEqual(
    vm.spec.nics.map(({ address }) => address),
    ['10.9.0.10', '10.9.0.11', null],
  );
  const [lan] = [...recordsOf(at.basis().records.networks)];
  assert.deepEqual(
    Object.keys(lan?.reservations ?? {}),
    vm.spec.nics.slice(0, 2).map(({ mac }) => mac),
  );
  assert.deepEqual(at.unreadableRecords(), []);
});

test('a storage node that took the seed and then got full is told of as it is: nothing was created', () => {
  const at = world();
  const seed = { sha256: parseSha256('c'.repeat(64)), sizeBytes: 4096 };
  at.apply(at.storageNodes(['s1', 's2']));
  const { id } = create(world(), { name: 'other', image: 'kernel' }).vm;
  at.silent.add(S1);
  const request = { name: 'a', disks: [{ sizeBytes: MIB }] };
  assert.throws(() => createVm(at.basis(), at.observed(), request, { id, seed, node: S1 }), {
    code: 'unavailable',
    message: /s1, which took the seed of a, has no room now/,
  });
});
