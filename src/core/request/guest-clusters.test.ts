import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkName } from '../../base/ids.ts';
import { hostRecord, incarnation } from '../plan/testing/sample-records.ts';
import { findVm, vmChange } from './basis.ts';
import {
  addDisk,
  addMember,
  createGuestCluster,
  deleteGuestCluster,
  type GuestClusterPatch,
  patchGuestCluster,
  removeDisk,
  removeMember,
} from './guest-clusters.ts';
import { createNetwork } from './networks.ts';
import { createVm } from './new-vm.ts';
import { attachSharedDisk, createSharedDisk, deleteSharedDisk, growSharedDisk } from './shared-disks.ts';
import { RecordWorld } from './testing/record-world.ts';

const MIB = 1024 ** 2;
const ANY = { ifMatch: null };

/** Three hosts, storage nodes s1 and s2, networks `lan` and `beat`, and stopped VMs `a`, `b` and `c` in `lan`. */
function have(): RecordWorld {
  const world = new RecordWorld();
  world.apply([
    ...[1, 2, 3].map((n) => ({ kind: 'host', id: hostRecord(n).name, value: hostRecord(n) }) as const),
    ...world.storageNodes(['s1', 's2']),
  ]);
  for (const name of ['lan', 'beat']) world.take(createNetwork(world.basis(), { name }));
  const request = { disks: [{ sizeBytes: MIB }], networks: ['lan'], start: false };
  for (const name of ['a', 'b', 'c']) world.take(createVm(world.basis(), world.observed(), { ...request, name }));
  return world;
}

const vmOf = (world: RecordWorld, name: string) => findVm(world.basis().records, name).value;
const create = (world: RecordWorld, more: Partial<Parameters<typeof createGuestCluster>[2]> = {}) =>
  createGuestCluster(world.basis(), world.observed(), { name: 'sql', members: ['a', 'b'], ...more });
const cluster = (world: RecordWorld) => [...world.basis().records.guestClusters.values()][0]?.value;

test('a new guest cluster: members get the cards that they lack and every disk under one number, in one transaction', () => {
  const world = have();
  const sharedDisks = [
    { name: 'quorum', sizeBytes: MIB },
    { name: 'data', sizeBytes: 2 * MIB, blockBytes: 4096 as const },
  ];
  const admitted = create(world, { sharedDisks, heartbeatNetworks: ['beat', 'lan', 'beat'] });
  // `beat` is written with the cards, and compared by that; `lan` only has to be there still.
  assert.deepEqual(admitted.unchanged, [{ kind: 'network', id: 'lan' }]);
  world.take(admitted);
  for (const name of ['a', 'b']) {
    const { spec } = vmOf(world, name);
    assert.deepEqual([spec.guestCluster, spec.nics.map(({ network }) => network)], ['sql', ['lan', 'beat']]);
    assert.deepEqual(
      spec.sharedDisks?.map(({ lun }) => lun),
      [0, 1],
    );
  }
  assert.equal(vmOf(world, 'c').spec.nics.length, 1);
  const { heartbeatNetworks, maxDisturbed, toleratesMs, sharesHosts } = cluster(world) ?? {};
  assert.deepEqual([heartbeatNetworks, maxDisturbed, toleratesMs, sharesHosts], [['beat', 'lan'], 1, 3_000, false]);
});

test('what a guest cluster names must be there, and a VM that runs gets no card', () => {
  const world = have();
  assert.throws(() => create(world, { members: ['nobody'] }), { code: 'not-found' });
  assert.throws(() => create(world, { heartbeatNetworks: ['gone'] }), {
    code: 'not-found',
    message: /no network gone/,
  });
  assert.throws(() => create(world, { name: 'Sql!' }), { code: 'bad-input' });
  const vm = vmOf(world, 'a');
  const run = incarnation(1);
  world.apply([
    vmChange({ ...vm, intent: 'running', generation: run.generation, phase: { kind: 'running', incarnation: run } }),
  ]);
  assert.throws(() => create(world, { heartbeatNetworks: ['beat'] }), {
    code: 'conflict',
    message: /a runs and has no card in network beat/,
  });
  world.take(create(world, { heartbeatNetworks: ['lan'] }));
});

test('disks and members come and go; a disk is kept where that is said', () => {
  const world = have();
  world.take(create(world));
  const observed = world.observed();
  world.take(addDisk(world.basis(), observed, 'sql', { ...ANY, name: 'data', sizeBytes: MIB }));
  world.take(addMember(world.basis(), 'sql', { ...ANY, vm: 'c' }));
  assert.equal(vmOf(world, 'c').spec.sharedDisks?.length, 1);
  world.take(removeMember(world.basis(), 'sql', { ...ANY, vm: 'a' }));
  assert.deepEqual([vmOf(world, 'a').spec.guestCluster, vmOf(world, 'a').spec.sharedDisks], [null, []]);
  assert.throws(() => removeDisk(world.basis(), 'sql', { ...ANY, disk: 'none' }), {
    code: 'not-found',
    advice: /It has data\./,
  });
  world.take(removeDisk(world.basis(), 'sql', { ...ANY, disk: 'data', keep: true }));
  world.take(addDisk(world.basis(), observed, 'sql', { ...ANY, disk: 'data' }));
  const [disk] = [...world.basis().records.sharedDisks.values()];
  assert.equal(disk?.value.guestCluster, 'sql', 'adopted again, with what is on it');
  world.take(patchGuestCluster(world.basis(), 'sql', { ...ANY, maxDisturbed: 2 }));
  assert.equal(cluster(world)?.maxDisturbed, 2);
  world.take(deleteGuestCluster(world.basis(), 'sql', ANY));
  assert.deepEqual([cluster(world)?.deleting, vmOf(world, 'b').spec.guestCluster], [true, null]);
  assert.throws(() => patchGuestCluster(world.basis(), 'sql', ANY), { code: 'conflict', message: /being deleted/ });
});

test('every change of a guest cluster and of a shared disk holds for the revision that was read', () => {
  const world = have();
  world.take(create(world));
  world.take(createSharedDisk(world.basis(), world.observed(), { name: 'free', sizeBytes: MIB }));
  const stale = { ifMatch: '"1"' };
  const [basis, observed] = [world.basis(), world.observed()];
  for (const request of [
    () => patchGuestCluster(basis, 'sql', stale),
    () => deleteGuestCluster(basis, 'sql', stale),
    () => addMember(basis, 'sql', { ...stale, vm: 'c' }),
    () => removeMember(basis, 'sql', { ...stale, vm: 'a' }),
    () => addDisk(basis, observed, 'sql', { ...stale, disk: 'free' }),
    () => removeDisk(basis, 'sql', { ...stale, disk: 'free' }),
    () => growSharedDisk(basis, observed, 'free', { ...stale, sizeBytes: 2 * MIB }),
    () => attachSharedDisk(basis, 'free', { ...stale, vm: 'c' }),
    () => deleteSharedDisk(basis, 'free', stale),
  ])
    assert.throws(request, { code: 'stale-revision' });
});

test('a shared disk is found by its id, or by its name where it is of no guest cluster', () => {
  const world = have();
  world.take(create(world, { sharedDisks: [{ name: 'data', sizeBytes: MIB }] }));
  const id = cluster(world)?.disks[0] ?? '';
  assert.throws(() => deleteSharedDisk(world.basis(), 'data', ANY), { code: 'not-found' });
  assert.throws(() => deleteSharedDisk(world.basis(), id, ANY), {
    code: 'conflict',
    message: /disk of guest cluster sql/,
  });
  const create2 = (name: string) => createSharedDisk(world.basis(), world.observed(), { name, sizeBytes: MIB });
  assert.throws(() => create2('disk-0123456789ab'), { code: 'bad-input', message: /form of an id/ });
  world.take(create2('data'));
  const task = world.take(deleteSharedDisk(world.basis(), 'data', ANY));
  assert.equal(world.basis().records.tasks.get(task)?.value.kind, 'shared-disk.delete');
});

test('a notice is declared where every member can be told, and quiet hours where they leave time for maintenance', () => {
  const world = have();
  world.take(create(world));
  const patch = (more: GuestClusterPatch) => patchGuestCluster(world.basis(), 'sql', { ...ANY, ...more });
  assert.throws(() => patch({ noticeMs: 60_000 }), { code: 'conflict', message: /Nothing can tell a/ });
  world.take(createNetwork(world.basis(), { name: 'told', cidr: '10.40.0.0/24', dhcp: true, metadata: true }));
  for (const name of ['a', 'b']) {
    const vm = vmOf(world, name);
    const nics = [{ network: 'told' as NetworkName, mac: `52:54:00:00:01:0${name === 'a' ? 1 : 2}`, address: null }];
    world.apply([vmChange({ ...vm, spec: { ...vm.spec, nics } })]);
  }
  world.take(patch({ noticeMs: 60_000, quiet: ['Mon-Fri 08:00-18:00 Europe/London'] }));
  assert.deepEqual([cluster(world)?.noticeMs, cluster(world)?.quiet], [60_000, ['Mon-Fri 08:00-18:00 Europe/London']]);
  world.take(patch({ maxDisturbed: 1 }));
  assert.equal(cluster(world)?.noticeMs, 60_000);
  for (const [quiet, message] of [
    [['whenever'], /"whenever" are not valid quiet hours. It is not of the form/],
    [['Mon 08:00-18:00 Europe/Londinium'], /is not a time zone/],
    [['Mon-Sun 00:00-24:00 UTC'], /leave no four hours/],
    [['Mon-Sun 04:00-24:00 UTC', 'Mon-Sun 00:00-00:01 UTC'], /leave no four hours/],
  ] as const)
    assert.throws(() => patch({ quiet }), { code: 'bad-input', message });
  const readyCheck = { command: 'pg_isready', withinMs: 60_000 };
  world.take(patch({ readyCheck }));
  assert.deepEqual([cluster(world)?.readyCheck, cluster(world)?.noticeMs], [readyCheck, 60_000]);
  world.take(patch({ readyCheck: null }));
  assert.equal(cluster(world)?.readyCheck, undefined);
  world.take(patch({ noticeMs: null, quiet: [] }));
  assert.deepEqual([cluster(world)?.noticeMs, cluster(world)?.quiet], [undefined, undefined]);
});
