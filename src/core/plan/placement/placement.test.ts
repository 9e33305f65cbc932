import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseDrainId, parseVmId } from '../../../base/ids.ts';
import { footprintBytes } from '../../model/cluster-index.ts';
import { expectedIncarnations, type VmRecord } from '../../model/vm.ts';
import {
  clusterOf,
  host,
  hostRecord,
  incarnation,
  seenHost,
  task,
  VM_BYTES,
  vmRecord,
} from '../testing/sample-records.ts';
import { type PlacementInput, place } from './placement.ts';

const vm = vmRecord({ kind: 'stopped' });
const other = (n: number, phase: Parameters<typeof vmRecord>[0]) =>
  vmRecord(phase, { id: parseVmId(`vm-00000000010${n}`) });
interface Given extends Partial<PlacementInput> {
  readonly vms?: readonly VmRecord[];
  readonly hosts?: Parameters<typeof clusterOf>[0]['hosts'];
}
const THREE = [1, 2, 3].map((n) => ({ record: hostRecord(n), seen: seenHost(n) }));
const input = ({ vms = [vm], hosts = THREE, ...more }: Given = {}): PlacementInput => {
  const { index, seeHost } = clusterOf({ vms, hosts });
  return { vm, index, seeHost, exclude: [], only: null, isOver: true, ...more };
};

test('C1 the host with most free memory is taken, and names break ties', () => {
  assert.deepEqual(place(input()), { kind: 'placed', host: host(1), slot: 0 });
  const vms = [other(1, { kind: 'running', incarnation: incarnation(1, 1) })];
  assert.deepEqual(place(input({ vms })), { kind: 'placed', host: host(2), slot: 0 });
});

test('C1 a migration takes room at both ends, whichever way it goes', () => {
  const small = [1, 2].map((n) => ({
    record: hostRecord(n, { capacity: { ...hostRecord(n).capacity, memoryBytes: 1.5 * VM_BYTES } }),
    seen: seenHost(n),
  }));
  const migrating = { source: incarnation(1, 1), destination: incarnation(2, 2), taskId: null };
  const placement = place(input({ hosts: small, vms: [other(1, { kind: 'unwinding', reason: '', ...migrating })] }));
  assert.equal(placement.kind, 'nowhere');
  assert.match(placement.reasons.join(), /h1: too little memory.*h2: too little memory/);
});

test('C2 a slot is free only when neither a record nor a process has it', () => {
  const vms = [other(1, { kind: 'running', incarnation: incarnation(1, 1, 0) })];
  const hosts = [{ record: hostRecord(1), seen: seenHost(1, { occupiedSlots: [1, 3] }) }];
  assert.deepEqual(place(input({ vms, hosts })), { kind: 'placed', host: host(1), slot: 2 });
});

test('C3 a host that any record of its group names is refused, by name too, and says whom it has', () => {
  const grouped = (n: number, phase: Parameters<typeof vmRecord>[0], antiAffinity: string) => {
    const record = other(n, phase);
    return { ...record, name: `db${n}`, spec: { ...record.spec, antiAffinity } };
  };
  const member = grouped(0, { kind: 'stopped' }, 'db');
  const ends = { source: incarnation(1, 1), destination: incarnation(2, 2), taskId: null };
  const vms = [grouped(1, { kind: 'switching', ...ends }, 'db')];
  assert.deepEqual(place(input({ vm: member, vms })), { kind: 'placed', host: host(3), slot: 0 });
  const nowhere = place(input({ vm: member, vms, only: host(1) }));
  assert.match(nowhere.kind === 'nowhere' ? nowhere.reasons.join() : '', /h1: it has db1 of anti-affinity group db/);
  const strangers = [grouped(1, { kind: 'switching', ...ends }, 'web'), other(2, { kind: 'stopped' })];
  assert.equal(place(input({ vm: member, vms: strangers, only: host(1) })).kind, 'placed');
  const own = { ...member, phase: { kind: 'running' as const, incarnation: incarnation(1, 1) } };
  assert.equal(place(input({ vm: own, vms: [own], only: host(1) })).kind, 'placed');
});

test('C3 a record from before there were groups is in none', () => {
  const { antiAffinity: _, ...spec } = vm.spec;
  const old = { ...vm, spec } as typeof vm;
  const vms = [
    { ...old, id: parseVmId('vm-000000000101'), phase: { kind: 'running' as const, incarnation: incarnation(1) } },
  ];
  assert.equal(place(input({ vm: old, vms, only: host(1) })).kind, 'placed');
});

for (const [what, record, seen, reason] of [
  ['silent', {}, { agent: 'silent' as const }, /does not answer/],
  ['not asked yet', {}, { agent: 'unknown' as const }, /does not answer/],
  ['quarantined', { quarantine: { since: 0, reason: 'lost with web' } }, {}, /quarantined: lost with web/],
  ['cordoned', { cordoned: true }, {}, /cordoned/],
] as const) {
  test(`a host that is ${what} takes nothing, and says why`, () => {
    const placement = place(input({ hosts: [{ record: hostRecord(1, record), seen: seenHost(1, seen) }] }));
    assert.equal(placement.kind, 'nowhere');
    assert.match(placement.reasons[0] ?? '', reason);
  });
}

test('a cordoned host takes what is sent there by name, an excluded one does not', () => {
  const hosts = [{ record: hostRecord(1, { cordoned: true }), seen: seenHost(1) }];
  assert.equal(place(input({ hosts, only: host(1) })).kind, 'placed');
  assert.equal(place(input({ hosts, only: host(1), exclude: [host(1)] })).kind, 'nowhere');
  assert.equal(place(input({ only: host(9) })).kind, 'nowhere');
});

/** The same question, answered by walking every VM and host. */
function slowly(given: Given & { readonly vm: VmRecord }): string {
  const { vms = [], hosts = [], vm: wanted, isOver = true } = given;
  const named = (record: VmRecord) => expectedIncarnations(record.phase);
  const others = vms.filter((each) => each.id !== wanted.id);
  const counted = isOver ? others : vms;
  const needed = footprintBytes(wanted);
  const fitting = hosts.flatMap(({ record, seen }) => {
    const here = counted.flatMap((each) =>
      named(each).flatMap((on) => (on.host === record.name ? [{ each, on }] : [])),
    );
    const free = record.capacity.memoryBytes - here.reduce((sum, { each }) => sum + footprintBytes(each), 0);
    const group = wanted.spec.antiAffinity;
    const apart = others.some(
      (each) => group !== null && each.spec.antiAffinity === group && named(each).some((on) => on.host === record.name),
    );
    const usable = seen.agent === 'alive' && record.quarantine === null && !record.cordoned && !apart && free >= needed;
    const slots = new Set([...here.map(({ on }) => on.slot), ...seen.occupiedSlots]);
    const slot = Array.from({ length: 50 }, (_, i) => i).find((i) => !slots.has(i));
    return usable ? [{ name: record.name, free, slot }] : [];
  });
  const [best] = fitting.sort((a, b) => b.free - a.free || (a.name < b.name ? -1 : 1));
  return best === undefined ? 'nowhere' : `${best.name} slot ${best.slot}`;
}

test('C1 C2 C3 the ranking finds what a walk over all VMs and hosts finds', () => {
  const on = fc.record({ h: fc.integer({ min: 1, max: 5 }), slot: fc.nat({ max: 3 }) });
  const anyVm = fc.record({ on: fc.option(on), to: fc.option(on), antiAffinity: fc.constantFrom(null, 'db', 'web') });
  const anyHost = fc.record({
    agent: fc.constantFrom('alive' as const, 'alive' as const, 'silent' as const),
    cordoned: fc.constantFrom(false, false, true),
    isLost: fc.constantFrom(false, false, true),
    gibs: fc.integer({ min: 1, max: 6 }),
    occupiedSlots: fc.uniqueArray(fc.nat({ max: 4 }), { maxLength: 3 }),
  });
  const property = fc.property(
    fc.array(anyVm, { minLength: 1, maxLength: 9 }),
    fc.array(anyHost, { minLength: 5, maxLength: 5 }),
    fc.boolean(),
    (drawnVms, drawnHosts, isOver) => {
      const vms = drawnVms.map(({ on: from, to, antiAffinity }, i): VmRecord => {
        const source = from === null ? null : incarnation(1, from.h, from.slot);
        const ends = source === null || to === null ? null : { source, destination: incarnation(2, to.h, to.slot) };
        const record = other(i, source === null ? { kind: 'stopped' } : { kind: 'running', incarnation: source });
        const phase = ends === null ? record.phase : ({ kind: 'switching', ...ends, taskId: null } as const);
        return { ...record, phase, spec: { ...record.spec, antiAffinity } };
      });
      const hosts = drawnHosts.map(({ agent, cordoned, isLost, gibs, occupiedSlots }, i) => {
        const quarantine = isLost ? { since: 0, reason: 'lost' } : null;
        const capacity = { ...hostRecord(1).capacity, memoryBytes: gibs * 1.1 * VM_BYTES };
        const record = hostRecord(i + 1, { cordoned, quarantine, capacity });
        return { record, seen: seenHost(i + 1, { agent, occupiedSlots }) };
      });
      for (const wanted of vms) {
        const found = place(input({ vm: wanted, vms, hosts, isOver }));
        const brief = found.kind === 'placed' ? `${found.host} slot ${found.slot}` : found.kind;
        assert.equal(brief, slowly({ vm: wanted, vms, hosts, isOver }));
      }
    },
  );
  fc.assert(property, { seed: 20_261_121, numRuns: 500 });
});

test('a refusal by many hosts names some of them and counts the others', () => {
  const hosts = Array.from({ length: 60 }, (_, i) => ({
    record: hostRecord(i + 1, { cordoned: true }),
    seen: seenHost(i + 1),
  }));
  const nowhere = place(input({ hosts }));
  assert.equal(nowhere.kind === 'nowhere' && nowhere.reasons.length, 11);
  assert.equal(nowhere.kind === 'nowhere' && nowhere.reasons.at(-1), '50 more hosts cannot either');
});

/** Room for two VMs on one host, one of them promised to a drain for `claimant`. */
const claimed = (claimant: VmRecord, more: Given = {}): PlacementInput => {
  const memoryBytes = 2 * footprintBytes(vm);
  const hosts = [
    { record: hostRecord(1, { capacity: { ...hostRecord(1).capacity, memoryBytes } }), seen: seenHost(1) },
  ];
  const taken = other(1, { kind: 'running', incarnation: incarnation(1, 1, 5) });
  const given = input({ vms: [vm, taken], hosts, ...more });
  const move = {
    ...{ id: 0, vm: claimant.id, name: '', from: host(2), to: host(1), after: [], why: 'evacuate' as const },
    ...{
      memoryMib: footprintBytes(vm) / 1024 ** 2,
      durationMs: 0,
      pauseMs: 0,
      state: 'waiting' as const,
      taskId: null,
    },
    ...{ startedAt: null, endedAt: null, measuredPauseMs: null, failures: 0, note: null },
  };
  given.index.setDrain(parseDrainId('drain-000000000001'), {
    ...{ id: parseDrainId('drain-000000000001'), hosts: [host(2)], state: 'running', who: 'admin', reason: null },
    ...{ change: null, parallel: 1, taskId: task(1), moves: [move], stuck: null, deviations: [] },
    ...{ createdAt: 0, endedAt: null },
  });
  return given;
};

test('C1 what a drain was promised is room for its VM alone, until a VM that is down finds no other', () => {
  const moved = other(2, { kind: 'running', incarnation: incarnation(1, 2) });
  assert.equal(place(claimed(moved)).kind, 'nowhere');
  assert.equal(place(claimed(moved, { mayBreakClaims: true })).kind, 'placed');
  assert.equal(place({ ...claimed(moved), vm: moved, only: host(1) }).kind, 'placed');
});

test('C1 a claim ends with its drain, and when its VM has arrived', () => {
  const moved = other(2, { kind: 'running', incarnation: incarnation(1, 2) });
  const { index, ...rest } = claimed(moved);
  const before = index.committedBytes(host(1));
  index.setVm(moved.id, other(2, { kind: 'running', incarnation: incarnation(2, 1) }));
  assert.equal(index.committedBytes(host(1)), before);
  index.setVm(moved.id, moved);
  index.setDrain(parseDrainId('drain-000000000001'), null);
  assert.equal(place({ ...rest, index }).kind, 'placed');
});

test('nothing is placed on a host in maintenance, whoever asks for it', () => {
  const maintenance = { drain: parseDrainId('drain-000000000001'), since: 0, reason: null };
  const hosts = [{ record: hostRecord(1, { maintenance }), seen: seenHost(1) }];
  assert.match(JSON.stringify(place(input({ hosts }))), /h1: in maintenance/);
  assert.equal(place(input({ hosts, only: host(1), mayBreakClaims: true })).kind, 'nowhere');
});

test('C1 a host whose memory is not known, since a VM runs there whose record nobody can read, takes nothing more', () => {
  const given = input();
  given.index.setUncounted(host(1), true);
  assert.deepEqual(place(given), { kind: 'placed', host: host(2), slot: 0 });
  const byName = place({ ...given, only: host(1) });
  assert.match(byName.kind === 'nowhere' ? byName.reasons.join() : '', /h1: a VM runs there that no record describes/);
  given.index.setUncounted(host(1), false);
  assert.deepEqual(place(given), { kind: 'placed', host: host(1), slot: 0 });
});

test('a running guest goes on by the same accelerator, and under the same or a newer QEMU', () => {
  const aHost = (n: number, qemu: string | null, accelerator: 'kvm' | 'tcg' = 'kvm') => {
    const record = hostRecord(n);
    const release = { agent: '0.1.0', qemu };
    return { record: { ...record, release, capacity: { ...record.capacity, accelerator } }, seen: seenHost(n) };
  };
  const from = aHost(9, '7.2.5').record;
  const placed = (...hosts: ReturnType<typeof aHost>[]) => place(input({ hosts, from }));
  const refused = placed(aHost(1, '7.2.4'), aHost(2, '7.2.5', 'tcg'));
  assert.ok(refused.kind === 'nowhere');
  assert.match(refused.reasons.join(), /h1: its QEMU 7\.2\.4 is older than the 7\.2\.5 of h9/);
  assert.match(refused.reasons.join(), /h2: its guests run under tcg, and this one under kvm/);
  for (const qemu of ['7.2.5', '8.0', null]) assert.equal(placed(aHost(1, '7.2.4'), aHost(2, qemu)).kind, 'placed');
  // A VM that begins anew may begin on any host.
  assert.equal(place(input({ hosts: [aHost(1, '4.2')] })).kind, 'placed');
});
