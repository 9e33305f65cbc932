import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StorageName } from '../../base/ids.ts';
import type { ControlRecord } from '../model/cluster.ts';
import { PREFIX } from '../model/keys.ts';
import type { Change } from '../ports/store.ts';
import {
  type ControlSight,
  confirmStorageDrain,
  drainControl,
  drainStorage,
  type NodeDrain,
  planControlDrain,
  planStorageDrain,
  undrainControl,
  undrainStorage,
} from './node-drains.ts';
import { RecordWorld } from './testing/record-world.ts';

const control = (name: string): Change => {
  const value: ControlRecord = { name, address: `10.0.0.${name.slice(1)}`, startedAt: 0 };
  return { kind: 'control', id: name, value };
};
const THREE = ['c1', 'c2', 'c3'];
const by = (name: string): NodeDrain => ({ name, who: 'ops', reason: 'new disks', change: 'CHG1' });

/** Every control node answers, and so does the member of etcd on it, but for those in `faults`. */
function sight(names: readonly string[], faults: Readonly<Record<string, string>> = {}): ControlSight {
  return {
    alive: new Set(names.filter((name) => faults[name] === undefined)),
    etcd: names.map((name) => ({ endpoint: `${name}:2379`, control: name, fault: faults[name] ?? null })),
  };
}

test('a control node is drained and taken back; repeating it changes nothing', () => {
  const world = new RecordWorld(THREE.map(control));
  world.take(drainControl(world.basis(), sight(THREE), by('c1')));
  const drained = world.basis().records.controls.get('c1')?.value;
  assert.deepEqual(drained?.maintenance, { since: world.basis().now, who: 'ops', reason: 'new disks', change: 'CHG1' });
  assert.deepEqual(world.unreadableRecords(), []);
  assert.deepEqual(drainControl(world.basis(), sight(THREE), by('c1')).changes, []);
  world.take(undrainControl(world.basis(), by('c1')));
  assert.equal(world.basis().records.controls.get('c1')?.value.maintenance, undefined);
  assert.throws(() => undrainControl(world.basis(), by('c1')), { code: 'conflict' });
  assert.throws(() => drainControl(world.basis(), sight(THREE), by('c9')), { code: 'not-found', advice: /c1, c2/ });
});

test('the only control node, and the last that could lead, stay in service', () => {
  const one = new RecordWorld([control('c1')]);
  assert.throws(() => drainControl(one.basis(), sight(['c1']), by('c1')), {
    code: 'conflict',
    message: 'Without control node c1 nobody could lead: it is the only control node.',
  });
  const world = new RecordWorld(THREE.map(control));
  const seen = { ...sight(THREE), alive: new Set(['c1']) };
  assert.throws(() => drainControl(world.basis(), seen, by('c1')), { message: /c2 does not answer, c3 does not/ });
});

test('etcd keeps its majority: a member that is away, corrupt or on a drained node does not count', () => {
  const world = new RecordWorld(THREE.map(control));
  assert.throws(() => drainControl(world.basis(), sight(THREE, { c3: 'has corrupt data' }), by('c1')), {
    code: 'conflict',
    message:
      'Without control node c1 etcd would have 1 of its 3 members and needs 2: c1 would be away, c3 has corrupt data.',
  });
  // A control node that is broken already can be taken out.
  assert.equal(drainControl(world.basis(), sight(THREE, { c1: 'does not answer' }), by('c1')).changes.length, 1);
  world.take(drainControl(world.basis(), sight(THREE), by('c1')));
  assert.throws(() => drainControl(world.basis(), sight(THREE), by('c2')), { message: /c1 is drained/ });
  assert.throws(() => drainControl(world.basis(), { ...sight(THREE), etcd: [] }, by('c3')), { code: 'unavailable' });
});

test('two control nodes are not drained by requests that know nothing of each other', () => {
  const world = new RecordWorld(THREE.map(control));
  const { unchanged } = drainControl(world.basis(), sight(THREE), by('c1'));
  assert.deepEqual(unchanged, [
    { kind: 'control', id: 'c2' },
    { kind: 'control', id: 'c3' },
  ]);
});

test('a record of a control node that cannot be read refuses the drain of every other', () => {
  const world = new RecordWorld(THREE.slice(0, 2).map(control));
  world.unreadable.set(`${PREFIX.control}c3`, 'is no JSON');
  for (const name of ['c1', 'c3'])
    assert.throws(() => drainControl(world.basis(), sight(THREE), by(name)), { code: 'conflict', message: /no JSON/ });
});

test('an empty storage node is drained in two steps, and gets nothing meanwhile', () => {
  const world = new RecordWorld();
  world.apply(world.storageNodes(['s1', 's2']));
  world.take(drainStorage(world.basis(), by('s2')));
  assert.equal(world.take(confirmStorageDrain(world.basis(), by('s2'))), null);
  assert.equal(world.basis().records.storage.get('s2' as StorageName)?.value.maintenance?.isConfirmed, true);
  assert.deepEqual(drainStorage(world.basis(), by('s2')).changes, []);
  assert.deepEqual(world.unreadableRecords(), []);
  assert.deepEqual(planStorageDrain(world.basis(), by('s2')), ['s2 is out of service already.']);
  assert.match(planStorageDrain(world.basis(), by('s1')).join(' '), /No other storage node is in service/);
  world.take(undrainStorage(world.basis(), by('s2')));
  assert.match(planStorageDrain(world.basis(), by('s1')).join(' '), /New disks and images go to s2\.$/);
  assert.equal(world.basis().records.storage.get('s2' as StorageName)?.value.maintenance, undefined);
  assert.throws(() => undrainStorage(world.basis(), by('s2')), { code: 'conflict' });
});

test('a storage node with disks is refused with the disks named; one that came before the mark takes it back', () => {
  const world = new RecordWorld();
  world.apply(world.storageNodes(['s1']));
  world.take(drainStorage(world.basis(), by('s1')));
  const disk = {
    ...{ id: 'disk-000000000001', vm: 'vm-000000000001', node: 's1', port: 10_809, sizeBytes: 1, phase: 'ready' },
    source: { kind: 'blank' },
  };
  world.apply([{ kind: 'disk', id: disk.id, value: disk } as unknown as Change]);
  const refusal = world.take(confirmStorageDrain(world.basis(), by('s1')));
  assert.match(refusal?.message ?? '', /The contents of storage node s1 exist nowhere else: .*disk-000000000001/);
  assert.equal(world.basis().records.storage.get('s1' as StorageName)?.value.maintenance, undefined);
  assert.throws(() => drainStorage(world.basis(), by('s1')), { code: 'conflict', message: /disk-000000000001/ });
});

test('a plan says what would happen, is refused as the drain would be, and changes nothing', () => {
  const world = new RecordWorld(THREE.map(control));
  const plan = (name: string, leader: string): string[] =>
    planControlDrain(world.basis(), { ...sight(THREE), leader }, by(name));
  assert.deepEqual(plan('c1', 'c1'), [
    'c1 leads: the lead passes to c2 or c3.',
    'etcd is left with 2 of its 3 members, and needs 2.',
  ]);
  assert.match(plan('c1', 'c2').join(' '), /^c1 does not lead/);
  assert.equal(world.basis().records.controls.get('c1')?.value.maintenance, undefined);
  world.take(drainControl(world.basis(), sight(THREE), by('c1')));
  assert.deepEqual(plan('c1', 'c2'), ['c1 is out of service already.']);
  assert.throws(() => plan('c2', 'c2'), { code: 'conflict', message: /etcd would have 1 of its 3 members/ });
});
