/**
 * A plan of many hosts, or a roll, as bars over time: a lane for each host. Pure. Guarantees: what happened is where it
 * happened; what is left is predicted in the order of the waves, each no earlier than the window that it was predicted
 * for. Times in ms since the beginning.
 */
import type { Drain, MaintenancePlan, Roll } from '../../api/types.ts';
import { type Bar, plannedBars } from './timeline.ts';

/** One thing that is done to a host. */
export interface RollBar {
  readonly what: 'pre' | 'drain' | 'work' | 'run' | 'back' | 'verify';
  readonly state: 'foretold' | 'now' | 'done' | 'failed';
  readonly startMs: number;
  readonly endMs: number;
}

export interface RollLane {
  readonly host: string;
  /** From 1. */
  readonly wave: number;
  readonly bars: readonly RollBar[];
}

/** The predicted start of each wave of a plan, if the work on each host takes `workMs`. */
function waveStarts({ waves }: MaintenancePlan, workMs: number): readonly number[] {
  let at = 0;
  return waves.map(({ durationMs }) => {
    const start = at;
    at += durationMs + workMs;
    return start;
  });
}

/** Lanes of a plan: all waves in a row, from 0 on. */
export function plannedLanes(plan: MaintenancePlan, workMs: number): readonly RollLane[] {
  const starts = waveStarts(plan, workMs);
  return plan.waves.flatMap(({ hosts, durationMs }, index) => {
    const start = starts[index] ?? 0;
    const bars = foretoldBars(start, durationMs, workMs);
    return hosts.map((host) => ({ host, wave: index + 1, bars }));
  });
}

/** Every move of a plan, the waves in a row. */
export function movesOfPlan(plan: MaintenancePlan, workMs: number): readonly Bar[] {
  const starts = waveStarts(plan, workMs);
  return plan.waves.flatMap((wave, index) =>
    plannedBars(wave).map((bar) => shifted(bar, starts[index] ?? 0, index * 1_000_000)),
  );
}

function shifted(bar: Bar, byMs: number, byId: number): Bar {
  return { ...bar, id: bar.id + byId, startMs: bar.startMs + byMs, endMs: bar.endMs + byMs };
}

function foretoldBars(startMs: number, movesMs: number, workMs: number): readonly RollBar[] {
  const emptied = startMs + movesMs;
  const bars: RollBar[] = [{ what: 'drain', state: 'foretold', startMs, endMs: emptied }];
  return workMs === 0
    ? bars
    : [...bars, { what: 'work', state: 'foretold', startMs: emptied, endMs: emptied + workMs }];
}

type RollHost = Roll['hosts'][number];

/** Lanes of a roll: `drains` are those of it that are known. */
export function rollLanes(roll: Roll, drains: readonly Drain[], nowMs: number): readonly RollLane[] {
  const beganMs = Date.parse(roll.createdAt);
  const since = (time: string): number => Date.parse(time) - beganMs;
  const now = nowMs - beganMs;
  const { pre, run, verify } = roll.commands;
  const workMs = pre === null && run === null && verify === null ? 0 : roll.workMs;
  const starts = foretoldStarts(roll, { now, workMs, since });
  return roll.hosts.map((host) => {
    const drain = drains.find(({ id }) => id === host.drain);
    const movesMs = roll.foretold[host.wave - 1]?.durationMs ?? 0;
    const bars = [
      ...happened(host, drain, { now, since }),
      ...left(host, { now, movesMs, workMs, start: starts.get(host.wave) ?? now, drain, since }),
    ];
    return { host: host.host, wave: host.wave, bars: bars.toSorted((a, b) => a.startMs - b.startMs) };
  });
}

interface Clock {
  readonly now: number;
  readonly since: (time: string) => number;
}

function happened(host: RollHost, drain: Drain | undefined, { now, since }: Clock): readonly RollBar[] {
  const bars: RollBar[] = host.done.map(({ step, startedAt, endedAt, succeeded }) => ({
    ...{ what: step, state: succeeded ? 'done' : 'failed', startMs: since(startedAt), endMs: since(endedAt) },
  }));
  if (drain !== undefined) {
    const isOn = host.state === 'draining';
    const end = drain.endedAt === null ? now : since(drain.endedAt);
    bars.push({ what: 'drain', state: isOn ? 'now' : 'done', startMs: since(drain.createdAt), endMs: end });
  }
  const { state } = host;
  if (state === 'pre' || state === 'run' || state === 'back' || state === 'verify')
    bars.push({ what: state, state: 'now', startMs: since(host.work?.startedAt ?? host.since), endMs: now });
  return bars;
}

interface Left extends Clock {
  readonly movesMs: number;
  readonly workMs: number;
  /** When its wave would begin. */
  readonly start: number;
  readonly drain: Drain | undefined;
}

/** The prediction for a host from now on. */
function left(host: RollHost, { now, movesMs, workMs, start, drain, since }: Left): readonly RollBar[] {
  if (host.state === 'waiting') return foretoldBars(start, movesMs, workMs);
  if (host.state === 'pre' || host.state === 'ready') return foretoldBars(now, movesMs, workMs);
  if (host.state === 'run') {
    const end = since(host.work?.startedAt ?? host.since) + workMs;
    return end <= now ? [] : [{ what: 'work', state: 'foretold', startMs: now, endMs: end }];
  }
  if (host.state !== 'draining') return [];
  const end = Math.max(now, (drain === undefined ? now : since(drain.createdAt)) + movesMs);
  return foretoldBars(now, end - now, workMs);
}

/** The predicted start of each wave that has not begun. */
function foretoldStarts(
  { hosts, foretold, forecast }: Roll,
  { now, workMs, since }: Clock & { readonly workMs: number },
): ReadonlyMap<number, number> {
  const openings = new Map(forecast.flatMap(({ from, waves }) => waves.map((wave) => [wave, since(from)] as const)));
  const waves = [...new Set(hosts.map(({ wave }) => wave))].sort((a, b) => a - b);
  const starts = new Map<number, number>();
  let cursor = now;
  for (const wave of waves) {
    const own = hosts.filter((host) => host.wave === wave);
    const isOver = own.every(({ state }) => isHostOver(state));
    if (isOver) continue;
    const hasBegun = own.some(({ state }) => state !== 'waiting');
    const start = hasBegun ? now : Math.max(cursor, openings.get(wave) ?? cursor);
    starts.set(wave, start);
    const takesMs = (foretold[wave - 1]?.durationMs ?? 0) + workMs;
    const ends = own.map((host) =>
      isHostOver(host.state) ? now : isEmptied(host) ? since(host.since) + workMs : start + takesMs,
    );
    cursor = Math.max(now, ...ends);
  }
  return starts;
}

/** Whether a host has no VM left to move. */
function isEmptied({ state }: RollHost): boolean {
  return state === 'run' || state === 'back' || state === 'verify' || isHostOver(state);
}

function isHostOver(state: RollHost['state']): boolean {
  return state === 'done' || state === 'failed' || state === 'skipped';
}

/** The axis on which times are drawn. */
export interface Axis {
  /** Part of the width, from 0 to 1. */
  readonly at: (ms: number) => number;
  /** The time at a part of the width. */
  readonly timeAt: (part: number) => number;
  /** Times in which nothing is done, drawn shorter than they are. */
  readonly gaps: readonly { readonly startMs: number; readonly endMs: number }[];
}

/** A gap that is longer than this part of what is busy is drawn shorter. */
const LONG_GAP = 0.3;
const DRAWN_GAP = 0.05;

/** The axis on which the bars fill the width; times between windows, in which nothing is done, are cut short. */
export function axisOf(spans: readonly { readonly startMs: number; readonly endMs: number }[]): Axis {
  const busy = mergedSpans(spans);
  const busyMs = busy.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
  const pieces: { readonly startMs: number; readonly endMs: number; readonly drawnMs: number; isCut: boolean }[] = [];
  for (const [index, span] of busy.entries()) {
    const before = busy[index - 1];
    if (before !== undefined) {
      const gapMs = span.startMs - before.endMs;
      const isCut = gapMs > LONG_GAP * busyMs;
      pieces.push({ startMs: before.endMs, endMs: span.startMs, drawnMs: isCut ? DRAWN_GAP * busyMs : gapMs, isCut });
    }
    pieces.push({ ...span, drawnMs: span.endMs - span.startMs, isCut: false });
  }
  const wholeMs = pieces.reduce((sum, { drawnMs }) => sum + drawnMs, 0);
  return {
    at: (ms) => {
      let drawn = 0;
      for (const piece of pieces) {
        if (ms < piece.endMs) return (drawn + drawnIn(piece, ms)) / (wholeMs || 1);
        drawn += piece.drawnMs;
      }
      return wholeMs === 0 ? 0 : 1;
    },
    timeAt: (part) => {
      let rest = part * wholeMs;
      for (const { startMs, endMs, drawnMs } of pieces) {
        if (rest <= drawnMs) return drawnMs === 0 ? startMs : startMs + (rest / drawnMs) * (endMs - startMs);
        rest -= drawnMs;
      }
      return pieces.at(-1)?.endMs ?? 0;
    },
    gaps: pieces.filter(({ isCut }) => isCut),
  };
}

function drawnIn(piece: { startMs: number; endMs: number; drawnMs: number }, ms: number): number {
  const lengthMs = piece.endMs - piece.startMs;
  return lengthMs === 0 ? 0 : (Math.max(0, ms - piece.startMs) / lengthMs) * piece.drawnMs;
}

function mergedSpans(spans: Parameters<typeof axisOf>[0]): readonly { startMs: number; endMs: number }[] {
  const merged: { startMs: number; endMs: number }[] = [];
  for (const { startMs, endMs } of [...spans].sort((a, b) => a.startMs - b.startMs)) {
    const last = merged.at(-1);
    if (last !== undefined && startMs <= last.endMs) last.endMs = Math.max(last.endMs, endMs);
    else merged.push({ startMs, endMs });
  }
  return merged;
}
