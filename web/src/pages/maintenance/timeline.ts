/** A plan or a drain as bars over time. Pure. Guarantee: no two bars of a lane overlap. */
import type { Drain, DrainPlan } from '../../api/types.ts';

/** One move as a bar; times in ms since the beginning. */
export interface Bar {
  readonly id: number;
  readonly vm: string;
  readonly from: string;
  readonly to: string;
  readonly why: string;
  readonly memoryBytes: number;
  readonly foretoldPauseMs: number;
  readonly startMs: number;
  readonly endMs: number;
  readonly state: 'foretold' | 'waiting' | 'moving' | 'moved' | 'gone';
  readonly note: string | null;
  readonly measuredPauseMs: number | null;
  /** How long a finished move took. */
  readonly tookMs: number | null;
  readonly foretoldMs: number;
}

/** Bars in lanes, each as early as its lane allows. */
export interface Timeline {
  readonly lanes: readonly (readonly Bar[])[];
  readonly durationMs: number;
}

/** The bars of a plan. */
export function plannedBars({ moves }: Pick<DrainPlan, 'moves'>): readonly Bar[] {
  return moves.map((move) => ({
    ...move,
    ...{ startMs: move.startsAtMs, endMs: move.startsAtMs + move.foretoldMs, state: 'foretold' },
    ...{ note: null, measuredPauseMs: null, tookMs: null },
  }));
}

/** The bars of a drain: what happened where it has happened, and what is predicted from now on. */
export function drainBars(drain: Pick<Drain, 'moves' | 'createdAt'>, nowMs: number): readonly Bar[] {
  const beginMs = Date.parse(drain.createdAt);
  const ends = new Map<number, number>();
  return drain.moves.map((move) => {
    const since = move.startedAt === null ? null : Date.parse(move.startedAt) - beginMs;
    const until = move.endedAt === null ? null : Date.parse(move.endedAt) - beginMs;
    const after = Math.max(nowMs - beginMs, ...move.after.map((id) => ends.get(id) ?? 0));
    const startMs = since ?? until ?? after;
    const endMs = until ?? Math.max(startMs + move.foretoldMs, move.state === 'moving' ? nowMs - beginMs : 0);
    ends.set(move.id, endMs);
    const tookMs = since === null || until === null ? null : until - since;
    return { ...move, startMs, endMs, tookMs };
  });
}

/** Puts bars into as few lanes as there are moves at once. */
export function timelineOf(bars: readonly Bar[]): Timeline {
  const lanes: Bar[][] = [];
  const ordered = [...bars].sort((a, b) => a.startMs - b.startMs || a.id - b.id);
  for (const bar of ordered) {
    const lane = lanes.find((each) => (each.at(-1)?.endMs ?? 0) <= bar.startMs);
    if (lane === undefined) lanes.push([bar]);
    else lane.push(bar);
  }
  return { lanes, durationMs: bars.reduce((latest, { endMs }) => Math.max(latest, endMs), 0) };
}

/**
 * The most memory that moves bring to each host at once, in bytes: a move claims its memory at the destination from its
 * beginning, and frees it at its source at its end.
 */
export function peakMemory(bars: readonly Bar[]): ReadonlyMap<string, number> {
  const changes = bars.flatMap(({ from, to, startMs, endMs, memoryBytes }) => [
    { host: to, atMs: startMs, bytes: memoryBytes },
    { host: from, atMs: endMs, bytes: -memoryBytes },
  ]);
  changes.sort((a, b) => a.atMs - b.atMs || a.bytes - b.bytes);
  const now = new Map<string, number>();
  const peaks = new Map<string, number>();
  for (const { host, bytes } of changes) {
    const next = (now.get(host) ?? 0) + bytes;
    now.set(host, next);
    peaks.set(host, Math.max(peaks.get(host) ?? 0, next));
  }
  return peaks;
}
