import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { type DiskId, parseDiskId, parseGuestClusterName, parseVmId } from '../../base/ids.ts';
import type { TaskRecord } from '../model/cluster.ts';
import type { GuestClusterRecord, ReservationRecord, SharedDiskRecord } from '../model/guest-cluster.ts';
import { keyOf } from '../model/keys.ts';
import { initiatorName } from '../model/shared-disk-identity.ts';
import type { VmPhase, VmRecord } from '../model/vm.ts';
import {
  hostRecord,
  incarnation,
  NOW,
  node,
  sharedDiskRecord,
  task,
  vmRecord,
} from '../plan/testing/sample-records.ts';
import type { Change, Entry } from '../ports/store.ts';
import {
  addDiskChanges,
  addMemberChanges,
  adoptDiskChanges,
  createChanges,
  deleteChanges,
  type NewGuestCluster,
  removeDiskChanges,
  removeMemberChanges,
} from './guest-cluster-changes.ts';
import {
  attachChanges,
  deletedDisk,
  detachChanges,
  freeLun,
  grownDisk,
  type NewSharedDisk,
  newSharedDisk,
  type Records,
} from './shared-disk-changes.ts';

const SQL = parseGuestClusterName('sql');
const ASKED = { now: NOW, task: { id: task(7) } as TaskRecord };
const running = (h: number): VmPhase => ({ kind: 'running', incarnation: incarnation(1, h) });
const vm = (
  n: number,
  phase: VmPhase = running(n),
  more: Partial<VmRecord['spec']> = { sharedDisks: [] },
): VmRecord => {
  const record = vmRecord(phase, { id: parseVmId(`vm-${String(n).padStart(12, '0')}`), name: `sql${n}` });
  return { ...record, spec: { ...record.spec, ...more } };
};
const disk = (n: number, more: Partial<NewSharedDisk> = {}): NewSharedDisk => ({
  id: parseDiskId(`disk-00000000000${n}`),
  name: `data${n}`,
  node: node(1),
  sizeBytes: 2 ** 20,
  blockBytes: 512,
  ...more,
});
const wanted = (members: readonly VmRecord[], more: Partial<NewGuestCluster> = {}): NewGuestCluster => ({
  name: SQL,
  members,
  disks: [disk(1), disk(2)],
  heartbeatNetworks: [],
  maxDisturbed: 1,
  toleratesMs: 3_000,
  sharesHosts: false,
  ...more,
});

/** Records that changes can be applied to. */
class World {
  readonly tables = {
    vms: new Map<string, Entry<VmRecord>>(),
    hosts: new Map<string, unknown>(),
    sharedDisks: new Map<string, Entry<SharedDiskRecord>>(),
    guestClusters: new Map<string, Entry<GuestClusterRecord>>(),
    reservations: new Map<string, Entry<ReservationRecord>>(),
    unreadable: new Map<string, string>(),
    lastReadable: new Map<string, unknown>(),
  };

  constructor(vms: readonly VmRecord[], hosts = 4) {
    for (let n = 1; n <= hosts; n++) this.tables.hosts.set(`h${n}`, { value: hostRecord(n), revision: 1 });
    for (const value of vms) this.tables.vms.set(value.id, { value, revision: 1 });
  }

  get records(): Records {
    return this.tables as unknown as Records;
  }

  apply(changes: readonly Change[]): this {
    const tables = { vm: 'vms', 'shared-disk': 'sharedDisks', 'guest-cluster': 'guestClusters' } as const;
    for (const { kind, id, value } of changes) {
      const table = this.tables[tables[kind as 'vm']] as Map<string, Entry<unknown>>;
      if (value === null) table.delete(id);
      else table.set(id, { value, revision: 2 });
    }
    return this;
  }

  vm(n: number): VmRecord {
    return this.#of(this.tables.vms.get(vm(n).id));
  }

  disk(n: number): SharedDiskRecord {
    return this.#of(this.tables.sharedDisks.get(disk(n).id));
  }

  get cluster(): GuestClusterRecord {
    return this.#of(this.tables.guestClusters.get(SQL));
  }

  #of<T>(entry: Entry<T> | undefined): T {
    assert(entry !== undefined);
    return entry.value;
  }
}

function created(members: readonly VmRecord[] = [vm(1), vm(2, { kind: 'stopped' })]): World {
  const world = new World([vm(1), vm(2, { kind: 'stopped' }), vm(3)]);
  for (const member of members) world.tables.vms.set(member.id, { value: member, revision: 1 });
  return world.apply(createChanges(world.records, wanted(members), ASKED));
}

const refused = (act: () => unknown, code: CodedError['code'], message: RegExp): void => {
  assert.throws(act, (error) => {
    assert(error instanceof CodedError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(`${error.message} ${error.advice}`, message);
    assert.match(error.advice ?? '', /^Nothing was /);
    return true;
  });
};

test('GC4 a new guest cluster and its members say the same; all are marked as getting its disks, which are not made yet', () => {
  const world = created();
  assert.deepEqual(world.cluster.members, [vm(1).id, vm(2).id]);
  assert.deepEqual([world.vm(1).spec.guestCluster, world.vm(2).spec.guestCluster], [SQL, SQL]);
  assert.deepEqual(world.vm(1).spec.sharedDisks, [
    { disk: disk(1).id, lun: 0, joining: true },
    { disk: disk(2).id, lun: 1, joining: true },
  ]);
  assert.deepEqual(world.vm(2).spec.sharedDisks, [
    { disk: disk(1).id, lun: 0, joining: true },
    { disk: disk(2).id, lun: 1, joining: true },
  ]);
  assert.deepEqual(
    [world.disk(1).phase, world.disk(1).guestCluster, world.cluster.tasks],
    ['creating', SQL, [task(7)]],
  );
});

test('what cannot be a guest cluster is refused', () => {
  const world = created();
  const create = (members: readonly VmRecord[], more: Partial<NewGuestCluster> = {}) =>
    createChanges(world.records, wanted(members, { name: parseGuestClusterName('b'), disks: [], ...more }), ASKED);
  refused(() => create([vm(3)], { name: SQL }), 'exists', /sql exists/);
  refused(() => create([]), 'bad-input', /1 to 16 members, not 0/);
  const many = Array.from({ length: 17 }, (_, i) => vm(3 + i, { kind: 'stopped' }));
  refused(() => create(many, { sharesHosts: true }), 'bad-input', /not 17/);
  refused(() => create([vm(3), vm(3)]), 'bad-input', /member sql3 is named twice/);
  refused(() => create([world.vm(1)]), 'conflict', /sql1 is a member of guest cluster sql.*remove-member sql sql1/);
  refused(() => create([vm(3)], { disks: [disk(3), disk(3)] }), 'bad-input', /data3 is named twice/);
  refused(() => create([vm(3)], { disks: [disk(3, { sizeBytes: 1_000 })] }), 'bad-input', /1000 bytes are not a whole/);
  const wide = disk(3, { sizeBytes: 2 ** 20 + 512, blockBytes: 4096 });
  refused(() => create([vm(3)], { disks: [wide] }), 'bad-input', /blocks of 4096/);
  refused(() => create([{ ...vm(3), deleting: true }]), 'conflict', /being deleted/);
  const ends = { source: incarnation(1, 3), destination: incarnation(2, 4), taskId: null };
  const moving = vm(3, { kind: 'switching', ...ends });
  refused(() => create([moving]), 'conflict', /in phase switching.*Try again/);
  refused(() => create([vm(3, running(3), {})], { disks: [disk(3)] }), 'conflict', /without a place.*gp vm stop sql3/);
});

test('GC1 fewer hosts than members, or two on one, need consent, and it is said what is given up', () => {
  const few = new World([vm(1), vm(2), vm(3)], 2);
  const three = [vm(1), vm(2), vm(3, { kind: 'stopped' })];
  const act = (world: World, members: readonly VmRecord[], sharesHosts: boolean) => () =>
    createChanges(world.records, wanted(members, { sharesHosts }), ASKED);
  refused(
    act(few, three, false),
    'conflict',
    /3 members and there are 2 hosts: members would share a host, and be lost together.*--share-hosts/,
  );
  const together = [vm(1, running(2)), vm(2, running(2))];
  refused(act(new World(together), together, false), 'conflict', /sql1 and sql2 are both on h2.*gp vm migrate sql2/);
  assert.equal(few.apply(act(few, three, true)()).cluster.sharesHosts, true);
  const world = created();
  const ends = { source: incarnation(1, 4), destination: incarnation(2, 3), taskId: null };
  world.tables.vms.set(vm(1).id, { value: { ...world.vm(1), phase: { kind: 'switching', ...ends } }, revision: 3 });
  const add = (consents: boolean) => () =>
    addMemberChanges(world.records, { cluster: world.cluster, vm: vm(3), consents }, ASKED);
  refused(add(false), 'conflict', /sql1 and sql3 are both on h3/);
  assert.equal(world.apply(add(true)()).cluster.sharesHosts, true);
});

test('members come and go with the disks, under the numbers that the others have', () => {
  const world = created();
  world.apply(addMemberChanges(world.records, { cluster: world.cluster, vm: vm(3), consents: false }, ASKED));
  assert.deepEqual(
    world.vm(3).spec.sharedDisks?.map(({ lun }) => lun),
    [0, 1],
  );
  const again = () =>
    addMemberChanges(world.records, { cluster: world.cluster, vm: world.vm(3), consents: false }, ASKED);
  refused(again, 'conflict', /sql3 is a member of sql already/);
  world.apply(removeMemberChanges(world.records, { cluster: world.cluster, vm: world.vm(1) }, ASKED));
  assert.deepEqual(world.vm(1).spec.sharedDisks, [
    { disk: disk(1).id, lun: 0, leaving: true },
    { disk: disk(2).id, lun: 1, leaving: true },
  ]);
  assert.equal(world.vm(1).spec.guestCluster, null);
  refused(
    () => removeMemberChanges(world.records, { cluster: world.cluster, vm: world.vm(1) }, ASKED),
    'not-found',
    /no member/,
  );
  world.apply(removeMemberChanges(world.records, { cluster: world.cluster, vm: world.vm(2) }, ASKED));
  assert.deepEqual(world.vm(2).spec.sharedDisks, [], 'what is stopped loses them at once');
  refused(
    () => removeMemberChanges(world.records, { cluster: world.cluster, vm: world.vm(3) }, ASKED),
    'conflict',
    /last member/,
  );
});

test('a member that has the number already, or a disk of that name, is refused', () => {
  const world = created();
  const other = { disk: 'disk-0000000000ff' as DiskId, lun: 1 };
  const occupied = vm(3, running(3), { sharedDisks: [other] });
  const add = () => addMemberChanges(world.records, { cluster: world.cluster, vm: occupied, consents: false }, ASKED);
  refused(add, 'conflict', /sql3 has another shared disk as number 1, which data2 is in the other members/);
  const same = () => addDiskChanges(world.records, { cluster: world.cluster, disk: disk(3, { name: 'data1' }) }, ASKED);
  refused(same, 'exists', /of guest cluster sql is named data1/);
  const full = Array.from({ length: 256 }, (_, lun) => ({ disk: other.disk, lun }));
  refused(() => freeLun([vm(1, running(1), { sharedDisks: full })]), 'no-capacity', /No number from 0 to 255/);
});

test('a guest cluster does not change while the record of a disk or a member of it cannot be read', () => {
  const world = created();
  const cluster = world.cluster;
  const fate = { keeps: false, forces: true };
  const changes = [
    () => deleteChanges(world.records, { cluster, fate }, ASKED),
    () => removeDiskChanges(world.records, { cluster, disk: world.disk(2), fate }, ASKED),
    () => addDiskChanges(world.records, { cluster, disk: disk(3) }, ASKED),
    () => addMemberChanges(world.records, { cluster, vm: vm(3), consents: false }, ASKED),
    () => removeMemberChanges(world.records, { cluster, vm: world.vm(2) }, ASKED),
  ];
  for (const key of [keyOf.sharedDisk(disk(1).id), keyOf.vm(vm(1).id)]) {
    world.tables.unreadable.set(key, 'is not JSON');
    for (const change of changes) refused(change, 'conflict', /What etcd holds at .* is not JSON/);
    world.tables.unreadable.clear();
  }
  world.tables.unreadable.set(keyOf.sharedDisk(disk(9).id), 'is not JSON');
  for (const change of changes) assert.notEqual(change().length, 0, 'a disk of another one does not matter');
});

const keyOn = (n: number): Entry<ReservationRecord> => ({
  value: {
    disk: disk(n).id,
    state: {
      generation: 1,
      registrations: [{ nexus: initiatorName(vm(1).id), key: '0123456789abcdef', isAllTargetPorts: false }],
      reservation: null,
    },
    registeredAt: {},
    reservedAt: null,
  },
  revision: 1,
});

test('a disk that guests have keys on leaves only by force; one that is kept belongs to nobody', () => {
  const world = created();
  world.apply(addDiskChanges(world.records, { cluster: world.cluster, disk: disk(3) }, ASKED));
  assert.deepEqual(world.vm(2).spec.sharedDisks?.at(-1), { disk: disk(3).id, lun: 2, joining: true });
  world.tables.reservations.set(disk(1).id, keyOn(1));
  const remove = (n: number, fate: { keeps: boolean; forces: boolean }) => () =>
    removeDiskChanges(world.records, { cluster: world.cluster, disk: world.disk(n), fate }, ASKED);
  refused(remove(1, { keeps: false, forces: false }), 'conflict', /Keys are registered on data1 by sql1.*--force/);
  world.apply(remove(1, { keeps: false, forces: true })());
  assert.deepEqual([world.disk(1).phase, world.disk(1).tasks], ['deleting', [task(7)]]);
  assert.equal(world.vm(1).spec.sharedDisks?.[0]?.leaving, true);
  world.apply(remove(3, { keeps: true, forces: false })());
  assert.deepEqual([world.disk(3).phase, world.disk(3).guestCluster], ['creating', null]);
  assert.deepEqual(world.cluster.disks, [disk(2).id]);
  world.apply(deleteChanges(world.records, { cluster: world.cluster, fate: { keeps: false, forces: false } }, ASKED));
  assert.deepEqual([world.cluster.deleting, world.cluster.members, world.disk(2).phase], [true, [], 'deleting']);
  assert.deepEqual([world.vm(1).spec.guestCluster, world.vm(2).spec.guestCluster], [null, null]);
  refused(remove(2, { keeps: false, forces: false }), 'conflict', /sql is being deleted/);
});

test('a shared disk of no guest cluster is taken in, under the number that the members have', () => {
  const world = created();
  const loose = (n: number): SharedDiskRecord => newSharedDisk(world.records, disk(n), null, ASKED);
  for (const n of [5, 6]) world.tables.sharedDisks.set(disk(n).id, { value: loose(n), revision: 1 });
  const attach = (n: number, vmN: number, lun: number) =>
    world.apply(attachChanges(world.records, { disk: world.disk(n), vm: world.vm(vmN), lun }, ASKED));
  const adopt = (n: number) => () =>
    world.apply(adoptDiskChanges(world.records, { cluster: world.cluster, disk: world.disk(n) }, ASKED));
  attach(5, 1, 9);
  adopt(5)();
  assert.equal(world.disk(5).guestCluster, SQL);
  assert.deepEqual([world.vm(1).spec.sharedDisks?.at(-1)?.lun, world.vm(2).spec.sharedDisks?.at(-1)?.lun], [9, 9]);
  refused(adopt(5), 'conflict', /data5 is a disk of guest cluster sql.*--keep/);
  attach(6, 1, 20);
  attach(6, 2, 21);
  refused(adopt(6), 'conflict', /as numbers 20 and 21/);
  world.apply(detachChanges({ disk: world.disk(6), vm: world.vm(2) }, ASKED));
  attach(6, 3, 20);
  refused(adopt(6), 'conflict', /sql3 has data6 and is no member of sql.*shared-disk detach data6 sql3/);
  const same = { ...world.disk(6), name: 'data1' };
  world.tables.sharedDisks.set(disk(6).id, { value: same, revision: 1 });
  world.apply([{ kind: 'vm', id: vm(3).id, value: vm(3) }]);
  refused(adopt(6), 'exists', /of guest cluster sql is named data1/);
});

test('shared disks of no guest cluster: attached, detached, grown, deleted, and what of that is refused', () => {
  const world = new World([vm(1), vm(2, { kind: 'stopped' }, {})]);
  const made = { ...newSharedDisk(world.records, disk(1), null, ASKED), phase: 'ready' as const };
  world.tables.sharedDisks.set(disk(1).id, { value: made, revision: 1 });
  refused(() => newSharedDisk(world.records, disk(9, { name: 'data1' }), null, ASKED), 'exists', /named data1/);
  const attach =
    (n: number, lun: number | null = null) =>
    () =>
      attachChanges(world.records, { disk: world.disk(1), vm: world.vm(n), lun }, ASKED);
  world.apply(attach(1, 7)()).apply(attach(2)());
  assert.deepEqual(world.vm(1).spec.sharedDisks, [{ disk: disk(1).id, lun: 7, joining: true }]);
  assert.deepEqual(world.vm(2).spec.sharedDisks, [{ disk: disk(1).id, lun: 0 }]);
  refused(attach(1), 'conflict', /sql1 has data1 already/);
  refused(
    () => deletedDisk(world.records, world.disk(1), ASKED),
    'conflict',
    /attached to sql1, sql2.*shared-disk detach/,
  );
  refused(() => grownDisk(world.disk(1), 2 ** 19, ASKED), 'bad-input', /cannot become smaller/);
  refused(() => grownDisk(world.disk(1), 2 ** 20 + 1, ASKED), 'bad-input', /not a whole number/);
  const grown = grownDisk(world.disk(1), 2 ** 21, ASKED);
  assert.deepEqual([grown.sizeBytes, grown.sizeBefore], [2 ** 21, world.disk(1).sizeBytes]);
  assert.equal(grownDisk(grown, 2 ** 22, ASKED).sizeBefore, world.disk(1).sizeBytes, 'until the node has grown it');
  assert.equal(grownDisk({ ...world.disk(1), phase: 'creating' }, 2 ** 21, ASKED).sizeBefore, undefined);
  const detach = (n: number) => () => detachChanges({ disk: world.disk(1), vm: world.vm(n) }, ASKED);
  world.apply(detach(1)()).apply(detach(2)());
  assert.deepEqual(world.vm(2).spec.sharedDisks, []);
  refused(detach(2), 'not-found', /sql2 does not have data1/);
  world.tables.unreadable.set(keyOf.vm(vm(9).id), 'is not JSON');
  refused(
    () => deletedDisk(world.records, world.disk(1), ASKED),
    'conflict',
    /whether it is in use there is not known/,
  );
  world.tables.unreadable.clear();
  refused(() => deletedDisk(world.records, world.disk(1), ASKED), 'conflict', /attached to sql1/);
  world.apply(attach(1, 3)());
  assert.deepEqual(world.vm(1).spec.sharedDisks, [{ disk: disk(1).id, lun: 3, joining: true }], 'it comes back');
  const owned = sharedDiskRecord({ guestCluster: SQL });
  refused(() => deletedDisk(world.records, owned, ASKED), 'conflict', /guest-cluster remove-disk sql data/);
  refused(
    () => attachChanges(world.records, { disk: owned, vm: vm(1), lun: null }, ASKED),
    'conflict',
    /add-member sql/,
  );
  refused(() => detachChanges({ disk: owned, vm: vm(1) }, ASKED), 'conflict', /remove-member sql/);
  const going = sharedDiskRecord({ phase: 'deleting' });
  refused(
    () => attachChanges(world.records, { disk: going, vm: vm(1), lun: null }, ASKED),
    'conflict',
    /being deleted/,
  );
});
