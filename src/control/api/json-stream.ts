/** Long lists as JSON, written in parts: between two of them everybody else has a turn of the event loop. */
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';

/** Items from which on a list is written in parts. */
const ITEMS_MAX = 200;
/** Characters of a part: about a millisecond's work. */
const PART_CHARS = 128 * 1024;

/** A value as JSON: text, or for a long list a stream of the same text. */
export function jsonText(value: unknown): string | Readable {
  if (!Array.isArray(value) || value.length <= ITEMS_MAX) return JSON.stringify(value);
  return Readable.from(partsOf(value), { objectMode: false });
}

async function* partsOf(items: readonly unknown[]): AsyncGenerator<string> {
  let part = '[';
  for (const [index, item] of items.entries()) {
    part += `${index === 0 ? '' : ','}${JSON.stringify(item)}`;
    if (part.length < PART_CHARS) continue;
    yield part;
    part = '';
    await setImmediate();
  }
  yield `${part}]`;
}
