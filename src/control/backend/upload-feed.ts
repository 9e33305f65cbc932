/**
 * Splits one upload into several streams: its first bytes for inspection, and the whole of it for each storage node.
 * Memory holds only the bytes that the slowest node has not taken yet.
 */
import type { PassThrough, Readable } from 'node:stream';

/** The first bytes of a stream (fewer where it is shorter), and the whole of it still to be read. */
export async function peek(source: Readable, bytes: number): Promise<{ head: Buffer; body: AsyncIterable<Buffer> }> {
  const iterator = (source as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  const chunks: Buffer[] = [];
  let have = 0;
  while (have < bytes) {
    const next = await iterator.next();
    if (next.done === true) break;
    chunks.push(next.value);
    have += next.value.length;
  }
  const begun = Buffer.concat(chunks);
  const rest = async function* (): AsyncGenerator<Buffer> {
    yield begun;
    yield* { [Symbol.asyncIterator]: () => iterator };
  };
  return { head: begun.subarray(0, bytes), body: rest() };
}

/**
 * Copies one stream into several; the slowest sets the pace, one that failed is left out. Throws what the source
 * throws.
 */
export async function feed(source: AsyncIterable<Buffer>, sinks: readonly PassThrough[]): Promise<void> {
  const live = new Set(sinks);
  for (const sink of sinks) {
    sink.once('error', () => live.delete(sink));
    sink.once('close', () => live.delete(sink));
  }
  try {
    for await (const chunk of source) {
      await Promise.all([...live].filter((sink) => !sink.write(chunk)).map(writable));
      if (live.size === 0) return;
    }
    for (const sink of live) sink.end();
  } catch (error) {
    for (const sink of live) sink.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

/** Resolves when `sink` takes more, or never will. */
function writable(sink: PassThrough): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      sink.off('drain', end).off('close', end);
      resolve();
    };
    sink.once('drain', end).once('close', end);
  });
}
