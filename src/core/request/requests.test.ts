/**
 * Any sequence of requests, and a leader that carries out a part of them: admitted requests break no rule of
 * core/check, and leave only records that every control node can read.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CodedError } from '../../base/errors.ts';
import {
  type Generation,
  type HostName,
  parseImageName,
  parseSha256,
  parseStorageName,
  type Term,
} from '../../base/ids.ts';
import { traceJudge } from '../check/check-trace.ts';
import type { ImageRecord, TaskRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import type { DrainRecord } from '../model/drain.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../model/guest-cluster.ts';
import type { HostObservation } from '../model/observation.ts';
import type { VmRecord } from '../model/vm.ts';
import { place } from '../plan/placement/placement.ts';
import { host, hostRecord, VM_BYTES } from '../plan/testing/sample-records.ts';
import type { Change } from '../ports/store.ts';
import { type Admitted, type Basis, taskChange, vmChange } from './basis.ts';
import { cancelTask } from './cancelling.ts';
import { cancelDrain, pauseDrain, startDrain, undrainHost } from './drains.ts';
import {
  addDisk,
  addMember,
  createGuestCluster,
  deleteGuestCluster,
  patchGuestCluster,
  removeDisk,
  removeMember,
} from './guest-clusters.ts';
import { removeHost } from './host-removal.ts';
import { changeHost } from './hosts.ts';
import { joinChange } from './joining.ts';
import { createNetwork, deleteNetwork } from './networks.ts';
import { createVm } from './new-vm.ts';
import {
  attachSharedDisk,
  createSharedDisk,
  deleteSharedDisk,
  detachSharedDisk,
  growSharedDisk,
} from './shared-disks.ts';
import { finishRemoval, removeStorage } from './storage-removal.ts';
import { disorder } from './testing/disorder.ts';
import { RecordWorld } from './testing/record-world.ts';
import { addNic, patchVm, removeNic } from './vm-changes.ts';
import { deleteVm, migrateVm, resetVm, resumeVm, startVm, stopVm, suspendVm } from './vm-wishes.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const ANY = { ifMatch: null };
const IMAGE: ImageRecord = {
  name: parseImageName('debian'),
  disk: { sha256: parseSha256('a'.repeat(64)), sizeBytes: GIB, format: 'qcow2', virtualSizeBytes: 2 * GIB },
  direct: null,
  defaults: { memoryBytes: 512 * MIB, vcpus: 1, blankDiskBytes: null },
  nodes: [parseStorageName('s1')],
  createdAt: 0,
};

const SMALL = { memoryBytes: 512 * MIB, disks: [{ sizeBytes: GIB }], networks: ['n0'] };

/** Picks of one request: small numbers, of which each request takes what it needs. */
type Draw = (below: number) => number;
type Request = (basis: Basis, draw: Draw, world: RecordWorld) => Admitted<unknown>;

const vm = (draw: Draw): string => `vm${draw(4)}`;
const network = (draw: Draw): string => `n${draw(3)}`;
const sharedDisk = (draw: Draw): string => `d${draw(2)}`;
const cluster = (draw: Draw): string => `gc${draw(2)}`;
const group = (draw: Draw): string | null => [null, 'red'][draw(2)] ?? null;
const address = (draw: Draw): string | undefined => [undefined, undefined, `10.20.0.${draw(9)}`][draw(3)];

/** The newest drain. */
const drainOf = ({ records }: Basis): string => [...records.drains.keys()].at(-1) ?? 'none';

/** Every request, by name. */
const REQUESTS: Readonly<Record<string, Request>> = {
  'vm create': (basis, draw, world) =>
    createVm(basis, world.observed(), {
      name: vm(draw),
      memoryBytes: [512 * MIB, VM_BYTES, 9 * VM_BYTES][draw(8) % 3],
      disks: [[], [{ sizeBytes: GIB }], [{ image: 'debian' }, { sizeBytes: MIB }]][draw(3)],
      image: [undefined, undefined, 'debian', 'none'][draw(4)],
      networks: [[], [network(draw)], [network(draw), { network: network(draw), address: address(draw) }]][draw(3)],
      antiAffinity: group(draw) ?? undefined,
      firmware: (['bios', 'uefi'] as const)[draw(2)],
      labels: { tier: 'web' },
      start: draw(3) > 0,
    }),
  'vm patch': (basis, draw) =>
    patchVm(basis, vm(draw), { ...ANY, antiAffinity: group(draw), memoryBytes: [undefined, GIB][draw(2)] }),
  'vm add-nic': (basis, draw) => addNic(basis, vm(draw), { ...ANY, network: network(draw), address: address(draw) }),
  'vm remove-nic': (basis, draw) => {
    const found = [...recordsOf(basis.records.vms)].find(({ name }) => name === vm(draw));
    return removeNic(basis, found?.name ?? 'none', { ...ANY, mac: found?.spec.nics[draw(2)]?.mac ?? 'none' });
  },
  'vm start': (basis, draw) => startVm(basis, vm(draw)),
  'vm stop': (basis, draw, world) =>
    stopVm(basis, world.observed(), vm(draw), { mode: (['acpi', 'hard'] as const)[draw(2)] }),
  'vm reset': (basis, draw) => resetVm(basis, vm(draw)),
  'vm suspend': (basis, draw) => suspendVm(basis, vm(draw)),
  'vm resume': (basis, draw) => resumeVm(basis, vm(draw)),
  'vm migrate': (basis, draw) => migrateVm(basis, vm(draw), { to: [undefined, host(1 + draw(4))][draw(2)] }),
  'vm delete': (basis, draw) => deleteVm(basis, vm(draw), ANY),
  'task cancel': (basis, draw) => cancelTask(basis, [...basis.records.tasks.keys()].at(-1 - draw(4)) ?? 'none'),
  'network create': (basis, draw) =>
    createNetwork(basis, { name: network(draw), cidr: [undefined, '10.20.0.0/29', '10.20.0.0/24'][draw(3)] }),
  'network delete': (basis, draw) => deleteNetwork(basis, network(draw), ANY),
  'host cordon': (basis, draw) => changeHost(basis, { ...ANY, name: host(1 + draw(4)), cordoned: draw(2) === 0 }),
  'host rack': (basis, draw) =>
    changeHost(basis, { ...ANY, name: host(1 + draw(4)), rack: [null, 'r1', 'r2'][draw(3)] }),
  'host remove': (basis, draw, world) => {
    const name = host(1 + draw(4));
    const isLost = draw(2) === 0;
    if (isLost) world.goneHosts.add(name);
    try {
      return removeHost(basis, world.observed(), { ...ANY, name, isLost, isConfirmed: draw(3) > 0, by: 'ann' });
    } finally {
      world.goneHosts.delete(name);
    }
  },
  'host drain': (basis, draw, world) =>
    startDrain(basis, world.observed(), { hosts: [host(1 + draw(3)), host(1 + draw(3))].slice(draw(2)), who: 'anna' }),
  'drain pause': (basis, draw) => pauseDrain(basis, drainOf(basis), draw(2) === 0),
  'drain cancel': (basis) => cancelDrain(basis, drainOf(basis)),
  'host undrain': (basis) => {
    const found = [...recordsOf(basis.records.hosts)].find(({ maintenance = null }) => maintenance !== null);
    return undrainHost(basis, found?.name ?? 'none');
  },
  'host join': (basis, draw) => {
    const control = `10.9.0.${1 + draw(4)}`;
    return {
      changes: [joinChange(basis, { role: 'host', name: host(1 + draw(4)), addresses: { control } })],
      result: 0,
    };
  },
  'storage remove': (basis, draw, world) => {
    const request = { ...ANY, name: `s${1 + draw(9)}`, isLost: draw(2) === 0, isConfirmed: true, by: 'anna' };
    return removeStorage(basis, world.observed(), request);
  },
  'storage finish removal': (basis) => {
    const [leaving] = [...recordsOf(basis.records.storage)].filter((node) => node.leaving === true);
    return finishRemoval(basis, { name: leaving?.name ?? 'none', by: 'anna' });
  },
  'shared-disk create': (basis, draw, world) =>
    createSharedDisk(basis, world.observed(), { name: sharedDisk(draw), sizeBytes: [GIB, 1][draw(5) % 2] ?? 1 }),
  'shared-disk grow': (basis, draw, world) =>
    growSharedDisk(basis, world.observed(), sharedDisk(draw), { ...ANY, sizeBytes: GIB + draw(3) * 512 }),
  'shared-disk attach': (basis, draw) =>
    attachSharedDisk(basis, sharedDisk(draw), { ...ANY, vm: vm(draw), lun: [undefined, 0, 1][draw(3)] }),
  'shared-disk detach': (basis, draw) => {
    const disk = sharedDisk(draw);
    const id = basis.records.sharedDiskNames.get(`-/${disk}`)?.value;
    const users = [...recordsOf(basis.records.vms)].filter(({ spec }) =>
      spec.sharedDisks?.some((use) => use.disk === id),
    );
    return detachSharedDisk(basis, disk, { ...ANY, vm: users[0]?.name ?? vm(draw) });
  },
  'shared-disk delete': (basis, draw) => deleteSharedDisk(basis, sharedDisk(draw), ANY),
  'guest-cluster create': (basis, draw, world) =>
    createGuestCluster(basis, world.observed(), {
      name: cluster(draw),
      members: [vm(draw), vm(draw)].slice(draw(2)),
      sharedDisks: [[], [{ name: sharedDisk(draw), sizeBytes: GIB }]][draw(2)],
      heartbeatNetworks: [[], [network(draw)]][draw(2)],
      shareHosts: draw(3) === 0,
    }),
  'guest-cluster patch': (basis, draw) =>
    patchGuestCluster(basis, cluster(draw), { ...ANY, maxDisturbed: 1 + draw(2) }),
  'guest-cluster add-member': (basis, draw) =>
    addMember(basis, cluster(draw), { ...ANY, vm: vm(draw), shareHosts: draw(4) === 0 }),
  'guest-cluster remove-member': (basis, draw) => removeMember(basis, cluster(draw), { ...ANY, vm: vm(draw) }),
  'guest-cluster add-disk': (basis, draw, world) =>
    addDisk(
      basis,
      world.observed(),
      cluster(draw),
      draw(2) === 0 ? { ...ANY, disk: sharedDisk(draw) } : { ...ANY, name: sharedDisk(draw), sizeBytes: GIB },
    ),
  'guest-cluster remove-disk': (basis, draw) => {
    const [owner] = [...recordsOf(basis.records.guestClusters)].filter(({ disks }) => disks.length > 0);
    const disk = owner?.disks[0] ?? sharedDisk(draw);
    return removeDisk(basis, owner?.name ?? cluster(draw), { ...ANY, disk, keep: draw(2) === 0 });
  },
  'guest-cluster delete': (basis, draw) => deleteGuestCluster(basis, cluster(draw), { ...ANY, keep: draw(2) === 0 }),
};
const NAMES = Object.keys(REQUESTS);
/** Requests that others need before them. */
const OFTEN = [
  ...['vm create', 'vm patch', 'network create', 'shared-disk create', 'shared-disk attach', 'guest-cluster create'],
  ...['leader', 'leader', 'leader'],
];

/** The changes that end tasks that still run. */
function ended({ records, now }: Basis, tasks: readonly (TaskRecord['id'] | null | undefined)[]): Change[] {
  return tasks.flatMap((id) => {
    const task = id === null || id === undefined ? undefined : records.tasks.get(id)?.value;
    return task?.state === 'running' ? [taskChange({ ...task, state: 'succeeded', endedAt: now })] : [];
  });
}

/** The leader's next change of one VM: it starts if there is room, runs, stops, and is deleted. */
function nextOfVm(basis: Basis, record: VmRecord): readonly Change[] {
  const { phase, intent, startTask, stopRequest, migrationRequest, resetRequest, pauseTask } = record;
  const tasks = [startTask, stopRequest?.taskId, migrationRequest?.taskId, resetRequest?.taskId, pauseTask];
  const calm = { startTask: null, stopRequest: null, migrationRequest: null, resetRequest: null, pauseTask: null };
  if (phase.kind === 'running' && intent === 'stopped')
    return [vmChange({ ...record, ...calm, phase: { kind: 'stopped' } }), ...ended(basis, tasks)];
  if (phase.kind === 'stopped' && record.deleting) {
    const disks = record.spec.disks.map(({ disk }): Change => ({ kind: 'disk', id: disk, value: null }));
    const deletions = [...recordsOf(basis.records.tasks)].filter(
      ({ kind, target }) => kind === 'vm.delete' && target.name === record.name,
    );
    const all = [...tasks, ...deletions.map(({ id }) => id)];
    return [{ kind: 'vm', id: record.id, value: null }, ...disks, ...ended(basis, all)];
  }
  const uses = record.spec.sharedDisks ?? [];
  if (uses.some(({ joining, leaving }) => joining === true || leaving === true)) {
    const settled = uses.filter(({ leaving }) => leaving !== true).map(({ disk, lun }) => ({ disk, lun }));
    return [vmChange({ ...record, spec: { ...record.spec, sharedDisks: settled } })];
  }
  if (phase.kind !== 'stopped' || intent !== 'running') return [];
  const { observer } = new RecordWorld().observed();
  const seeHost = (name: HostName): HostObservation => observer.see(name);
  const placed = place({ vm: record, index: basis.index, seeHost, exclude: [], only: null, isOver: false });
  if (placed.kind !== 'placed') return [];
  const generation = (record.generation + 1) as Generation;
  const incarnation = { generation, host: placed.host, slot: placed.slot };
  const next: VmRecord = { ...record, ...calm, generation, phase: { kind: 'running', incarnation } };
  return [vmChange(next), ...ended(basis, tasks)];
}

/** The leader's next change of a shared disk: it is made, and deleted once no VM has it. */
function nextOfDisk(basis: Basis, disk: SharedDiskRecord): readonly Change[] {
  const isUsed = [...recordsOf(basis.records.vms)].some(({ spec }) =>
    (spec.sharedDisks ?? []).some((use) => use.disk === disk.id),
  );
  if (disk.phase === 'deleting')
    return isUsed ? [] : [{ kind: 'shared-disk', id: disk.id, value: null }, ...ended(basis, disk.tasks ?? [])];
  if (disk.phase !== 'creating' && (disk.tasks ?? []).length === 0) return [];
  const value: SharedDiskRecord = { ...disk, phase: 'ready', tasks: [] };
  return [{ kind: 'shared-disk', id: disk.id, value }, ...ended(basis, disk.tasks ?? [])];
}

/** The leader's next change of a drain: a drain that is not paused ends. */
function nextOfDrain(basis: Basis, drain: DrainRecord): readonly Change[] {
  if (drain.endedAt !== null || drain.state === 'paused') return [];
  const state = drain.state === 'cancelling' ? 'cancelled' : 'drained';
  const value: DrainRecord = { ...drain, state, endedAt: basis.now };
  return [{ kind: 'drain', id: drain.id, value }, ...ended(basis, [drain.taskId])];
}

/** A guest cluster that is being deleted goes once its disks are gone. */
function nextOfCluster(basis: Basis, { name, disks, deleting, tasks }: GuestClusterRecord): readonly Change[] {
  const { sharedDisks } = basis.records;
  if (deleting !== true || disks.some((id) => sharedDisks.get(id)?.value.guestCluster === name)) return [];
  return [{ kind: 'guest-cluster', id: name, value: null }, ...ended(basis, tasks ?? [])];
}

test('what is admitted, in any order, breaks no rule and leaves no record that cannot be read', () => {
  const admitted = new Set<string>();
  const refusals = new Set<string>();
  const step = fc.record({
    name: fc.oneof(
      {
        weight: 2,
        arbitrary: fc.constantFrom(...OFTEN),
      },
      { weight: 5, arbitrary: fc.constantFrom(...NAMES, 'leader') },
    ),
    draws: fc.array(fc.nat(99), { minLength: 12, maxLength: 12 }),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 30, maxLength: 60 }), (steps) => {
      const world = new RecordWorld();
      const judge = traceJudge();
      let at = 0;
      const take = (by: Term | 'people', changes: readonly Change[]): void => {
        world.apply(changes);
        assert.deepEqual(judge({ at: at++, kind: 'commit', by, changes }), []);
        assert.deepEqual(world.unreadableRecords(), []);
        assert.deepEqual(disorder(world.basis().records), []);
      };
      take(1 as Term, [
        ...[1, 2, 3].map((n): Change => ({ kind: 'host', id: host(n), value: hostRecord(n) })),
        ...world.storageNodes(['s1', 's2', 's3']),
        { kind: 'image', id: IMAGE.name, value: IMAGE },
      ]);
      world.silent.add(parseStorageName('s3'));
      take('people', createNetwork(world.basis(), { name: 'n0', cidr: '10.20.1.0/24' }).changes);
      for (const name of ['vm0', 'vm1', 'vm2'])
        take('people', createVm(world.basis(), world.observed(), { ...SMALL, name }).changes);
      for (const { name, draws } of steps) {
        const basis = world.basis();
        let drawn = 0;
        const draw: Draw = (below) => (draws[drawn++ % draws.length] ?? 0) % below;
        if (name === 'leader') {
          for (const record of recordsOf(basis.records.vms)) take(1 as Term, nextOfVm(world.basis(), record));
          for (const disk of recordsOf(basis.records.sharedDisks)) take(1 as Term, nextOfDisk(world.basis(), disk));
          for (const each of recordsOf(basis.records.guestClusters))
            take(1 as Term, nextOfCluster(world.basis(), each));
          for (const drain of recordsOf(basis.records.drains)) take(1 as Term, nextOfDrain(world.basis(), drain));
        } else
          try {
            const { changes } = present(REQUESTS[name])(basis, draw, world);
            take('people', changes);
            admitted.add(name);
          } catch (error) {
            if (!(error instanceof CodedError)) throw error;
            assert.match(error.advice ?? 'Nothing was', /^(Nothing was|List them)/, error.message);
            refusals.add(`${name} ${error.code}`);
          }
      }
    }),
    { seed: 16, numRuns: 120 },
  );
  assert.deepEqual([...admitted].sort(), [...NAMES].sort(), 'every request is admitted at least once');
  assert.ok(refusals.size > 40, `${refusals.size} kinds of refusals`);
});

function present(request: Request | undefined): Request {
  assert.ok(request !== undefined);
  return request;
}
