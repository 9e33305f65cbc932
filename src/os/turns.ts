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

/** Texts that are sorted, or merged, as one piece. */
const SORTED_AT_ONCE = 1_000;

/** Sorts texts in the order of JavaScript's `<`, in turns. */
export async function sortedInTurns(texts: readonly string[]): Promise<readonly string[]> {
  let sorted: readonly string[] = [];
  await inTurns(sorting(texts), (merged) => {
    sorted = merged;
  });
  return sorted;
}

/** Sorts runs of texts, and merges two runs at a time; the last list is the result. */
function* sorting(texts: readonly string[]): Generator<readonly string[], void> {
  let runs: (readonly string[])[] = [];
  for (let from = 0; from < texts.length; from += SORTED_AT_ONCE) {
    runs.push(texts.slice(from, from + SORTED_AT_ONCE).sort());
    yield [];
  }
  while (runs.length > 1) {
    const merged: (readonly string[])[] = [];
    for (let pair = 0; pair < runs.length; pair += 2)
      merged.push(yield* merging(runs[pair] ?? [], runs[pair + 1] ?? []));
    runs = merged;
  }
  yield runs[0] ?? [];
}

function* merging(a: readonly string[], b: readonly string[]): Generator<readonly string[], readonly string[]> {
  const merged: string[] = [];
  for (let [x, y] = [0, 0]; x < a.length || y < b.length; ) {
    const [left, right] = [a[x], b[y]];
    const isLeft = right === undefined || (left !== undefined && left <= right);
    const next = isLeft ? left : right;
    if (isLeft) x += 1;
    else y += 1;
    if (next !== undefined) merged.push(next);
    if (merged.length % SORTED_AT_ONCE === 0) yield [];
  }
  return merged;
}
