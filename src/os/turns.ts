/** Long work in short turns, so that the event loop serves others in between. */
import { setImmediate } from 'node:timers/promises';
import { monotonicMs } from './monotonic.ts';

/** Longest stretch of such work in one turn of the event loop, in ms. */
const TURN_MS = 5;

/** When a turn that begins now is to end, on the clock of `monotonicMs`. */
export function endOfTurn(): number {
  return monotonicMs() + TURN_MS;
}

/** Does `work` for every item, some milliseconds at a time. Items that come meanwhile may be left out, as their source decides. */
export async function inTurns<T>(items: Iterable<T>, work: (item: T) => void): Promise<void> {
  let endsAtMs = endOfTurn();
  for (const item of items) {
    work(item);
    if (monotonicMs() < endsAtMs) continue;
    await setImmediate();
    endsAtMs = endOfTurn();
  }
}
