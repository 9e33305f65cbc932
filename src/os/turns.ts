/** Splits long work into short turns, so that the event loop serves other work in between. */
import { setImmediate } from 'node:timers/promises';
import { monotonicMs } from './monotonic.ts';

/** Longest turn of such work, in ms. */
const TURN_MS = 5;

/** Returns when a turn that begins now has to end, on the clock of `monotonicMs`. */
export function endOfTurn(): number {
  return monotonicMs() + TURN_MS;
}

/**
 * Runs `work` for every item, some milliseconds at a time. Whether items that are added in the meantime are included
 * depends on their source.
 */
export async function inTurns<T>(items: Iterable<T>, work: (item: T) => void): Promise<void> {
  let endsAtMs = endOfTurn();
  for (const item of items) {
    work(item);
    if (monotonicMs() < endsAtMs) continue;
    await setImmediate();
    endsAtMs = endOfTurn();
  }
}
