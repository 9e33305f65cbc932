import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { parseNetworkName } from '../../base/ids.ts';
import type { ReservationRecord } from '../../core/model/guest-cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import { initiatorName } from '../../core/model/shared-disk-identity.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import { incarnation } from '../../core/plan/testing/sample-records.ts';
import { snapshotOf, writesOf } from '../store/leader-store.ts';
import { MIB, startBackend, type TestBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { hostRecord, networkRecord, type RunningStore, vmRecord } from '../testing/records.ts';
import { GuestClustersBackend } from './guest-clusters.ts';
import { NetworksBackend } from './networks.ts';
import { SharedDisksBackend } from './shared-disks.ts';
import { VmsBackend } from './vms.ts';

const CALL = { signal: new AbortController().signal };
const WAIT = { deadlineMs: 10_000, signal: new AbortController().signal, what: 'The change' };
const ALWAYS = { ifMatch: null };
const etcd = etcdOfFile();
let running: RunningStore;
let other: RunningStore;
let backend: TestBackend;
let clusters: GuestClustersBackend;
let disks: SharedDisksBackend;
/** The same API through another control node. */
let elsewhere: GuestClustersBackend;

beforeEach(async () => {
  running = await etcd.follow();
  other = await etcd.follow();
  backend = await startBackend(running);
  clusters = new GuestClustersBackend(backend.context);
  disks = new SharedDisksBackend(backend.context);
  elsewhere = new GuestClustersBackend({ ...backend.context, store: other.store });
  const hosts = [2, 3].map((n) => ({ key: `/gp/host/h${n}`, value: hostRecord(`h${n}`), expect: 0 }));
  const networks = ['hb', 'lan'].map((name, i) => ({
    key: `/gp/network/${name}`,
    value: networkRecord(name, { vni: 5_000 + i, cidr: `10.9.${i}.0/24`, gateway: `10.9.${i}.1` }),
    expect: 0,
  }));
  await running.store.transact([...hosts, ...networks], null);
  for (const n of [1, 2, 3, 4]) await putVm(n);
  await other.store.waitFor(() => other.store.vmNames.get('vm4'), WAIT);
});

async function putVm(n: number, overrides: Partial<VmRecord> = {}): Promise<void> {
  const vm = vmRecord(n, overrides);
  await running.store.transact(
    [
      { key: keyOf.vm(vm.id), value: vm, expect: null },
      { key: keyOf.vmName(vm.name), value: vm.id, expect: null },
    ],
    null,
  );
}
const runs = (n: number): Partial<VmRecord> => {
  const { spec } = vmRecord(n);
  const phase = { kind: 'running', incarnation: incarnation(1, n) } as const;
  return { phase, intent: 'running', generation: phase.incarnation.generation, spec: { ...spec, sharedDisks: [] } };
};
const vmNow = (n: number): VmRecord => {
  const record = running.store.vms.get(vmRecord(n).id)?.value;
  assert(record !== undefined);
  return record;
};
const code = (outcome: PromiseSettledResult<unknown>): string =>
  outcome.status === 'fulfilled' ? 'ok' : ((outcome.reason as { code?: string }).code ?? String(outcome.reason));

test('a guest cluster with disks and heartbeat is one transaction; stopped members get a card, one that runs must have it', async () => {
  const request = {
    name: 'sql',
    members: ['vm1', 'vm2'],
    sharedDisks: [{ name: 'quorum', sizeBytes: MIB }],
    heartbeatNetworks: ['hb'],
  };
  await putVm(3, runs(3));
  await assert.rejects(
    clusters.create({ ...request, members: ['vm1', 'vm3'] }),
    /vm3 runs and has no card in network hb/,
  );
  assert.equal(running.store.guestClusters.size, 0);
  const made = await clusters.create(request);
  assert.deepEqual(
    made.members.map(({ vm }) => vm),
    ['vm1', 'vm2'],
  );
  assert.deepEqual([made.maxDisturbed, made.toleratesMs, made.task?.state], [1, 3_000, 'running']);
  // The disk is not made yet.
  assert.deepEqual(made.disks[0]?.vms, [
    { vm: 'vm1', lun: 0, state: 'attaching' },
    { vm: 'vm2', lun: 0, state: 'attaching' },
  ]);
  const [card] = vmNow(1).spec.nics;
  assert.equal(card?.network, 'hb');
  assert.equal(running.store.networks.get('hb')?.value.reservations[card?.mac ?? '']?.vm, vmNow(1).id);
  const [shown] = (await clusters.list({}, CALL)).items;
  assert.deepEqual(
    [shown?.members[0]?.may.migrate, shown?.members[0]?.may.drain.allowed],
    [{ allowed: false, reason: 'It does not run.' }, true],
  );
});

test('GC4 of callers who want the same member at once through two nodes one gets it', async () => {
  const outcomes = await Promise.allSettled(
    ['a', 'b', 'c', 'd'].map((name, i) =>
      (i % 2 === 0 ? clusters : elsewhere).create({ name, members: ['vm1', 'vm2'] }),
    ),
  );
  assert.deepEqual(outcomes.map(code).sort(), ['conflict', 'conflict', 'conflict', 'ok']);
  const owner = await running.store.waitFor(() => vmNow(1).spec.guestCluster ?? undefined, WAIT);
  assert.equal(vmNow(2).spec.guestCluster, owner);
  assert.deepEqual([...running.store.guestClusters.keys()], [owner]);
});

test('of callers who want the same name, or the same disk’s name, at once one gets it', async () => {
  const same = await Promise.allSettled([
    clusters.create({ name: 'sql', members: ['vm1'] }),
    elsewhere.create({ name: 'sql', members: ['vm2'] }),
  ]);
  assert.deepEqual(same.map(code).sort(), ['exists', 'ok']);
  const there = new SharedDisksBackend({ ...backend.context, store: other.store });
  const named = await Promise.allSettled(
    [disks, there, disks].map((from) => from.create({ name: 'scratch', sizeBytes: MIB })),
  );
  assert.deepEqual(named.map(code).sort(), ['exists', 'exists', 'ok']);
  const listed = (await running.client.list('/gp/shared-disk/')).entries;
  assert.equal(listed.length, 1);
});

test('disks that are added at once through two nodes all come, each under a number of its own', async () => {
  await clusters.create({ name: 'sql', members: ['vm1', 'vm2'] });
  await other.store.waitFor(() => other.store.guestClusters.get('sql'), WAIT);
  const outcomes = await Promise.allSettled(
    Array.from({ length: 6 }, (_, i) =>
      (i % 2 === 0 ? clusters : elsewhere).addDisk('sql', { name: `d${i}`, sizeBytes: MIB, ...ALWAYS }),
    ),
  );
  assert.deepEqual(outcomes.map(code), Array(6).fill('ok'));
  // The last object may have been made through the other node: this node sees it when the watch has brought it.
  await running.store.waitFor(() => (vmNow(1).spec.sharedDisks ?? []).length === 6 || undefined, WAIT);
  for (const n of [1, 2]) {
    const luns = (vmNow(n).spec.sharedDisks ?? []).map(({ lun }) => lun);
    assert.deepEqual(
      luns.sort((a, b) => a - b),
      [0, 1, 2, 3, 4, 5],
    );
  }
});

test('a member is not deleted, and one that is being deleted does not become a member', async () => {
  const vms = new VmsBackend(backend.context);
  const outcomes = await Promise.allSettled([
    vms.delete('vm1', ALWAYS),
    elsewhere.create({ name: 'sql', members: ['vm1'] }),
  ]);
  assert.deepEqual(outcomes.map(code).sort(), ['conflict', 'ok']);
  await clusters.create({ name: 'web', members: ['vm2'], sharedDisks: [{ name: 'd', sizeBytes: MIB }] });
  await assert.rejects(vms.delete('vm2', ALWAYS), /vm2 is a member of guest cluster web/);
  await disks.create({ name: 'scratch', sizeBytes: MIB });
  await disks.attach('scratch', { vm: 'vm3', ...ALWAYS });
  await assert.rejects(vms.delete('vm3', ALWAYS), /vm3 has shared disk scratch.*/);
});

test('GC2 people may stop what they like, and are told what their guest cluster bears', async () => {
  await clusters.create({ name: 'sql', members: ['vm1', 'vm2'] });
  const spec = { ...vmNow(1).spec };
  await putVm(1, { ...runs(1), spec });
  const vms = new VmsBackend(backend.context);
  const task = await vms.stop('vm1', {});
  assert.equal(task.message, 'Stopping. Guest cluster sql allows 1 at once, and besides vm2 is stopped.');
  assert.equal(vmNow(1).intent, 'stopped');
});

test('a heartbeat network does not go at the moment in which a guest cluster takes it', async () => {
  const networks = new NetworksBackend({ ...backend.context, store: other.store });
  const outcomes = await Promise.allSettled([
    clusters.create({ name: 'sql', members: ['vm1'], heartbeatNetworks: ['hb'] }),
    networks.delete('hb', ALWAYS),
  ]);
  assert.notDeepEqual(outcomes.map(code), ['ok', 'ok']);
  await assert.rejects(
    clusters.create({ name: 'b', members: ['vm2'], heartbeatNetworks: ['none'] }),
    /no network none/,
  );
  assert.equal(parseNetworkName('hb'), 'hb');
});

test('what makes no sense changes nothing', async () => {
  await clusters.create({ name: 'sql', members: ['vm1', 'vm2'], sharedDisks: [{ name: 'data', sizeBytes: 2 * MIB }] });
  const listing = async () =>
    (await running.client.list('/gp/')).entries.map(({ key, modRevision }) => [key, modRevision]);
  const before = await listing();
  const data = (await disks.list({}, CALL)).items[0]?.id ?? '';
  const wrong: readonly (readonly [string, () => unknown])[] = [
    ['not-found', () => clusters.create({ name: 'x', members: ['nobody'] })],
    ['bad-input', () => clusters.create({ name: 'x', members: ['vm3', 'vm3'] })],
    ['bad-input', () => clusters.create({ name: 'x', members: ['vm3', vmRecord(3).id] })],
    ['bad-input', () => clusters.create({ name: '../x', members: ['vm3'] })],
    ['conflict', () => clusters.create({ name: 'x', members: ['vm1'] })],
    [
      'bad-input',
      () => clusters.create({ name: 'x', members: ['vm3'], sharedDisks: [{ name: 'd', sizeBytes: 1_000 }] }),
    ],
    ['not-found', () => clusters.addMember('none', { vm: 'vm3', ...ALWAYS })],
    ['stale-revision', () => clusters.addMember('sql', { vm: 'vm3', ifMatch: '1' })],
    ['stale-revision', () => clusters.patch('sql', { maxDisturbed: 2, ifMatch: '1' })],
    ['not-found', () => clusters.removeMember('sql', 'vm3', ALWAYS)],
    ['not-found', () => clusters.removeDisk('sql', 'none', ALWAYS)],
    ['exists', () => clusters.addDisk('sql', { name: 'data', sizeBytes: MIB, ...ALWAYS })],
    ['bad-input', () => disks.patch(data, { sizeBytes: MIB, ...ALWAYS })],
    ['conflict', () => disks.attach(data, { vm: 'vm3', ...ALWAYS })],
    ['conflict', () => disks.detach(data, 'vm1', ALWAYS)],
    ['conflict', () => disks.delete(data, ALWAYS)],
    ['not-found', () => disks.get('data')],
    ['bad-input', () => disks.create({ name: 'disk-000000000001', sizeBytes: MIB })],
  ];
  for (const [expected, act] of wrong)
    await assert.rejects(async () => act(), { code: expected }, `${expected}: ${act.toString()}`);
  backend.world.storage.clear();
  await assert.rejects(disks.create({ name: 'full', sizeBytes: MIB }), { code: 'no-capacity' });
  assert.deepEqual(await listing(), before);
});

test('a disk’s name and its reservations go with its record', async () => {
  await disks.create({ name: 'scratch', sizeBytes: MIB });
  const [entry] = running.store.sharedDisks.values();
  assert(entry !== undefined);
  const { id } = entry.value;
  await running.store.transact([{ key: keyOf.reservation(id), value: { disk: id }, expect: 0 }], null);
  const writes = writesOf({ kind: 'shared-disk', id, value: null }, snapshotOf(running.store));
  assert.equal((await running.store.transact(writes, null)).kind, 'committed');
  const left = (await running.client.list('/gp/')).entries.filter(({ key }) => /shared|reservation/.test(key));
  assert.deepEqual(left, []);
});

test('GC9 shown: who holds what since when, and what nobody declared', async () => {
  await clusters.create({ name: 'sql', members: ['vm1', 'vm2'], sharedDisks: [{ name: 'data', sizeBytes: MIB }] });
  const [entry] = running.store.sharedDisks.values();
  assert(entry !== undefined);
  const { id } = entry.value;
  const nexus = initiatorName(vmRecord(1).id);
  const gone = 'iqn.2026-11.org.groundplane:vm:vm-ffffffffffff';
  const record: ReservationRecord = {
    disk: id,
    state: {
      generation: 4,
      registrations: [nexus, gone].map((name) => ({ nexus: name, key: '0123456789abcdef', isAllTargetPorts: false })),
      reservation: { type: 5, holder: nexus },
    },
    registeredAt: { [nexus]: 1_000 },
    reservedAt: 2_000,
  };
  await running.store.transact([{ key: keyOf.reservation(id), value: record, expect: 0 }], null);
  const [shown] = clusters.get('sql').disks;
  assert.deepEqual(shown?.registrations, [
    { vm: 'vm1', initiator: nexus, key: '0123456789abcdef', since: '1970-01-01T00:00:01.000Z' },
    { vm: null, initiator: gone, key: '0123456789abcdef', since: null },
  ]);
  assert.deepEqual(shown?.reservation, {
    type: 'write exclusive, registrants only',
    holder: 'vm1',
    since: '1970-01-01T00:00:02.000Z',
  });
  await assert.rejects(clusters.delete('sql', ALWAYS), /Keys are registered on data by vm1, iqn/);
  await disks.create({ name: 'scratch', sizeBytes: MIB });
  for (const vm of ['vm3', 'vm4']) await disks.attach('scratch', { vm, ...ALWAYS });
  const undeclared = (await clusters.list({}, CALL)).items.find(({ declared }) => !declared);
  assert.deepEqual([undeclared?.name, undeclared?.members.map(({ vm }) => vm)], [null, ['vm3', 'vm4']]);
  const vms = new VmsBackend(backend.context);
  assert.match(vms.get('vm3').undeclared.join(), /vm3 and vm4 share scratch/);
  assert.deepEqual([vms.get('vm1').undeclared, vms.get('vm1').guestCluster], [[], 'sql']);
});
