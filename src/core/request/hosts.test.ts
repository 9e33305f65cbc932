import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostRecord } from '../model/cluster.ts';
import type { VmPhase } from '../model/vm.ts';
import { host, hostRecord, incarnation, seenHost, task, vmRecord } from '../plan/testing/sample-records.ts';
import { type Observed, vmChange } from './basis.ts';
import { changeHost, removeHost } from './hosts.ts';
import { RecordWorld } from './testing/record-world.ts';

const ANY = { ifMatch: null };
const QUARANTINE = { since: 1, reason: 'vm1 was lost' };

function have(more: Partial<HostRecord> = {}): RecordWorld {
  return new RecordWorld([{ kind: 'host', id: host(1), value: hostRecord(1, more) }]);
}

const remove = (world: RecordWorld, isOff = false, observed: Observed | null = world.observed()) =>
  removeHost(world.basis(), observed, { ...ANY, name: 'h1', isOff, by: 'ann' });

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

test('VMs that are on a host, come from it or go to it keep it, and are named', () => {
  const elsewhere: VmPhase = { kind: 'running', incarnation: incarnation(1, 2) };
  const ends = { taskId: null, deadlineAt: 1 };
  for (const vm of [
    vmRecord({ kind: 'running', incarnation: incarnation(1) }),
    vmRecord({ kind: 'migrating', source: incarnation(1, 2), destination: incarnation(2), ...ends }),
    vmRecord({ kind: 'switching', source: incarnation(1), destination: incarnation(2, 2), taskId: null }),
    vmRecord(elsewhere, { migrationRequest: { to: host(1), taskId: task(1) } }),
  ]) {
    const world = have({ cordoned: true });
    world.apply([vmChange(vm)]);
    assert.throws(() => remove(world, true), { code: 'conflict', message: 'VMs are on h1: web.' });
    world.apply([vmChange({ ...vm, phase: elsewhere, migrationRequest: null })]);
    world.unreadable.set('/gp/vm/vm-00000000000f', 'is not JSON');
    assert.throws(() => remove(world, true), { code: 'conflict', message: /is not known/ });
    world.unreadable.clear();
    assert.deepEqual(
      remove(world, true).changes.map(({ kind, id }) => `${kind} ${id}`),
      ['host h1', 'certificate host:h1'],
    );
  }
});

test('a host that may still run something goes only when somebody says that its machine is off', () => {
  assert.throws(() => remove(have()), { code: 'conflict', advice: /gp host cordon h1/ });
  const quarantined = have({ cordoned: true, quarantine: QUARANTINE });
  assert.throws(() => remove(quarantined), { message: /quarantined/, advice: /gp host remove h1 --off/ });
  const cordoned = have({ cordoned: true });
  assert.throws(() => remove(cordoned, false, null), /agent does not answer/, 'who leads nothing sees no agent');
  cordoned.deadAgents.add(host(1));
  assert.throws(() => remove(cordoned), /agent does not answer/);
  cordoned.deadAgents.clear();
  const seen = { ...cordoned.observed(), observer: { see: () => seenHost(1, { occupiedSlots: [3] }) } };
  assert.throws(() => remove(cordoned, false, seen), /processes that are being ended/);
  for (const world of [quarantined, cordoned]) {
    world.take(remove(world, true));
    assert.equal(world.basis().records.hosts.size, 0);
  }
});
