/** Reads server-sent events (WHATWG HTML, 9.2.6) from a stream, with a bound on the size of one. */
import { CodedError } from '../base/errors.ts';

const EVENT_CHARS_MAX = 8 * 1024 * 1024;

export interface ServerEvent {
  readonly id: string;
  readonly name: string;
  readonly data: string;
}

/** Comments and events without data are skipped; an event cut off by the stream's end is dropped. */
export async function* readEvents(stream: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? '';
    if (rest.length > EVENT_CHARS_MAX) throw new CodedError('too-large', 'An event of the watch is too large.');
    for (const block of blocks) {
      const event = eventOf(block);
      if (event !== null) yield event;
    }
  }
}

function eventOf(block: string): ServerEvent | null {
  const fields = { id: '', event: 'message', data: [] as string[] };
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, '');
    const name = line.slice(0, colon);
    if (name === 'data') fields.data.push(value);
    else if (name === 'id' || name === 'event') fields[name] = value;
  }
  return fields.data.length === 0 ? null : { id: fields.id, name: fields.event, data: fields.data.join('\n') };
}
