/**
 * When a roll may begin something: inside one of its windows, outside every freeze, and long enough before the window
 * closes. Pure. Work that began inside a window is finished; nothing else begins.
 */
import type { RollRecord } from '../model/roll.ts';
import { parseTimeWindow, type TimeWindow, windowState } from './time-window.ts';

/** Whether something may begin at a time. */
export type Opening =
  /** `until`: when that is over, Unix ms; null: never. */
  { readonly isOpen: true; readonly until: number | null } | { readonly isOpen: false; readonly why: string };

/** Windows by their text, because a roll is looked at every second. */
const parsed = new Map<string, TimeWindow | null>();
const PARSED_MAX = 1_000;

/** The windows that texts name; a text that names none is skipped (admission refuses it). */
function windowsOf(texts: readonly string[]): readonly TimeWindow[] {
  return texts.flatMap((text) => {
    let window = parsed.get(text);
    if (window === undefined) {
      const read = parseTimeWindow(text);
      window = 'window' in read ? read.window : null;
      if (parsed.size >= PARSED_MAX) parsed.clear();
      parsed.set(text, window);
    }
    return window === null ? [] : [window];
  });
}

const at = (ms: number): string => new Date(ms).toISOString().replace(/:\d\d\.\d{3}Z$/, 'Z');

/** Whether a roll's windows and freezes let something begin at a time (Unix ms). */
export function openingAt({ windows, freezes }: Pick<RollRecord, 'windows' | 'freezes'>, now: number): Opening {
  const freeze = freezes.find(({ from, until }) => from <= now && now < until);
  if (freeze !== undefined) return { isOpen: false, why: `Frozen until ${at(freeze.until)}: ${freeze.reason}.` };
  const begins = freezes.flatMap(({ from }) => (from > now ? [from] : []));
  const untilFreeze = begins.length === 0 ? null : Math.min(...begins);
  if (windows.length === 0) return { isOpen: true, until: untilFreeze };
  // Inside a window, work ends at the first occurrence of a time that occurs twice.
  const { isInside, changesAt } = windowState(windowsOf(windows), now, 'first');
  if (!isInside)
    return {
      isOpen: false,
      why: changesAt === null ? 'No window opens.' : `Outside the window, which opens at ${at(changesAt)}.`,
    };
  const ends = [untilFreeze, changesAt].filter((end) => end !== null);
  return { isOpen: true, until: ends.length === 0 ? null : Math.min(...ends) };
}

/** How long a wave takes: its predicted moves, and the work on its hosts, which is done in parallel. */
export function waveMs({ workMs, commands }: RollRecord, movesMs: number): number {
  const { pre, run, verify } = commands;
  return movesMs + (pre === null && run === null && verify === null ? 0 : workMs);
}

/** Openings that are looked through for what would not fit. */
const OPENINGS_MAX = 60;

/** The parts of a roll that would fit into each opening. */
export interface Fit {
  /** Waves by opening, numbers from 0, in order. */
  readonly openings: readonly {
    readonly from: number;
    readonly until: number | null;
    readonly waves: readonly number[];
  }[];
  /** Waves that are longer than any opening that was looked at. */
  readonly never: readonly number[];
  /** Waves that none of the openings that were looked at has time for. */
  readonly later: readonly number[];
}

/** Foretells in which opening each wave begins, if each takes as long as predicted. `wavesMs`: from `waveMs`. */
export function fitOf(roll: Pick<RollRecord, 'windows' | 'freezes'>, wavesMs: readonly number[], now: number): Fit {
  const openings: { from: number; until: number | null; waves: number[] }[] = [];
  let time = now;
  let next = 0;
  let longestMs = 0;
  for (let looked = 0; looked < OPENINGS_MAX && next < wavesMs.length; looked++) {
    const opening = openingAt(roll, time);
    if (!opening.isOpen) {
      const opens = nextOpening(roll, time);
      if (opens === null) break;
      time = opens;
      continue;
    }
    const { until } = opening;
    longestMs = Math.max(longestMs, until === null ? Number.POSITIVE_INFINITY : until - time);
    const waves: number[] = [];
    const from = time;
    while (next < wavesMs.length && (until === null || time + (wavesMs[next] ?? 0) <= until)) {
      waves.push(next);
      time += wavesMs[next] ?? 0;
      next += 1;
    }
    if (waves.length > 0) openings.push({ from, until, waves });
    if (until === null) break;
    time = until;
  }
  const left = wavesMs.flatMap((ms, wave) => (wave < next ? [] : [{ ms, wave }]));
  return {
    openings,
    never: left.flatMap(({ ms, wave }) => (ms > longestMs ? [wave] : [])),
    later: left.flatMap(({ ms, wave }) => (ms > longestMs ? [] : [wave])),
  };
}

/** When the roll may begin something again, Unix ms; null: never. */
function nextOpening({ windows, freezes }: Pick<RollRecord, 'windows' | 'freezes'>, now: number): number | null {
  const freeze = freezes.find(({ from, until }) => from <= now && now < until);
  if (freeze !== undefined) return freeze.until;
  return windowState(windowsOf(windows), now, 'first').changesAt;
}
