import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDrainId, parseStorageName } from '../../base/ids.ts';
import { LIMITS } from '../model/limits.ts';
import { host, hostRecord } from '../plan/testing/sample-records.ts';
import { type Joining, joinChange } from './joining.ts';
import { createNetwork } from './networks.ts';
import { RecordWorld } from './testing/record-world.ts';

const join = (world: RecordWorld, joining: Partial<Joining>) =>
  joinChange(world.basis(), { role: 'host', name: 'new', addresses: { control: '10.9.0.1' }, ...joining });

test('a machine that joins again keeps what the cluster knows of it, its quarantine above all', () => {
  const quarantine = { since: 1, reason: 'vm1 was lost' };
  const maintenance = { drain: parseDrainId('drain-000000000001'), since: 1, reason: null };
  const before = hostRecord(1, { cordoned: true, quarantine, maintenance, joinedAt: 7 });
  const world = new RecordWorld([{ kind: 'host', id: host(1), value: before }]);
  const change = join(world, { name: 'h1', addresses: { control: '10.9.0.1', overlay: '10.9.2.1' } });
  assert.deepEqual(change.value, {
    ...before,
    addresses: { control: '10.9.0.1', storage: '10.9.0.1', overlay: '10.9.2.1' },
  });
  world.unreadable.set('/gp/host/h1', 'is not JSON');
  assert.throws(() => join(world, { name: 'h1' }), { code: 'conflict' });
});

test('an address is nobody else’s, one that a machine can have, and in no guest network', () => {
  const world = new RecordWorld([{ kind: 'host', id: host(1), value: hostRecord(1) }]);
  world.apply(world.storageNodes(['s1']));
  world.take(createNetwork(world.basis(), { name: 'lan', cidr: '10.20.0.0/24' }));
  for (const [control, code, message] of [
    ['10.0.0.1', 'conflict', /is that of host h1/],
    ['10.8.1.1', 'conflict', /is that of storage s1/],
    ['10.20.0.7', 'conflict', /in the range of network lan/],
    ['127.0.0.1', 'bad-input', /loopback/],
    ['10.0.0.256', 'bad-input', /not an IPv4 address/],
  ] as const)
    assert.throws(() => join(world, { addresses: { control } }), { code, message });
  assert.throws(() => join(world, { addresses: { control: '10.9.0.1', overlay: '10.2.0.1' } }), /overlay address/);
});

test('the name of a lost storage node is never used again, and its record takes nobody’s place', () => {
  const world = new RecordWorld();
  const { max } = LIMITS.storageNodes;
  const names = Array.from({ length: max }, (_, n) => `n${n}`);
  world.apply(
    world.storageNodes(names).map((change, n) => ({
      ...change,
      value: {
        ...change.value,
        addresses: { control: `10.8.${n >> 8}.${n & 255}`, storage: `10.7.${n >> 8}.${n & 255}` },
      },
    })) as ReturnType<RecordWorld['storageNodes']>,
  );
  assert.throws(() => join(world, { role: 'storage' }), { code: 'no-capacity' });
  const id = parseStorageName('n0');
  const node = world.basis().records.storage.get(id)?.value;
  assert.ok(node !== undefined);
  world.apply([{ kind: 'storage', id, value: { ...node, lost: { at: 1, by: 'anna' } } }]);
  assert.throws(() => join(world, { role: 'storage', name: 'n0' }), { message: /was declared lost by anna/ });
  assert.equal(join(world, { role: 'storage' }).id, 'new');
});
