import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Drain, MaintenancePlan, Roll } from '../../api/types.ts';
import { axisOf, movesOfPlan, plannedLanes, rollLanes } from './roll-timeline.ts';

const MINUTE = 60_000;
const BEGAN = Date.UTC(2026, 10, 30, 22);
const at = (minutes: number): string => new Date(BEGAN + minutes * MINUTE).toISOString();

const move = (vm: string, startsAtMs: number) => ({
  ...{
    id: startsAtMs / MINUTE,
    vm,
    vmId: 'vm-000000000001',
    guestCluster: null,
    from: 'h1',
    to: 'h2',
    after: [],
    converges: true,
  },
  ...{ why: 'evacuate' as const, memoryBytes: 100, foretoldMs: MINUTE, foretoldPauseMs: 50, startsAtMs },
  ...{ writesBytesPerSecond: null, remedy: null },
});

const plan: MaintenancePlan = {
  ...{ hash: 'f'.repeat(64), madeAt: at(0), maxUnavailable: 2, perRack: null, parallel: 1, movedBytes: 200 },
  durationMs: 3 * MINUTE,
  waves: [
    { hosts: ['h1', 'h2'], durationMs: 2 * MINUTE, moves: [move('a', 0), move('b', MINUTE)] },
    { hosts: ['h3'], durationMs: MINUTE, moves: [move('c', 0)] },
  ],
};

test('waves of a plan follow each other, with the work between them', () => {
  const lanes = plannedLanes(plan, 10 * MINUTE);
  const minutes = lanes.map(({ host, wave, bars }) => [
    host,
    wave,
    ...bars.map(({ what, startMs, endMs }) => `${what} ${startMs / MINUTE}-${endMs / MINUTE}`),
  ]);
  assert.deepEqual(minutes, [
    ['h1', 1, 'drain 0-2', 'work 2-12'],
    ['h2', 1, 'drain 0-2', 'work 2-12'],
    ['h3', 2, 'drain 12-13', 'work 13-23'],
  ]);
  const moves = movesOfPlan(plan, 10 * MINUTE);
  assert.deepEqual(
    moves.map(({ vm, startMs }) => [vm, startMs / MINUTE]),
    [
      ['a', 0],
      ['b', 1],
      ['c', 12],
    ],
  );
  assert.equal(new Set(moves.map(({ id }) => id)).size, 3, 'moves of two waves are told apart');
});

const host = (name: string, wave: number, more: Partial<Roll['hosts'][number]>): Roll['hosts'][number] => ({
  ...{ host: name, wave, state: 'waiting', since: at(0), drain: null, work: null, done: [], note: null },
  ...more,
});

function rollOf(hosts: Roll['hosts'], more: Partial<Roll> = {}): Roll {
  return {
    ...{
      id: 'roll-000000000001',
      revision: '1',
      hash: plan.hash,
      state: 'running',
      held: null,
      waitsFor: null,
      quietOverride: null,
    },
    ...{ who: 'ann', reason: null, change: null, windows: [], waves: 2, planned: 3, done: 0, failed: 0, task: 't' },
    ...{ createdAt: at(0), endedAt: null, maxUnavailable: 2, perRack: null, parallel: 1, onFailure: 'stop' },
    ...{ freezes: [], workMs: 10 * MINUTE, backMs: MINUTE, drains: ['d1'], wouldNotFit: [], deviations: [], hosts },
    commands: { pre: null, run: 'true', verify: null, preMs: 1, runMs: 1, verifyMs: 1 },
    foretold: plan.waves.map(({ durationMs, moves }) => ({ durationMs, pauseMs: 50, moves: moves.length })),
    forecast: [],
    ...more,
  };
}

const drain = { id: 'd1', createdAt: at(1), endedAt: at(4) } as Drain;
const told = (lanes: ReturnType<typeof rollLanes>): string[] =>
  lanes.map(({ host: name, bars }) =>
    [
      name,
      ...bars.map(({ what, state, startMs, endMs }) => `${what} ${state} ${startMs / MINUTE}-${endMs / MINUTE}`),
    ].join(', '),
  );

test('of a roll, what happened is as it happened, and the rest is foretold from now on', () => {
  const step = { step: 'run' as const, by: 'x', startedAt: at(4), endedAt: at(9), succeeded: true, message: '' };
  const roll = rollOf([
    host('h1', 1, { state: 'done', drain: 'd1', done: [step] }),
    host('h2', 1, { state: 'run', since: at(5), drain: 'd1' }),
    host('h3', 2, {}),
  ]);
  assert.deepEqual(told(rollLanes(roll, [drain], BEGAN + 12 * MINUTE)), [
    'h1, drain done 1-4, run done 4-9',
    'h2, drain done 1-4, run now 5-12, work foretold 12-15',
    // Wave 1 ends when the work on its last host does.
    'h3, drain foretold 15-16, work foretold 16-26',
  ]);
});

test('a wave that waits for a window is foretold in it; a host that is emptied ends no earlier than now', () => {
  const roll = rollOf([host('h1', 1, { state: 'draining', drain: 'd1' }), host('h3', 2, {})], {
    forecast: [{ from: at(1_440), until: null, waves: [2] }],
  });
  const running = { ...drain, endedAt: null };
  assert.deepEqual(told(rollLanes(roll, [running], BEGAN + 2 * MINUTE)), [
    'h1, drain now 1-2, drain foretold 2-3, work foretold 3-13',
    'h3, drain foretold 1440-1441, work foretold 1441-1451',
  ]);
});

test('times in which nothing is done are cut short, and each time has one place', () => {
  const axis = axisOf([
    { startMs: 0, endMs: 100 },
    { startMs: 50, endMs: 120 },
    { startMs: 10_000, endMs: 10_100 },
  ]);
  assert.equal(axis.gaps.length, 1);
  assert.deepEqual([axis.at(0), axis.at(10_100)], [0, 1]);
  assert.ok(axis.at(10_000) - axis.at(120) < 0.06);
  for (const part of [0, 0.2, 0.5, 0.9, 1]) assert.ok(Math.abs(axis.at(axis.timeAt(part)) - part) < 1e-9);
  assert.equal(axisOf([]).at(5), 0);
});
