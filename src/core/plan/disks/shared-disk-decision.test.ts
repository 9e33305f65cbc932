import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDiskId, parseGuestClusterName } from '../../../base/ids.ts';
import { ClusterIndex } from '../../model/cluster-index.ts';
import type { GuestClusterRecord, ReservationRecord, SharedDiskRecord } from '../../model/guest-cluster.ts';
import { initiatorName } from '../../model/shared-disk-identity.ts';
import type { VmRecord, VmSharedDisk } from '../../model/vm.ts';
import { undeclaredClusters } from '../guest-clusters/undeclared.ts';
import {
  guestClusterRecord,
  incarnation,
  memberRecord,
  sharedDiskRecord,
  task,
  vmRecord,
} from '../testing/sample-records.ts';
import { decideGuestCluster, decideSharedDisk, type SharedDiskAcknowledged } from './shared-disk-decision.ts';

const DISK = sharedDiskRecord();
const NOTHING: SharedDiskAcknowledged = { sizeBytes: 0, isDeleted: false, refusal: null };
const SIZED = { ...NOTHING, sizeBytes: DISK.sizeBytes };
const SQL = parseGuestClusterName('sql');

const withDisk = (vm: VmRecord, use: Partial<VmSharedDisk> = {}): VmRecord => ({
  ...vm,
  spec: { ...vm.spec, sharedDisks: [{ disk: DISK.id, lun: 0, ...use }] },
});
const user = (use: Partial<VmSharedDisk> = {}, n = 1): VmRecord =>
  withDisk(memberRecord(n, { kind: 'running', incarnation: incarnation(1, n) }), use);

function indexOf(
  vms: readonly VmRecord[],
  disks: readonly SharedDiskRecord[] = [DISK],
  clusters: readonly GuestClusterRecord[] = [],
): ClusterIndex {
  const index = new ClusterIndex();
  for (const vm of vms) index.setVm(vm.id, vm);
  for (const disk of disks) index.setSharedDisk(disk.id, disk);
  for (const cluster of clusters) index.setGuestCluster(cluster.name, cluster);
  return index;
}

const of = (disk: Partial<SharedDiskRecord>, vms: readonly VmRecord[], acknowledged = NOTHING) =>
  decideSharedDisk({ disk: sharedDiskRecord(disk), index: indexOf(vms), acknowledged });

const clusterOf = (
  cluster: GuestClusterRecord,
  index: ClusterIndex,
  refusal: SharedDiskAcknowledged['refusal'] = null,
): ReturnType<typeof decideGuestCluster> => decideGuestCluster(cluster, index, () => refusal);

test('GC8 a disk is made, grown and deleted by orders that a leader that knows of nothing repeats', () => {
  assert.deepEqual(of({ phase: 'creating' }, []), { kind: 'order', order: 'put' });
  const ready = of({ phase: 'creating' }, [], SIZED);
  assert.equal(ready.kind === 'commit' ? ready.value?.phase : ready.kind, 'ready');
  assert.equal(of({}, []).kind, 'wait', 'nobody asked for anything');
  assert.deepEqual(of({ tasks: [task(1)] }, []), { kind: 'order', order: 'put' });
  assert.deepEqual(of({ tasks: [task(1)], sizeBytes: 2 ** 31 }, [], SIZED), { kind: 'order', order: 'put' });
  assert.deepEqual(of({ phase: 'deleting' }, []), { kind: 'order', order: 'delete' });
  const gone = of({ phase: 'deleting', tasks: [task(1)] }, [], { ...NOTHING, isDeleted: true });
  assert(gone.kind === 'commit');
  assert.deepEqual([gone.value, gone.tasks[0]?.state], [null, 'succeeded']);
});

test('GC8 a disk that a VM still has is not deleted, and a task waits for the VMs', () => {
  for (const use of [{}, { leaving: true as const }, { joining: true as const }]) {
    const decision = of({ phase: 'deleting' }, [user(use)]);
    assert.deepEqual(decision, { kind: 'wait', why: 'sql1 still has it' });
  }
  assert.equal(of({ tasks: [task(1)] }, [user({ joining: true })], SIZED).kind, 'wait');
  assert.equal(of({ tasks: [task(1)] }, [user({ leaving: true })], SIZED).kind, 'wait');
  const done = of({ tasks: [task(1), task(2)] }, [user()], SIZED);
  assert(done.kind === 'commit');
  assert.equal(done.value?.tasks, undefined);
  assert.deepEqual(
    done.tasks.map(({ id }) => id),
    [task(1), task(2)],
  );
});

test('a guest cluster’s tasks end when its disks are made and its members have them', () => {
  const disks = (phase: SharedDiskRecord['phase']) => [sharedDiskRecord({ phase, guestCluster: SQL })];
  const cluster = guestClusterRecord([user()], { disks: [DISK.id], tasks: [task(1)] });
  assert.equal(clusterOf(cluster, indexOf([user()], disks('creating'))).kind, 'wait');
  assert.equal(clusterOf(cluster, indexOf([user({ joining: true })], disks('ready'))).kind, 'wait');
  const done = clusterOf(cluster, indexOf([user()], disks('ready')));
  assert(done.kind === 'commit');
  assert.deepEqual([done.value?.tasks, done.tasks.length], [undefined, 1]);
  const { tasks: _, ...idle } = cluster;
  assert.equal(clusterOf(idle, indexOf([user()], disks('creating'))).kind, 'wait');
});

test('a disk that its node refuses ends the tasks that wait for it, with the reason, and is tried again', () => {
  const refusal = { sizeBytes: DISK.sizeBytes, why: 'File too large.' };
  const refused: SharedDiskAcknowledged = { ...NOTHING, refusal };
  const decision = of({ phase: 'creating', tasks: [task(1)] }, [user({ joining: true })], refused);
  assert(decision.kind === 'commit');
  assert.deepEqual([decision.value?.phase, decision.value?.tasks], ['creating', undefined]);
  assert.equal(decision.tasks[0]?.state, 'failed');
  assert.match(decision.tasks[0]?.message ?? '', /data cannot be made: File too large\. No VM waits/);
  assert.deepEqual(of({ phase: 'creating' }, [], refused), { kind: 'order', order: 'put' });
  const smaller = of({ phase: 'creating', tasks: [task(1)], sizeBytes: 2 ** 20 }, [], refused);
  assert.deepEqual(smaller, { kind: 'order', order: 'put' }, 'that was another size');
  const index = indexOf([user({ joining: true })], [sharedDiskRecord({ phase: 'creating', guestCluster: SQL })]);
  const cluster = guestClusterRecord([user()], { disks: [DISK.id], tasks: [task(1), task(2)] });
  const ended = clusterOf(cluster, index, refusal);
  assert(ended.kind === 'commit');
  assert.deepEqual([ended.value?.tasks, ended.tasks.map(({ state }) => state)], [undefined, ['failed', 'failed']]);
});

test('a disk that its node refuses to grow has the size again that it had, and its task says so', () => {
  const disk = { tasks: [task(1)], sizeBefore: 2 ** 30, sizeBytes: 2 ** 40 };
  const refusal = { sizeBytes: 2 ** 40, why: 'File too large.' };
  for (const [known, kept] of [
    [0, 2 ** 30],
    [2 ** 31, 2 ** 31],
  ] as const) {
    const decision = of(disk, [user()], { ...NOTHING, sizeBytes: known, refusal });
    assert(decision.kind === 'commit');
    assert.equal(decision.value?.sizeBytes, kept, 'what an earlier growth made stays');
    assert.deepEqual([decision.value?.sizeBefore, decision.value?.tasks], [undefined, undefined]);
    assert.equal(decision.tasks[0]?.state, 'failed');
    const said = new RegExp(`cannot be grown to ${2 ** 40} bytes: File too large\\. It keeps ${kept} bytes`);
    assert.match(decision.tasks[0]?.message ?? '', said);
    assert.match(decision.event?.message ?? '', said);
  }
  const grown = of(disk, [user()], { ...NOTHING, sizeBytes: 2 ** 40 });
  assert(grown.kind === 'commit');
  assert.deepEqual([grown.value?.sizeBytes, grown.value?.sizeBefore], [2 ** 40, undefined]);
  const before = of({ tasks: [task(1)], sizeBytes: 2 ** 40 }, [], { ...NOTHING, refusal });
  assert.equal(before.kind === 'commit' && before.value?.sizeBytes, 2 ** 40, 'a record of an older version');
});

test('a guest cluster that is deleted goes when its disks are gone, or were kept', () => {
  const cluster = guestClusterRecord([], { disks: [DISK.id], deleting: true, tasks: [task(1)] });
  const left = indexOf([], [sharedDiskRecord({ phase: 'deleting', guestCluster: SQL })]);
  assert.equal(clusterOf(cluster, left).kind, 'wait');
  for (const disks of [[], [sharedDiskRecord()]]) {
    const decision = clusterOf(cluster, indexOf([], disks));
    assert(decision.kind === 'commit');
    assert.deepEqual([decision.value, decision.tasks.length], [null, 1]);
  }
});

const plain = (n: number, use: Partial<VmSharedDisk> = {}): VmRecord =>
  withDisk({ ...vmRecord({ kind: 'stopped' }), id: memberRecord(n, { kind: 'stopped' }).id, name: `web${n}` }, use);
const registered = (vms: readonly VmRecord[]): ReservationRecord => ({
  disk: DISK.id,
  state: {
    generation: 1,
    registrations: vms.map(({ id }) => ({
      nexus: initiatorName(id),
      key: '0123456789abcdef',
      isAllTargetPorts: false,
    })),
    reservation: null,
  },
  registeredAt: {},
  reservedAt: null,
});
const found = (
  vms: readonly VmRecord[],
  {
    keys = [],
    disk = DISK,
    clusters = [] as readonly GuestClusterRecord[],
  }: {
    readonly keys?: readonly VmRecord[];
    readonly disk?: SharedDiskRecord;
    readonly clusters?: readonly GuestClusterRecord[];
  } = {},
) =>
  undeclaredClusters({
    index: indexOf(vms, [disk], clusters),
    disks: [disk],
    reservationOf: () => (keys.length === 0 ? null : registered(keys)),
  });

test('GC9 VMs that share a disk of no guest cluster, or register a key and are in none, are one that nobody declared', () => {
  assert.deepEqual(found([plain(1)]), []);
  const [shared] = found([plain(1), plain(2)]);
  assert.deepEqual(shared?.vms, [plain(1).id, plain(2).id]);
  assert.match(shared?.because.join() ?? '', /web1 and web2 share data/);
  const [alone] = found([plain(1)], { keys: [plain(1)] });
  assert.match(alone?.because.join() ?? '', /web1 registered a key on data .* and is in no guest cluster/);
  const disk = sharedDiskRecord({ guestCluster: SQL });
  const members = [user({}, 1), user({}, 2)];
  const clusters = [guestClusterRecord(members, { disks: [DISK.id] })];
  assert.deepEqual(found(members, { keys: members, disk, clusters }), []);
  assert.deepEqual(found(members, { keys: [...members, plain(3)], disk, clusters }), [], 'a former member has no disk');
});

test('GC9 disks with a VM in common are one of them', () => {
  const [a, b, c] = [1, 2, 3].map((n) => sharedDiskRecord({ id: parseDiskId(`disk-00000000000${n}`), name: `d${n}` }));
  assert(a !== undefined && b !== undefined && c !== undefined);
  const has = (n: number, disks: readonly SharedDiskRecord[]): VmRecord => {
    const vm = plain(n);
    return { ...vm, spec: { ...vm.spec, sharedDisks: disks.map(({ id }, lun) => ({ disk: id, lun })) } };
  };
  const vms = [has(1, [a]), has(2, [a, b]), has(3, [b]), has(4, [c]), has(5, [c])];
  const clusters = undeclaredClusters({ index: indexOf(vms, [a, b, c]), disks: [c, b, a], reservationOf: () => null });
  assert.deepEqual(
    clusters.map(({ disks, vms: ids }) => [disks.length, ids.length]),
    [
      [2, 3],
      [1, 2],
    ],
  );
});
