import assert from 'node:assert/strict';
import { test } from 'node:test';
import { floorOfEpoch } from '../../base/epoch.ts';
import { CodedError } from '../../base/errors.ts';
import {
  type DiskId,
  type Generation,
  type HostName,
  parseDiskId,
  parseVmId,
  type StorageName,
} from '../../base/ids.ts';
import { FIRST_EPOCH } from '../model/record-shapes.ts';
import type { UnknownVm } from '../plan/restore/unknown.ts';
import type { MachineFacts } from '../ports/qmp-link.ts';
import type { Basis } from './basis.ts';
import { createNetwork } from './networks.ts';
import { disorder } from './testing/disorder.ts';
import { RecordWorld } from './testing/record-world.ts';
import { adoptUnknown, deleteUnknown, wordsOf } from './unknown-vms.ts';

const MIB = 1024 ** 2;
const VM = parseVmId('vm-00000000aaaa');
const [ROOT, SEED, VARIABLES] = ['01', '02', '03'].map((end) => parseDiskId(`disk-0000000000${end}`)) as [
  DiskId,
  DiskId,
  DiskId,
];
const MAC = '52:54:00:aa:bb:cc';
const NVRAM_BYTES = 540_672;
const disk = (id: DiskId, more: Partial<UnknownVm['disks'][number]> = {}) => ({
  ...{ disk: id, node: 's1' as StorageName, port: 30_007, sizeBytes: 64 * MIB, generations: [7 as Generation] },
  ...more,
});
const RUNNING: UnknownVm = {
  vm: VM,
  processes: [{ host: 'h1' as HostName, generation: 7 as Generation, slot: 3 }],
  disks: [
    disk(VARIABLES, { port: 30_009, sizeBytes: NVRAM_BYTES }),
    disk(SEED, { port: 30_008 }),
    disk(ROOT, { node: 's2' as StorageName }),
  ],
  unheard: [],
};
const FACTS: MachineFacts = {
  ...{ name: 'web1', vcpus: 2, memoryBytes: 512 * MIB, cpuModel: null, macs: [MAC], direct: null },
  disks: [
    { disk: ROOT, isReadOnly: false },
    { disk: SEED, isReadOnly: true },
  ],
  ...{ diskNodes: 3, sharedDisks: [], hasDisplay: true, hasGuestAgent: true },
};
const SAID = { by: 'ann', nics: [{ mac: MAC, network: 'lan', address: '10.20.0.9' }] };

function setUp(): { readonly world: RecordWorld; readonly basis: Basis } {
  const world = new RecordWorld();
  world.apply(world.storageNodes(['s1', 's2']));
  world.take(
    createNetwork(world.basis(), { name: 'lan', cidr: '10.20.0.0/24', dhcp: true, nat: false, metadata: false }),
  );
  const basis = world.basis();
  return { world, basis: { ...basis, records: { ...basis.records, epoch: { ...FIRST_EPOCH, number: 2 } } } };
}

const refused = (code: string, says: RegExp) => (error: unknown) =>
  error instanceof CodedError && error.code === code && says.test(`${error.message} ${error.advice}`);

test('G7 an adopted VM is as its QEMU tells, at a generation above all others, and nothing is believed of what runs', () => {
  const { world, basis } = setUp();
  const vm = world.take(adoptUnknown(basis, RUNNING, FACTS, SAID));
  assert.deepEqual([...world.unreadableRecords(), ...disorder(world.basis().records)], []);
  assert.equal(vm.generation, floorOfEpoch(2) + basis.records.completeRevision);
  assert.deepEqual([vm.restored, vm.phase, vm.intent, vm.name], [2, { kind: 'stopped' }, 'running', 'web1']);
  assert.deepEqual([vm.spec.vcpus, vm.spec.memoryBytes, vm.spec.boot], [2, 512 * MIB, { firmware: 'uefi' }]);
  assert.deepEqual(
    vm.spec.disks.map(({ disk: id, role }) => [id, role]),
    [
      [ROOT, 'data'],
      [SEED, 'seed'],
      [VARIABLES, 'nvram'],
    ],
  );
  assert.deepEqual(vm.spec.nics, [{ network: 'lan', mac: MAC, address: '10.20.0.9' }]);
  const disks = world.basis().records.disksOf(VM);
  assert.deepEqual(
    disks.toSorted((a, b) => a.port - b.port).map(({ id, port, phase }) => [id, port, phase]),
    [
      [ROOT, 30_007, 'ready'],
      [SEED, 30_008, 'ready'],
      [VARIABLES, 30_009, 'ready'],
    ],
    'served disks keep their ports',
  );
});

test('what nobody can see has to be said, and is named', () => {
  const { basis } = setUp();
  const adopt = (unknown: UnknownVm, facts: MachineFacts | null, said: object) => () =>
    adoptUnknown(basis, unknown, facts, { by: 'ann', ...said });
  const off = { ...RUNNING, processes: [] };
  assert.throws(adopt(RUNNING, FACTS, {}), refused('bad-input', new RegExp(`card ${MAC}`)));
  assert.throws(adopt(off, null, {}), refused('bad-input', /its name, its vCPUs, its memory/));
  assert.throws(adopt(RUNNING, { ...FACTS, name: null }, SAID), refused('bad-input', /its name/));
  const { result } = adopt(off, null, { name: 'web1', vcpus: 1, memoryBytes: 256 * MIB })();
  assert.deepEqual([result.intent, result.spec.memoryBytes], ['stopped', 256 * MIB]);
});

test('a part of a VM is neither adopted nor deleted: a disk that is not seen would not be fenced', () => {
  const { basis } = setUp();
  const part = { ...RUNNING, unheard: ['s2' as StorageName] };
  assert.throws(() => adoptUnknown(basis, part, FACTS, SAID), refused('unavailable', /not said yet.*s2/));
  assert.throws(() => deleteUnknown(basis, part, 'ann'), refused('unavailable', /s2.*only what is gone for good/));
  const unseen = { ...RUNNING, disks: [disk(SEED)] };
  assert.throws(() => adoptUnknown(basis, unseen, FACTS, SAID), refused('conflict', new RegExp(ROOT)));
  const shared = { ...FACTS, sharedDisks: [ROOT] };
  assert.throws(() => adoptUnknown(basis, RUNNING, shared, SAID), refused('conflict', /shared disks/));
});

test('one that is deleted becomes a VM that is being deleted, of which nothing is believed', () => {
  const { world, basis } = setUp();
  const task = world.take(deleteUnknown(basis, RUNNING, 'ann'));
  const { records } = world.basis();
  assert.deepEqual([...world.unreadableRecords(), ...disorder(records)], []);
  const vm = records.vms.get(VM)?.value;
  assert.deepEqual([vm?.deleting, vm?.restored, vm?.intent, vm?.phase.kind], [true, 2, 'stopped', 'stopped']);
  assert.equal(vm?.spec.disks.length, 3);
  assert.deepEqual(records.tasks.get(task)?.value.target, { kind: 'vm', name: vm?.name });
});

test('a disk that is not served gets a port that is free', () => {
  const { world, basis } = setUp();
  const off = { ...RUNNING, processes: [], disks: [disk(ROOT, { port: null }), disk(SEED, { port: null })] };
  world.take(adoptUnknown(basis, off, null, { by: 'ann', name: 'web1', vcpus: 1, memoryBytes: 256 * MIB }));
  const ports = world
    .basis()
    .records.disksOf(VM)
    .map(({ port }) => port);
  assert.equal(new Set(ports).size, 2);
  assert.deepEqual(disorder(world.basis().records), []);
});

test('what a host tells that no VM can be is not believed: it has to be said, and no record is made of it', () => {
  const { world, basis } = setUp();
  const facts = { ...FACTS, name: '../Web 1', vcpus: 0, memoryBytes: 0 };
  assert.throws(() => adoptUnknown(basis, RUNNING, facts, SAID), refused('bad-input', /name, its vCPUs, its memory\./));
  const many = { ...FACTS, vcpus: 100_000, memoryBytes: 2 ** 50 };
  assert.throws(() => adoptUnknown(basis, RUNNING, many, SAID), refused('bad-input', /: its vCPUs, its memory\./));
  world.take(adoptUnknown(basis, RUNNING, facts, { ...SAID, name: 'web1', vcpus: 2, memoryBytes: 256 * MIB }));
  assert.deepEqual([...world.unreadableRecords()], []);
});

test('what storage nodes cannot all be right about is refused, and named', () => {
  const { world, basis } = setUp();
  const refuses = (disks: UnknownVm['disks'], says: RegExp): void => {
    const unknown = { ...RUNNING, disks };
    assert.throws(() => adoptUnknown(basis, unknown, null, { by: 'ann', name: 'x' }), refused('conflict', says));
    assert.throws(() => deleteUnknown(basis, unknown, 'ann'), refused('conflict', says));
  };
  refuses([disk(ROOT), disk(ROOT, { node: 's2' as StorageName })], new RegExp(`s1 and s2 each say.*${ROOT}.*Nothing`));
  refuses([disk(ROOT), disk(SEED)], /port 30007 of s1, which disk-/);
  const id = (n: number) => parseDiskId(`disk-${String(n).padStart(12, '0')}`);
  const flood = Array.from({ length: 5_000 }, (_, n) => disk(id(n), { port: null }));
  refuses(flood, /5000 disks are said to be of vm-00000000aaaa, and a VM has at most 16/);
  assert(wordsOf({ ...RUNNING, disks: flood }).length < 2_000);
  world.take(adoptUnknown(basis, RUNNING, FACTS, SAID));
  const later = { ...basis, records: { ...world.basis().records, epoch: basis.records.epoch } };
  const other = { ...RUNNING, vm: parseVmId('vm-00000000bbbb'), disks: [disk(id(9), { port: 30_008 })] };
  assert.throws(() => deleteUnknown(later, other, 'ann'), refused('conflict', new RegExp(`30008 of s1.*${SEED}`)));
});

test('a kernel command line that no host would take again is not adopted', () => {
  const { basis } = setUp();
  const direct = { kernel: 'a'.repeat(64), initrd: null, append: 'x'.repeat(2_001) };
  const image = { direct: { kernel: { sha256: direct.kernel, sizeBytes: 1 }, initrd: null } };
  const images = new Map([['tiny', { value: image }]]) as unknown as Basis['records']['images'];
  const having = { ...basis, records: { ...basis.records, images } };
  assert.throws(() => adoptUnknown(having, RUNNING, { ...FACTS, direct }, SAID), refused('conflict', /command line/));
});
