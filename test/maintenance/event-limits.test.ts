import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from '../../src/api/views.ts';
import { assertLimits, assertUndisturbed } from './event-limits.ts';

let revision = 0;
const event = (kind: string, vm: string, message: string): Event => ({
  ...{ revision: String(++revision), at: '2026-01-01T00:00:00.000Z', kind, vm, vmId: null, host: null },
  ...{ generation: null, message },
});
const leaves = (vm: string, from: string, to: string): Event =>
  event('migrating', vm, `${vm} migrates from ${from} to ${to}, generation 2.`);
const arrives = (vm: string): Event => event('migrated', vm, `${vm} has arrived.`);
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
  assert.deepEqual(
    [...assertLimits(events, limits)],
    [
      ['a', 1],
      ['c', 1],
    ],
  );
});

test('what breaks a limit for an instant is found', () => {
  const broken: readonly (readonly [RegExp, readonly Event[]])[] = [
    [/2 moves at once at h1/, [leaves('a', 'h1', 'h3'), leaves('c', 'h1', 'h4'), arrives('a'), arrives('c')]],
    [/a and b of sql move at once/, [leaves('a', 'h1', 'h3'), leaves('b', 'h2', 'h4')]],
    [/two members of sql on one host/, [leaves('a', 'h1', 'h2'), event('migration-undone', 'a', 'undone')]],
    [/arrived without having left/, [arrives('a')]],
  ];
  for (const [message, events] of broken) assert.throws(() => assertLimits(events, limits), { message });
  assert.throws(() => assertUndisturbed([event('crashed', 'a', 'a crashed.')], ['a']), { message: /crashed/ });
});
