/**
 * Server-sent events of the watch. Guarantees: the stream begins with a comment at once, is never silent for longer
 * than the heartbeat, takes no more from the backend than the client reads, and ends the watch when the client goes.
 */
import { Readable } from 'node:stream';
import type { WatchChange } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { problemOf } from '../../base/problem.ts';

const RETRY_MS = 1_000;

/** `signal` ends the stream; a client that is still connected gets the signal's reason as problem details. */
export function eventStream(changes: AsyncIterable<WatchChange>, heartbeatMs: number, signal: AbortSignal): Readable {
  return Readable.from(frames(changes, heartbeatMs, signal), { objectMode: false });
}

async function* frames(
  changes: AsyncIterable<WatchChange>,
  heartbeatMs: number,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const iterator = changes[Symbol.asyncIterator]();
  yield `retry: ${RETRY_MS}\n\n`;
  try {
    let next = iterator.next();
    while (!signal.aborted) {
      const change = await beforeHeartbeat(next, heartbeatMs, signal);
      if (change === 'silence') {
        yield ': heartbeat\n\n';
        continue;
      }
      if (change === 'aborted') break;
      if (change.done === true) return;
      yield frame(change.value);
      next = iterator.next();
    }
    yield problemFrame(signal.reason);
  } catch (error) {
    yield problemFrame(signal.aborted ? signal.reason : error);
  } finally {
    // Not awaited: a backend that waits for a change ends by the signal, and must not keep the answer open.
    iterator.return?.().catch(() => undefined);
  }
}

function frame(change: WatchChange): string {
  return `id: ${change.revision}\nevent: ${change.kind}\ndata: ${JSON.stringify(change)}\n\n`;
}

function problemFrame(error: unknown): string {
  const coded = error instanceof CodedError ? error : new CodedError('failed', 'The watch ended.', { cause: error });
  return `event: problem\ndata: ${JSON.stringify(problemOf(coded))}\n\n`;
}

async function beforeHeartbeat<T>(
  next: Promise<T>,
  heartbeatMs: number,
  signal: AbortSignal,
): Promise<T | 'silence' | 'aborted'> {
  const { promise, resolve } = Promise.withResolvers<'silence' | 'aborted'>();
  const timer = setTimeout(() => resolve('silence'), heartbeatMs);
  const aborted = (): void => resolve('aborted');
  signal.addEventListener('abort', aborted, { once: true });
  if (signal.aborted) aborted();
  try {
    return await Promise.race([next, promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', aborted);
  }
}
