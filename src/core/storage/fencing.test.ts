import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CodedError } from '../../base/errors.ts';
import { parseDiskId, parseGeneration, parseHostName, parseStorageName, parseVmId, type Term } from '../../base/ids.ts';
import type { VmPhase, VmRecord } from '../model/vm.ts';
import { diskRecord, sharedDiskRecord, vmRecord } from '../plan/testing/sample-records.ts';
import type { Connection } from '../ports/disk-backend.ts';
import { readClusterView } from './cluster-view.ts';
import { FencingLedger, floorOfRecord } from './fencing-ledger.ts';
import { mayBeRevoked } from './revoked-connections.ts';
import { SerialQueue } from './serial-queue.ts';

const VM = parseVmId('vm-0123456789ab');
const DISK = parseDiskId('disk-0123456789ab');
const SHARED = { disk: parseDiskId('disk-00000000000a'), lun: 3 };
const ELSEWHERE = ['disk-00000000000b', 'disk-00000000000c'].map((id, lun) => ({ disk: parseDiskId(id), lun }));
const g = parseGeneration;
const stale = (error: unknown) => error instanceof CodedError && error.code === 'stale-order';

test('terms and floors only rise, in whatever order they come', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 20 }))), (steps) => {
      const ledger = new FencingLedger();
      let [term, floor] = [0, 1];
      for (const [isTerm, value] of steps) {
        if (!isTerm) {
          ledger.raiseFloor(VM, value);
          floor = Math.max(floor, value);
        } else if (value < term) assert.throws(() => ledger.acceptTerm(value as Term), stale);
        else {
          ledger.acceptTerm(value as Term);
          term = value;
        }
        assert.equal(ledger.floorOf(VM), floor);
        ledger.checkGeneration(VM, g(floor));
        if (floor > 1) assert.throws(() => ledger.checkGeneration(VM, g(floor - 1)), stale);
      }
    }),
    { seed: 1, numRuns: 300 },
  );
});

test('what was revoked, or what etcd stopped admitting, is not granted; what it does not know yet is', () => {
  const ledger = new FencingLedger();
  ledger.settle(VM, { highest: 5, admitted: [g(3), g(5)] });
  for (const generation of [3, 5, 6]) ledger.checkGeneration(VM, g(generation));
  for (const generation of [1, 2, 4]) assert.throws(() => ledger.checkGeneration(VM, g(generation)), stale);
  ledger.revoke(VM, g(5));
  assert.throws(() => ledger.checkGeneration(VM, g(5)), stale);
  // A read of etcd that was under way when it was revoked.
  ledger.settle(VM, { highest: 6, admitted: [g(3), g(5), g(6)] });
  assert.throws(() => ledger.checkGeneration(VM, g(5)), stale);
  ledger.checkGeneration(VM, g(6));
  ledger.raiseFloor(VM, 6);
  assert.throws(() => ledger.checkGeneration(VM, g(3)), stale);
  ledger.checkGeneration(VM, g(7));
});

const incarnation = (generation: number) => ({ generation: g(generation), host: parseHostName('h1'), slot: 0 });
const record = (generation: number, phase: VmPhase) =>
  ({ id: VM, generation, phase, spec: { disks: [], sharedDisks: [SHARED, ...ELSEWHERE] } }) as unknown as VmRecord;
const pair = { source: incarnation(3), destination: incarnation(4), taskId: null };

test('the floor of a record is the lowest generation that can still be admitted', () => {
  assert.equal(floorOfRecord(record(4, { kind: 'stopped' })), 5);
  assert.equal(floorOfRecord(record(4, { kind: 'running', incarnation: incarnation(4) })), 4);
  assert.equal(floorOfRecord(record(4, { kind: 'migrating', deadlineAt: 0, ...pair })), 3);
  assert.equal(floorOfRecord(record(4, { kind: 'unwinding', reason: '', ...pair })), 3);
  assert.equal(floorOfRecord(record(4, { kind: 'switching', ...pair })), 4);
});

test('what etcd says about other nodes, unready disks or in an unknown form grants nothing', async () => {
  const disk = (node: string, phase: string, id: string = DISK) => ({
    key: `/gp/disk/${id}`,
    value: JSON.stringify({ ...diskRecord(), id, vm: VM, node, phase, port: 30_001 }),
  });
  const sharedDisk = (id: string, node: string, phase: string) => ({
    key: `/gp/shared-disk/${id}`,
    value: JSON.stringify({ ...sharedDiskRecord(), id, node, phase }),
  });
  const vm = {
    ...vmRecord({ kind: 'migrating', deadlineAt: 0, ...pair }),
    id: VM,
    spec: { ...vmRecord({ kind: 'stopped' }).spec, disks: [], sharedDisks: [SHARED, ...ELSEWHERE] },
  };
  const other = parseVmId('vm-00000000000f');
  const listings = new Map([
    [
      '/gp/disk/',
      [
        disk('s1', 'ready'),
        disk('s2', 'ready', 'disk-000000000002'),
        disk('s1', 'deleting', 'disk-000000000003'),
        { key: '/gp/disk/disk-000000000004', value: '{' },
      ],
    ],
    [
      '/gp/vm/',
      [
        { key: `/gp/vm/${VM}`, value: JSON.stringify(vm) },
        { key: `/gp/vm/${other}`, value: JSON.stringify(vm) },
      ],
    ],
    [
      '/gp/shared-disk/',
      [
        sharedDisk(SHARED.disk, 's1', 'ready'),
        sharedDisk('disk-00000000000b', 's1', 'creating'),
        sharedDisk('disk-00000000000c', 's2', 'ready'),
      ],
    ],
  ]);
  const unreadable: string[] = [];
  const etcd = { list: async (prefix: string) => ({ revision: 7, entries: listings.get(prefix) ?? [] }) };
  const view = await readClusterView(etcd, parseStorageName('s1'), {
    onUnreadable: (key, finding) => void unreadable.push(`${key} ${finding}`),
    nextTurn: () => assert.fail('so few records take no turn of their own'),
  });
  assert.deepEqual([...view.disks], [[DISK, { vm: VM, port: 30_001 }]]);
  assert.deepEqual(
    [...view.vms],
    [[VM, { floor: 3, highest: 4, admitted: [3, 4], readOnlyDisks: new Set(), sharedDisks: [SHARED] }]],
  );
  assert.deepEqual(unreadable, ['/gp/disk/disk-000000000004 is not JSON', `/gp/vm/${other} says that it is "${VM}"`]);
  assert.deepEqual([...view.unreadableVms], [other], 'named after another: nothing is known of this one');
});

test('a listing of any length is read some hundred kilobytes at a time', async () => {
  const entries = Array.from({ length: 20_000 }, (_, index) => {
    const id = `vm-${index.toString(16).padStart(12, '0')}`;
    return { key: `/gp/vm/${id}`, value: JSON.stringify({ ...vmRecord({ kind: 'stopped' }), id }) };
  });
  const chars = entries.reduce((sum, { value }) => sum + value.length, 0);
  let turns = 0;
  const etcd = { list: async (prefix: string) => ({ revision: 7, entries: prefix === '/gp/vm/' ? entries : [] }) };
  const view = await readClusterView(etcd, parseStorageName('s1'), {
    onUnreadable: (key, finding) => assert.fail(`${key} ${finding}`),
    nextTurn: async () => void turns++,
  });
  assert.equal(view.vms.size, entries.length);
  assert.ok(turns >= Math.floor(chars / (300 * 1024)), `${turns} turns for ${chars} characters`);
});

test('a queue never overlaps, urgent work goes first, and a full queue refuses ordinary work only', async () => {
  const queue = new SerialQueue({ waitingMax: 2, what: 'disk' });
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = queue.run(async () => {
    await gate.promise;
    order.push('first');
    throw new Error('its own');
  });
  const rest = [queue.run(async () => void order.push('a')), queue.run(async () => void order.push('b'))];
  await assert.rejects(
    queue.run(async () => undefined),
    (error) => error instanceof CodedError && error.code === 'unavailable',
  );
  rest.push(queue.run(async () => void order.push('fence'), { urgent: true }));
  gate.resolve();
  await assert.rejects(first, /its own/);
  await Promise.all(rest);
  assert.deepEqual(order, ['first', 'fence', 'a', 'b']);
});

const at = (text: string): Connection => ({ key: text, address: text.split(':')[0] ?? '' });
const judge = (left: string[], { older = [] as string[], strangers = [] as string[], survivors = 1 } = {}) =>
  mayBeRevoked({ left: left.map(at), older: new Set(older), strangers: new Set(strangers), survivors });

test('connections that outlive a fence are told apart, or cut', () => {
  assert.equal(judge([]), false);
  assert.equal(judge([], { survivors: 0 }), false);
  assert.equal(judge(['h1:2'], { survivors: 0 }), true, 'nobody is granted: whoever is left');
  const switched = { strangers: ['h1'] };
  assert.equal(judge(['h2:1'], switched), false, 'a migration: the source went, the destination stays');
  assert.equal(judge(['h1:2', 'h2:1'], switched), true, 'one more than can be');
  assert.equal(judge(['h1:2'], switched), true, "a source that came back by the destination's export");
  const abandoned = { older: ['h1:1'] };
  assert.equal(judge(['h1:1'], abandoned), false, 'an abandoned destination; the source is older');
  assert.equal(judge(['h1:2'], abandoned), true, 'whose is it?');
  assert.equal(judge(['h1:1', 'h2:1'], abandoned), true, "a destination by the source's export");
});
