import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Bar, drainBars, peakMemory, plannedBars, timelineOf } from './timeline.ts';

const move = (id: number, startsAtMs: number, after: number[] = [], to = 'h2') => ({
  ...{ id, vm: `vm${id}`, from: 'h1', to, after, why: 'evacuate' as const, memoryBytes: 100, foretoldMs: 1_000 },
  ...{ foretoldPauseMs: 50, startsAtMs, writesBytesPerSecond: null, remedy: null },
});
const times = (bars: readonly Bar[]): number[][] => bars.map(({ startMs, endMs }) => [startMs, endMs]);

test('moves at once are in lanes, moves after each other share one', () => {
  const { lanes, durationMs } = timelineOf(plannedBars({ moves: [move(0, 0), move(1, 0), move(2, 1_000, [0])] }));
  assert.deepEqual(
    lanes.map((lane) => lane.map(({ id }) => id)),
    [[0, 2], [1]],
  );
  assert.equal(durationMs, 2_000);
});

test('of a drain, what happened is as it happened, and the rest follows from now', () => {
  const at = (ms: number): string => new Date(Date.UTC(2026, 10, 30) + ms).toISOString();
  const record = { measuredPauseMs: null, note: null };
  const moves = [
    { ...move(0, 0), ...record, state: 'moved' as const, startedAt: at(100), endedAt: at(1_900) },
    { ...move(1, 0), ...record, state: 'moving' as const, startedAt: at(2_000), endedAt: null },
    { ...move(2, 0, [1]), ...record, state: 'waiting' as const, startedAt: null, endedAt: null },
  ];
  const bars = drainBars({ moves, createdAt: at(0) }, Date.parse(at(3_500)));
  assert.deepEqual(times(bars), [
    [100, 1_900],
    [2_000, 3_500],
    [3_500, 4_500],
  ]);
  assert.equal(bars[0]?.tookMs, 1_800);
});

test('a host holds what comes before it gives what goes', () => {
  const bars = plannedBars({ moves: [move(0, 0), move(1, 500), { ...move(2, 1_000, [0], 'h3'), from: 'h2' }] });
  assert.deepEqual(
    [...peakMemory(bars)].sort(([a], [b]) => a.localeCompare(b)),
    [
      ['h1', 0],
      ['h2', 200],
      ['h3', 100],
    ],
  );
});

test('nothing to move is an empty timeline', () => {
  assert.deepEqual(timelineOf([]), { lanes: [], durationMs: 0 });
});
