import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from '../../src/api/views.ts';
import { assertAway, assertLimits, assertMovedOnce, assertUndisturbed } from './event-limits.ts';

let revision = 0;
const event = (kind: string, vm: string | null, message: string, host: string | null = null): Event => ({
  ...{ revision: String(++revision), at: '2026-01-01T00:00:00.000Z', kind, vm, vmId: null, host },
  ...{ generation: null, message },
});
const leaves = (vm: string, from: string, to: string): Event =>
  event('migrating', vm, `${vm} migrates from ${from} to ${to}, generation 2.`);
const arrives = (vm: string): Event => event('migrated', vm, `${vm} has arrived.`);
const lost = (vm: string, from: string, to: string): Event =>
  event('lost', vm, `${from} was silent. Generation 3 starts on ${to}.`);
const limits = {
  ...{ parallel: 1, guestClusters: { sql: ['a', 'b'] } },
  before: new Map([
    ['a', 'h1'],
    ['b', 'h2'],
    ['c', 'h1'],
  ]),
};

test('moves within the limits are counted', () => {
  const events = [leaves('a', 'h1', 'h3'), arrives('a'), leaves('c', 'h1', 'h2'), arrives('c')];
  const { arrived, lost: none } = assertLimits(events, limits);
  assert.deepEqual(
    [...arrived],
    [
      ['a', 1],
      ['c', 1],
    ],
  );
  assert.deepEqual([...none], []);
});

test('what breaks a limit for an instant is found', () => {
  const broken: readonly (readonly [RegExp, readonly Event[]])[] = [
    [/2 moves at once at h1/, [leaves('a', 'h1', 'h3'), leaves('c', 'h1', 'h4'), arrives('a'), arrives('c')]],
    [/a and b of sql move at once/, [leaves('a', 'h1', 'h3'), leaves('b', 'h2', 'h4')]],
    [/two members of sql on one host/, [leaves('a', 'h1', 'h2'), event('migration-undone', 'a', 'undone')]],
    [/arrived without having left/, [arrives('a')]],
    [/leaves a host that it is not on/, [leaves('a', 'h2', 'h3')]],
  ];
  for (const [message, events] of broken) assert.throws(() => assertLimits(events, limits), { message });
  assert.throws(() => assertUndisturbed([event('crashed', 'a', 'a crashed.')], ['a']), { message: /crashed/ });
});

test('a move that is being undone counts until it was', () => {
  const undoing = [leaves('a', 'h1', 'h3'), event('migration-undone', 'a', 'The migration of a to h3 is undone: x')];
  const undone = event('migration-undone', 'a', 'a stays on h1, generation 1.');
  const other = [leaves('c', 'h1', 'h3'), arrives('c')];
  assert.throws(() => assertLimits([...undoing, ...other], limits), { message: /2 moves at once at h1/ });
  assert.equal(assertLimits([...undoing, undone, ...other], limits).at.get('a'), 'h1');
});

test('only VMs of hosts that were killed may be lost, and no other member moves until they run again', () => {
  const gone = [leaves('b', 'h2', 'h3'), lost('b', 'h3', 'h4')];
  const told = assertLimits(gone, { ...limits, killed: ['h3'] });
  assert.deepEqual([[...told.lost], told.at.get('b')], [['b'], 'h4']);
  assert.throws(() => assertLimits(gone, { ...limits, killed: ['h1'] }), { message: /b was lost, and h2, h2, h3/ });
  assert.throws(() => assertLimits(gone, limits), { message: /was not killed/ });
  const early = [...gone, leaves('a', 'h1', 'h2')];
  assert.throws(() => assertLimits(early, { ...limits, killed: ['h3'] }), { message: /moves while another member/ });
  const late = [...gone, event('running', 'b', 'b runs on h4, generation 3.'), leaves('a', 'h1', 'h2')];
  assertLimits(late, { ...limits, killed: ['h3'] });
});

test('hosts that are away at once are counted', () => {
  const away = (host: string): Event => event('drain-started', null, `ann drains ${host}.`, host);
  const back = (host: string): Event => event('host-undrained', null, `${host} is in service again.`, host);
  assert.deepEqual(assertAway([away('h1'), back('h1'), away('h2'), back('h2')], 1), ['h1', 'h2']);
  assert.throws(() => assertAway([away('h1'), away('h2')], 1), { message: /h1 and h2 were away at once/ });
  assert.throws(() => assertAway([away('h1')], 1), { message: /every host is back/ });
  assert.throws(() => assertAway([back('h1')], 1), { message: /without having been away/ });
});

test('a VM moves once for each host that is emptied', () => {
  const away = (host: string): Event => event('drain-started', null, `ann drains ${host}.`, host);
  assertMovedOnce([away('h1'), arrives('a'), arrives('b'), away('h2'), arrives('a')]);
  const twice = [away('h1'), arrives('a'), arrives('b'), arrives('a')];
  assert.throws(() => assertMovedOnce(twice), { message: /a moved twice \(ann drains h1\.\)/ });
});
