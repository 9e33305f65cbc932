import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EPOCH_MAX, floorOfEpoch } from '../../../base/epoch.ts';
import { parseGeneration } from '../../../base/ids.ts';
import { EPOCH_KEY, keyOf } from '../../model/keys.ts';
import { epochFrom, isForgotten, readRecord } from '../../model/record-shapes.ts';
import type { VmRecord } from '../../model/vm.ts';
import { diskRecord, incarnation, node, task, VM, vmRecord } from '../testing/sample-records.ts';
import { beginEpoch, epochOfSnapshot, nextEpoch, type SnapshotRecord } from './begin-epoch.ts';

const EPOCH = { number: 2, id: '0123456789abcdef', restoredAt: 7, snapshotRevision: 40 };
const OTHER = 'vm-0000000000ff' as typeof VM;
const entry = (key: string, value: object): SnapshotRecord => ({ key, value: JSON.stringify(value) });
const running = vmRecord(
  { kind: 'running', incarnation: incarnation(5) },
  { stopRequest: { mode: 'acpi', patienceMs: 1, taskId: task(1) }, startTask: task(2) },
);

test('G7 every generation rises to the floor of the epoch, and no wish from before is carried out again', () => {
  const { writes, vms } = beginEpoch([entry(keyOf.vm(VM), running)], EPOCH, []);
  const written = writes.find(({ key }) => key === keyOf.vm(VM));
  const read = readRecord(keyOf.vm(VM), written?.value ?? '');
  assert.ok('value' in read, JSON.stringify(read));
  const vm = read.value as VmRecord;
  assert.deepEqual(
    [vm.generation, vm.restored, vm.stopRequest, vm.startTask, vms],
    [floorOfEpoch(2), 2, null, null, 1],
  );
  assert.deepEqual(vm.phase, running.phase, 'where it was is a hint');
});

test('G7 an epoch is above the snapshot’s and above all that were heard of, and there is a last one', () => {
  assert.equal(nextEpoch(1, []), 2);
  assert.equal(nextEpoch(1, [0, 4, 2]), 5);
  assert.throws(() => nextEpoch(EPOCH_MAX, []), /There is no epoch after/);
  assert.equal(epochOfSnapshot([]), 0);
  assert.equal(epochOfSnapshot([entry(EPOCH_KEY, EPOCH)]), 2);
  assert.throws(() => epochOfSnapshot([entry(EPOCH_KEY, {})]), /not a valid epoch/);
});

test('who leads, and invitations and sessions, are forgotten', () => {
  const token = { id: 't', name: 'x', sha256: 'a'.repeat(64), role: null, createdAt: 1, expiresAt: null };
  const { writes } = beginEpoch(
    [
      { key: '/gp/election/01', value: '{}' },
      entry('/gp/token/t', { ...token, kind: 'join' }),
      entry('/gp/token/u', { ...token, id: 'u', kind: 'api' }),
    ],
    EPOCH,
    [],
  );
  assert.deepEqual(
    writes.filter(({ value }) => value === null).map(({ key }) => key),
    ['/gp/election/01', '/gp/token/t'],
  );
});

test('what the snapshot does not know is told from what was deleted since, and keeps its ports', () => {
  const disk = diskRecord();
  const served = [
    { node: disk.node, disk: disk.id, port: disk.port },
    { node: node(2), disk: 'disk-0000000000aa' as typeof disk.id, port: 30_005 },
  ];
  const { writes } = beginEpoch([entry(keyOf.vm(VM), running), entry(keyOf.disk(disk.id), disk)], EPOCH, served);
  const epoch = epochFrom(writes.map(({ key, value }) => ({ key, value: value ?? '' })));
  assert.deepEqual([...epoch.ports], ['s2/30005']);
  const [old, fresh] = [parseGeneration(3), parseGeneration(floorOfEpoch(2) + 1)];
  assert.deepEqual(
    [isForgotten(epoch, OTHER, old), isForgotten(epoch, VM, old), isForgotten(epoch, OTHER, fresh)],
    [true, false, false],
  );
});

test('a VM whose record cannot be read is named: its generation could not rise', () => {
  assert.deepEqual(beginEpoch([{ key: keyOf.vm(VM), value: '{' }], EPOCH, []).unread, [`${keyOf.vm(VM)} is not JSON`]);
});
