import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostRecord } from '../model/cluster.ts';
import { host, hostRecord } from '../plan/testing/sample-records.ts';
import { changeHost } from './hosts.ts';
import { RecordWorld } from './testing/record-world.ts';

const ANY = { ifMatch: null };

function have(more: Partial<HostRecord> = {}): RecordWorld {
  return new RecordWorld([{ kind: 'host', id: host(1), value: hostRecord(1, more) }]);
}

test('a host is cordoned and uncordoned, by the revision that was read', () => {
  const world = have();
  const cordon = (ifMatch: string | null, cordoned: boolean) =>
    changeHost(world.basis(), { name: 'h1', cordoned, ifMatch });
  world.take(cordon('1', true));
  assert.equal(world.basis().records.hosts.get(host(1))?.value.cordoned, true);
  assert.throws(() => cordon('1', false), { code: 'stale-revision' });
  world.take(cordon(null, false));
  assert.equal(world.basis().records.hosts.get(host(1))?.value.cordoned, false);
  assert.throws(() => changeHost(world.basis(), { ...ANY, name: 'h9', cordoned: true }), { code: 'not-found' });
});

test('a host is put into a rack and taken out of it; what is not named stays', () => {
  const world = have({ cordoned: true });
  const rackOf = () => world.basis().records.hosts.get(host(1))?.value;
  world.take(changeHost(world.basis(), { ...ANY, name: 'h1', rack: 'r1' }));
  assert.deepEqual([rackOf()?.rack, rackOf()?.cordoned], ['r1', true]);
  world.take(changeHost(world.basis(), { ...ANY, name: 'h1', cordoned: false }));
  assert.deepEqual([rackOf()?.rack, rackOf()?.cordoned], ['r1', false]);
  world.take(changeHost(world.basis(), { ...ANY, name: 'h1', rack: null }));
  assert.equal(rackOf()?.rack, null);
  assert.deepEqual(world.unreadableRecords(), []);
});

test('a host that was declared lost is not changed any more', () => {
  const world = have({ lost: { at: 1, by: 'ann' } });
  for (const change of [{ cordoned: false }, { rack: 'r1' }])
    assert.throws(() => changeHost(world.basis(), { ...ANY, name: 'h1', ...change }), {
      code: 'conflict',
      message: /declared lost by ann/,
    });
});
