import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from '../../api/types.ts';
import { incarnationsOf } from './incarnations.ts';

function event(seconds: number, kind: string, generation: number | null, host: string | null): Event {
  const at = `2026-11-30T12:00:${String(seconds).padStart(2, '0')}.000Z`;
  return { revision: String(seconds), at, kind, vm: 'web1', vmId: 'vm-1', host, generation, message: kind };
}

const stopped = { generation: 2, host: null, phase: 'stopped', phaseSince: '' } as const;
const running = { generation: 2, host: 'h2', phase: 'running', phaseSince: '2026-11-30T12:00:07.000Z' } as const;

test('an incarnation ends where the next one begins', () => {
  const events = [event(1, 'started', 1, 'h1'), event(5, 'lost', 1, 'h1'), event(7, 'started', 2, 'h2')];
  assert.deepEqual(
    incarnationsOf(events, running).map(({ generation, host, since, until }) => [generation, host, since, until]),
    [
      [1, 'h1', events[0]?.at, events[2]?.at],
      [2, 'h2', events[2]?.at, null],
    ],
  );
});

test('the last one has ended where the VM was stopped', () => {
  const [only] = incarnationsOf([event(1, 'started', 1, 'h1'), event(9, 'stopped', 1, null)], stopped);
  assert.equal(only?.until, '2026-11-30T12:00:09.000Z');
  assert.equal(only?.host, 'h1');
});

test('events without a generation belong to none', () => {
  assert.deepEqual(incarnationsOf([event(1, 'created', null, null), event(2, 'created', 0, null)], stopped), []);
});

test('of the present incarnation the VM itself tells where events say nothing', () => {
  const [only] = incarnationsOf([], running);
  assert.deepEqual(only, { generation: 2, host: 'h2', since: running.phaseSince, until: null, ending: null });
});
