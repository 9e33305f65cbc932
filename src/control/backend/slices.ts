/** Work over long lists, done in slices: between two of them everybody else has a turn of the event loop. */
import { setImmediate } from 'node:timers/promises';

/** How long one slice may take. */
const SLICE_MS = 10;

/** `act` of every item, in order. What it reads may change between two items. */
export async function inSlices<T, R>(items: Iterable<T>, act: (item: T) => R): Promise<R[]> {
  const results: R[] = [];
  let since = performance.now();
  for (const item of items) {
    results.push(act(item));
    if (performance.now() - since < SLICE_MS) continue;
    await setImmediate();
    since = performance.now();
  }
  return results;
}
