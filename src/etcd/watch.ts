/**
 * Watching a prefix: every change from a revision on, in order, once, over any number of lost connections and members.
 * A stream counts as dead when neither an event nor an answer to our prompts comes for three intervals, or when its
 * transport reports an error. The next stream starts at the first revision not yet delivered (see revisions.ts).
 */

import { sleep } from '../base/sleep.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { WatchOptions } from './api.ts';
import { backoffMs } from './backoff.ts';
import type { EtcdChannel, WatchMessage, WatchStream } from './channel.ts';
import { EtcdCompacted, EtcdStreamLost, EtcdUnavailable } from './errors.ts';
import { RevisionAssembler } from './revisions.ts';

const LIVENESS_MS = 1_000;
const MISSED_MAX = 3;
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 500;

class HandlerFailed extends Error {}

/**
 * Watches until `signal` aborts (resolves). Throws EtcdCompacted when the history is gone, what a handler threw, a
 * refusal of etcd, or EtcdUnavailable when the client is closed; anything else is a reason to connect again.
 */
export async function watchPrefix(channel: EtcdChannel, prefix: string, options: WatchOptions): Promise<void> {
  const { signal } = options;
  const assembler = new RevisionAssembler(options.fromRevision);
  let failures = 0;
  let wasUp = false;
  while (!signal?.aborted) {
    await sleep(channel.clock, backoffMs(failures, BACKOFF_MS, BACKOFF_MS_MAX), { signal });
    if (signal?.aborted) return;
    try {
      failures += 1;
      const onUp = (): boolean => {
        failures = 0;
        const isAgain = wasUp;
        wasUp = true;
        return isAgain;
      };
      await watchOnce({ channel, prefix, assembler, options, onUp });
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof HandlerFailed) throw error.cause;
      const mayComeBack = error instanceof EtcdStreamLost || error instanceof EtcdUnavailable;
      if (channel.isClosed || !mayComeBack) throw error;
      options.onDisconnected?.(error);
    }
  }
}

interface Once {
  readonly channel: EtcdChannel;
  readonly prefix: string;
  readonly assembler: RevisionAssembler;
  readonly options: WatchOptions;
  /** Answers whether a stream was up before. */
  readonly onUp: () => boolean;
}

async function watchOnce({ channel, prefix, assembler, options, onUp }: Once): Promise<void> {
  const { signal } = options;
  const stream = await channel.openWatch(prefix, { fromRevision: assembler.next, signal });
  const liveness = watchLiveness(stream, channel.clock);
  let hasFailed = true;
  try {
    assembler.restart();
    for await (const message of stream.messages) {
      liveness.suspend();
      if (message.kind === 'created') {
        const isAgain = onUp();
        if (isAgain) await reconnected(options);
        options.onConnected?.();
      }
      await takeMessage(message, assembler, options);
      if (signal?.aborted) return;
      liveness.resume();
    }
    throw new EtcdStreamLost('etcd ended the watch stream.');
  } catch (error) {
    hasFailed = !(error instanceof HandlerFailed || error instanceof EtcdCompacted);
    throw error;
  } finally {
    liveness.stop();
    stream.close(hasFailed && !signal?.aborted ? 'failed' : 'done');
  }
}

async function reconnected({ onReconnected }: WatchOptions): Promise<void> {
  try {
    await onReconnected?.();
  } catch (cause) {
    if (cause instanceof EtcdUnavailable) throw cause;
    throw new HandlerFailed('watch handler failed', { cause });
  }
}

async function takeMessage(message: WatchMessage, assembler: RevisionAssembler, options: WatchOptions): Promise<void> {
  if (message.kind === 'progress') {
    if (assembler.progress(message.revision)) options.onProgress?.(message.revision);
  }
  if (message.kind !== 'events') return;
  const events = assembler.push(message.events, message.isFragment);
  const last = events.at(-1);
  if (last === undefined) return;
  try {
    await options.onEvents(events, last.modRevision);
  } catch (cause) {
    throw new HandlerFailed('watch handler failed', { cause });
  }
}

interface Liveness {
  /** A message came; the time its handlers take does not count. */
  suspend(): void;
  resume(): void;
  stop(): void;
}

/**
 * Prompts the member each interval and closes the stream after three without any message. Counts intervals, not time.
 */
function watchLiveness(stream: WatchStream, clock: Clock): Liveness {
  let missed = 0;
  let isSuspended = false;
  const look = (): void => {
    if (!isSuspended) missed += 1;
    if (missed > MISSED_MAX) {
      stream.close('failed');
      return;
    }
    if (!isSuspended) stream.prompt();
    cancel = clock.after(LIVENESS_MS, look);
  };
  let cancel = clock.after(LIVENESS_MS, look);
  return {
    suspend: () => {
      isSuspended = true;
    },
    resume: () => {
      isSuspended = false;
      missed = 0;
    },
    stop: () => cancel(),
  };
}
