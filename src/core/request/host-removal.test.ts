import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostRecord } from '../model/cluster.ts';
import type { VmPhase } from '../model/vm.ts';
import {
  host,
  hostRecord,
  incarnation,
  seenHost,
  silentKernel,
  task,
  vmRecord,
} from '../plan/testing/sample-records.ts';
import { type Observed, vmChange } from './basis.ts';
import { type HostRemoval, removeHost } from './host-removal.ts';
import { joinChange } from './joining.ts';
import { RecordWorld } from './testing/record-world.ts';

const ANY = { ifMatch: null };
const QUARANTINE = { since: 1, reason: 'vm1 was lost' };
const LOST = { isLost: true, isConfirmed: true };
const THERE: VmPhase = { kind: 'running', incarnation: incarnation(1) };
const ELSEWHERE: VmPhase = { kind: 'running', incarnation: incarnation(2, 2) };

function have(more: Partial<HostRecord> = {}): RecordWorld {
  return new RecordWorld([{ kind: 'host', id: host(1), value: hostRecord(1, more) }]);
}

const remove = (world: RecordWorld, how: Partial<HostRemoval> = {}, observed: Observed | null = world.observed()) =>
  removeHost(world.basis(), observed, { ...ANY, name: 'h1', isLost: false, isConfirmed: false, by: 'ann', ...how });

test('VMs that are on a host, come from it or go to it keep it, and are named', () => {
  const ends = { taskId: null, deadlineAt: 1 };
  for (const vm of [
    vmRecord(THERE),
    vmRecord({ kind: 'migrating', source: incarnation(1, 2), destination: incarnation(2), ...ends }),
    vmRecord({ kind: 'switching', source: incarnation(1), destination: incarnation(2, 2), taskId: null }),
    vmRecord(ELSEWHERE, { migrationRequest: { to: host(1), taskId: task(1) } }),
  ]) {
    const world = have({ cordoned: true });
    world.apply([vmChange(vm)]);
    assert.throws(() => remove(world), { code: 'conflict', message: 'VMs are on h1: web.' });
    world.apply([vmChange({ ...vm, phase: ELSEWHERE, migrationRequest: null })]);
    world.unreadable.set('/gp/vm/vm-00000000000f', 'is not JSON');
    assert.throws(() => remove(world), { code: 'conflict', message: /is not known/ });
    world.unreadable.clear();
    const { changes, events = [], result } = remove(world);
    assert.deepEqual(
      changes.map(({ kind, id, value }) => `${kind} ${id} ${value === null}`),
      ['host h1 true', 'certificate host:h1 false'],
    );
    assert.deepEqual([events.map(({ kind }) => kind), result.isRemoved], [['host-removed'], true]);
  }
});

test('a host that may still run something is not removed as an empty one', () => {
  assert.throws(() => remove(have()), { code: 'conflict', advice: /gp host cordon h1/ });
  const quarantined = have({ cordoned: true, quarantine: QUARANTINE });
  assert.throws(() => remove(quarantined), { message: /quarantined/, advice: /gp host remove h1 --lost/ });
  const cordoned = have({ cordoned: true });
  assert.throws(() => remove(cordoned, {}, null), /agent does not answer/, 'who leads nothing sees no agent');
  cordoned.deadAgents.add(host(1));
  assert.throws(() => remove(cordoned), /agent does not answer/);
  cordoned.deadAgents.clear();
  const seen = { ...cordoned.observed(), observer: { see: () => seenHost(1, { occupiedSlots: [3] }) } };
  assert.throws(() => remove(cordoned, {}, seen), /processes that are being ended/);
});

test('a host is not declared lost while its agent or its kernel answers, or while that is not known', () => {
  const world = have();
  world.apply([vmChange(vmRecord(THERE))]);
  const seen = (more: Parameters<typeof seenHost>[1]): Observed => ({
    ...world.observed(),
    observer: { see: () => seenHost(1, more) },
  });
  assert.throws(() => remove(world, LOST), { code: 'conflict', message: 'Host h1 answers: it is not lost.' });
  const reached = { agent: 'silent', kernel: { kind: 'reachable', via: 'via s1', ageMs: 1 } } as const;
  assert.throws(() => remove(world, LOST, seen(reached)), { code: 'conflict', message: /kernel of host h1 .* via s1/ });
  for (const more of [
    { agent: 'unknown', kernel: { kind: 'unknown' } },
    { agent: 'silent', kernel: { kind: 'unknown' } },
    { agent: 'silent', kernel: silentKernel(1, []) },
  ] as const)
    assert.throws(() => remove(world, LOST, seen(more)), { code: 'unavailable' });
  assert.throws(() => remove(world, LOST, null), { code: 'unavailable' });
});

test('what would happen is named first; then the host is denied, dropped and given up, and its VMs are waited for', () => {
  const world = have({ maintenance: null });
  world.goneHosts.add(host(1));
  const pinned = vmRecord(THERE);
  world.apply([vmChange({ ...pinned, spec: { ...pinned.spec, pin: host(1) } })]);
  assert.throws(() => remove(world, { isLost: true }), {
    code: 'conflict',
    message: /1 VM there: web \(it is pinned to h1/,
    advice: /gp host remove h1 --lost --yes/,
  });
  const admitted = remove(world, LOST);
  assert.deepEqual(
    admitted.events?.map(({ kind }) => kind),
    ['host-lost'],
  );
  const { isRemoved, vmCount } = world.take(admitted);
  assert.deepEqual([isRemoved, vmCount], [false, 1]);
  const { hosts, certificates } = world.basis().records;
  const record = hosts.get(host(1))?.value;
  assert.deepEqual([record?.cordoned, record?.lost?.by], [true, 'ann']);
  assert.match(record?.quarantine?.reason ?? '', /declared lost by ann/);
  assert.equal(certificates.get('host:h1')?.value.removed?.tunnel, '10.2.0.1');
  assert.deepEqual(world.unreadableRecords(), []);
  // Again: nothing more is done, and it is said what is waited for.
  for (const how of [LOST, {}]) {
    const again = remove(world, how);
    assert.deepEqual([again.changes, again.result.vmCount], [[], 1]);
  }
  // What runs elsewhere and may not be fenced is waited for as well.
  world.apply([
    vmChange(
      vmRecord(
        { kind: 'starting', incarnation: incarnation(2, 2), reason: 'lost', avoid: [] },
        { unfenced: [host(1)] },
      ),
    ),
  ]);
  assert.deepEqual(
    remove(world, LOST).result.vms.map(({ what }) => what),
    ['it stays on h2, and what is on h1 is fenced'],
  );
});

test('a record that cannot be read is named before a host is given up: a VM may be there', () => {
  const world = have();
  world.goneHosts.add(host(1));
  world.unreadable.set('/gp/vm/vm-00000000000f', 'is not JSON');
  const named =
    /its tunnel dropped\. What etcd holds at \/gp\/vm\/vm-00000000000f is not JSON: whether .* not known\.$/;
  assert.throws(() => remove(world, { isLost: true }), { code: 'conflict', message: named });
  assert.match(remove(world, LOST).events?.[0]?.message ?? '', /declared lost by ann\. What etcd holds at/);
  world.apply([vmChange(vmRecord(THERE))]);
  assert.throws(() => remove(world, { isLost: true }), { message: /1 VM there: web .*\. What etcd holds at/ });
});

test('each VM is told its fate', () => {
  const world = have();
  world.goneHosts.add(host(1));
  const vm = vmRecord(THERE);
  const fateOf = (more: Partial<typeof vm>): string | undefined => {
    world.apply([vmChange({ ...vm, ...more })]);
    return remove(world, LOST).result.vms[0]?.what;
  };
  assert.match(fateOf({}) ?? '', /starts from its disks elsewhere/);
  assert.match(fateOf({ deleting: true }) ?? '', /deleted/);
  assert.match(fateOf({ intent: 'stopped' }) ?? '', /stopped/);
  assert.match(fateOf({ spec: { ...vm.spec, restartPolicy: 'never' } }) ?? '', /never restarted/);
});

test('a lost host that nothing is on is removed at once; its tunnel stays dropped until it is seen clean', () => {
  const world = have();
  world.goneHosts.add(host(1));
  assert.equal(world.take(remove(world, LOST)).isRemoved, true);
  assert.equal(world.basis().records.hosts.size, 0);
  assert.deepEqual(world.unreadableRecords(), []);
  const joining = (name: string, overlay: string) =>
    joinChange(world.basis(), { role: 'host', name, addresses: { control: '10.9.0.1', overlay } }).value as HostRecord;
  assert.match(joining('h1', '10.9.2.1').quarantine?.reason ?? '', /declared lost/, 'the same name');
  assert.match(joining('h9', '10.2.0.1').quarantine?.reason ?? '', /declared lost/, 'the same tunnel');
  assert.equal(joining('h9', '10.9.2.9').quarantine, null);
});

test('a machine cannot join by the name of a host that is being removed', () => {
  const world = have({ lost: { at: 1, by: 'ann' }, quarantine: QUARANTINE });
  const join = () =>
    joinChange(world.basis(), { role: 'host', name: 'h1', addresses: { control: '10.9.0.1', overlay: '10.9.2.1' } });
  assert.throws(join, { code: 'conflict', message: /declared lost by ann/ });
});
