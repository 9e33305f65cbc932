import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CodedError } from '../../base/errors.ts';
import type { NetworkName, VmId } from '../../base/ids.ts';
import { parseVmId } from '../../base/ids.ts';
import type { NetworkRecord } from '../model/cluster.ts';
import { indexOf } from '../model/cluster-index.ts';
import { cardsOf, type VmNic, type VmPhase, type VmRecord } from '../model/vm.ts';
import { hostRecord, incarnation, vmRecord } from '../plan/testing/sample-records.ts';
import { inPhase } from '../plan/vm/decision.ts';
import {
  membersToNotice,
  wantedCards,
  withCard,
  withoutCard,
  withoutReservation,
  withoutUnused,
} from './vm-changes.ts';

const running = (n: number): VmPhase => ({ kind: 'running', incarnation: incarnation(1, n) });
const STOPPED: VmPhase = { kind: 'stopped' };
const inGroup = (n: number, phase: VmPhase, antiAffinity: string | null): VmRecord => {
  const record = vmRecord(phase, { id: parseVmId(`vm-00000000000${n}`), name: `vm${n}` });
  return { ...record, spec: { ...record.spec, antiAffinity } };
};
const hosts = [hostRecord(1), hostRecord(2), hostRecord(3)];

test('a VM joins a group only where no member is on one of its hosts, the destination of a move included', () => {
  const moving: VmPhase = {
    kind: 'migrating',
    source: incarnation(1, 2),
    destination: incarnation(2, 3),
    taskId: null,
    deadlineAt: 0,
  };
  const members = [inGroup(1, moving, 'web'), inGroup(2, STOPPED, 'web')];
  const join = (n: number) => {
    const vm = inGroup(9, running(n), null);
    return membersToNotice(vm, 'web', indexOf({ vms: [...members, vm], hosts })).map(({ name }) => name);
  };
  assert.deepEqual(join(1), ['vm1', 'vm2'], 'their records are written with it');
  for (const taken of [2, 3])
    assert.throws(
      () => join(taken),
      (error) =>
        error instanceof CodedError &&
        error.code === 'conflict' &&
        error.message === `vm9 and vm1 of group web are both on h${taken}.`,
    );
});

test('a VM without a machine joins whatever the others do, and nobody need notice', () => {
  const vm = inGroup(9, STOPPED, null);
  const index = indexOf({ vms: [inGroup(1, running(1), 'web'), vm], hosts });
  assert.deepEqual(membersToNotice(vm, 'web', index), []);
});

test('a group that is too large for one transaction is refused to a VM that runs', () => {
  const many = Array.from({ length: 101 }, (_, n) => ({
    ...inGroup(1, STOPPED, 'web'),
    id: parseVmId(`vm-${String(n).padStart(12, '0')}`),
  }));
  const vm = { ...inGroup(1, running(1), null), id: parseVmId('vm-ffffffffffff') };
  const ask = (members: readonly VmRecord[]) => membersToNotice(vm, 'web', indexOf({ vms: [...members, vm], hosts }));
  assert.equal(ask(many.slice(1)).length, 100);
  assert.throws(() => ask(many), /101 other VMs: one that runs can join a group of at most 100/);
});

const card = (n: number): VmNic => ({
  network: 'lan' as NetworkName,
  mac: `52:54:00:00:00:0${n}`,
  address: `10.0.0.${n}`,
});
const LAN = { name: 'lan' as NetworkName, reservations: {} } as unknown as NetworkRecord;

test('a machine keeps its cards, and no address is free that a card has, through any changes, starts and stops', () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.nat({ max: 4 }).map((n) => ({ kind: 'add' as const, n })) },
    { weight: 3, arbitrary: fc.nat({ max: 4 }).map((n) => ({ kind: 'remove' as const, n })) },
    {
      weight: 1,
      arbitrary: fc.constantFrom({ kind: 'start' as const }, { kind: 'stop' as const }, { kind: 'sweep' as const }),
    },
    { weight: 1, arbitrary: fc.constant({ kind: 'move' as const }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      let vm = vmRecord(STOPPED);
      let network = LAN;
      /** The cards of the guest's machine; null: there is no machine. */
      let machine: readonly string[] | null = null;
      const macs = (cards: readonly VmNic[]): string[] => cards.map(({ mac }) => mac);
      for (const each of steps) {
        if (each.kind === 'add' && network.reservations[card(each.n).mac] === undefined) {
          vm = withCard(vm, card(each.n));
          const { mac, address } = card(each.n);
          const reservation = { address: address ?? '', vm: vm.id, hostname: 'x' };
          network = { ...network, reservations: { ...network.reservations, [mac]: reservation } };
        } else if (each.kind === 'remove' && wantedCards(vm).some(({ mac }) => mac === card(each.n).mac)) {
          const { vm: next, freed } = withoutCard(vm, card(each.n).mac);
          vm = next;
          if (freed) network = withoutReservation(network, card(each.n).mac);
        } else if (each.kind === 'start') {
          const wanted = macs(wantedCards(vm));
          vm = inPhase(vm, { kind: 'starting', incarnation: incarnation(1, 1), reason: 'requested', avoid: [] }, 0);
          machine = macs(vm.spec.nics);
          assert.deepEqual(machine, wanted);
        } else if (each.kind === 'stop') {
          vm = inPhase(vm, STOPPED, 0);
          machine = null;
        } else if (each.kind === 'move' && machine !== null) {
          const move = { source: incarnation(1, 1), destination: incarnation(2, 2), taskId: null };
          vm = inPhase(vm, { kind: 'switching', ...move }, 0);
          vm = inPhase(vm, { kind: 'running', incarnation: incarnation(2, 2) }, 0);
        } else if (each.kind === 'sweep') {
          const seen = vm;
          network = withoutUnused(network, (id) => (id === seen.id ? seen : undefined)) ?? network;
        }
        if (machine !== null) assert.deepEqual(macs(vm.spec.nics), machine, 'the record says what the machine has');
        for (const { mac } of cardsOf(vm)) assert.ok(network.reservations[mac] !== undefined, `${mac} is reserved`);
      }
      network = withoutUnused(network, () => vm) ?? network;
      assert.deepEqual(Object.keys(network.reservations).sort(), macs(cardsOf(vm)).sort(), 'and nothing else for long');
    }),
    { seed: 20_261_130, numRuns: 500 },
  );
});

test('what is said where there is no such card', () => {
  const vm = withCard(vmRecord(STOPPED), card(1));
  assert.throws(() => withoutCard(vm, card(2).mac), /has no card 52:54:00:00:00:02/);
  assert.equal(
    withoutUnused({ ...LAN, reservations: {} }, () => undefined),
    null,
  );
  const of = { address: '10.0.0.1', vm: 'vm-0000000000ff' as VmId, hostname: 'x' };
  assert.equal(
    withoutUnused({ ...LAN, reservations: { a: of } }, () => undefined),
    null,
    'a VM that is not known keeps it',
  );
});
