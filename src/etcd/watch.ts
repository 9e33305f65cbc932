/**
 * Watching a prefix: every change from a revision on, in order, once, over any number of lost connections and members.
 *
 * A stream counts as dead when neither an event nor an answer to our progress requests comes for three intervals, when
 * HTTP/2 keepalive finds the connection dead, or when its member has had no leader for three election timeouts. The next
 * stream starts at the first revision not yet delivered (see revisions.ts).
 *
 * etcd checks the permission to watch when a watch begins and by what that one member has applied: a member that lags
 * does not know a new user yet. So a watch that is denied counts as refused only when a linearizable read is refused too.
 */
import { create } from '@bufbuild/protobuf';
import { CodedError } from '../base/errors.ts';
import { EtcdCompacted, EtcdUnavailable, isConnectionLoss, outcomeOf, refusal } from './errors.ts';
import { KV, RangeRequestSchema, Watch, WatchRequestSchema, type WatchResponse } from './generated/rpc_pb.js';
import { eventOf, keyBytes, prefixEnd, revisionNumber, type WatchEvent } from './records.ts';
import { RevisionAssembler } from './revisions.ts';
import type { Stream, Transport } from './transport.ts';
import { backoffMs, pause } from './waits.ts';

export interface WatchOptions {
  /** The first revision to deliver: the revision of a list plus one. */
  readonly fromRevision: number;
  readonly signal?: AbortSignal;
  /**
   * The events of one or more whole revisions, in order; `revision` is the last of them. Nothing further is read until
   * a returned promise settles. What it throws ends the watch and is thrown by it.
   */
  readonly onEvents: (events: readonly WatchEvent[], revision: number) => void | Promise<void>;
  /** Everything up to `revision` has been delivered, though nothing under the prefix changed. */
  readonly onProgress?: (revision: number) => void;
  /** The stream was lost; what is known grows stale until `onConnected`. */
  readonly onDisconnected?: (error: unknown) => void;
  /** A stream is up (first and after each loss). */
  readonly onConnected?: () => void;
}

const LIVENESS_MS = 1_000;
const MISSED_MAX = 3;
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 500;

class HandlerFailed extends Error {}

/** The member denied the watch: perhaps a decision, perhaps it lags. */
class WatchDenied extends CodedError {
  constructor(reason: string) {
    super('unavailable', `An etcd member denied the watch: ${reason}.`);
  }
}

/**
 * Watches until `signal` aborts (resolves). Throws EtcdCompacted when the history is gone, what a handler threw, a
 * refusal of etcd, or EtcdUnavailable when the client is closed; anything else is a reason to connect again.
 */
export async function watchPrefix(transport: Transport, prefix: string, options: WatchOptions): Promise<void> {
  const { signal } = options;
  const assembler = new RevisionAssembler(options.fromRevision);
  let failures = 0;
  while (!signal?.aborted) {
    await pause(backoffMs(failures, BACKOFF_MS, BACKOFF_MS_MAX), signal);
    try {
      failures += 1;
      await watchOnce({ transport, prefix, assembler, options, onUp: () => (failures = 0) });
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof HandlerFailed) throw error.cause;
      if (outcomeOf(error) === 'refused') throw refusal(error, 'the watch');
      if (transport.isClosed || !isConnectionLoss(error)) throw error;
      if (error instanceof WatchDenied) await throwIfForbidden(transport, prefix, signal);
      if (signal?.aborted) return;
      options.onDisconnected?.(error);
    }
  }
}

/** Throws the refusal of reading the prefix; returns when it may be read, or when nobody can tell now. */
async function throwIfForbidden(transport: Transport, prefix: string, signal?: AbortSignal): Promise<void> {
  const key = keyBytes(prefix);
  const request = create(RangeRequestSchema, { key, rangeEnd: prefixEnd(key), limit: 1n, countOnly: true });
  try {
    await transport.unary({ method: KV.method.range, request, repeatable: true, signal });
  } catch (error) {
    if (signal?.aborted || error instanceof EtcdUnavailable) return;
    throw error;
  }
}

interface Once {
  readonly transport: Transport;
  readonly prefix: string;
  readonly assembler: RevisionAssembler;
  readonly options: WatchOptions;
  readonly onUp: () => void;
}

type WatchStream = Stream<typeof WatchRequestSchema, typeof Watch.method.watch.output>;

async function watchOnce({ transport, prefix, assembler, options, onUp }: Once): Promise<void> {
  const stream = await transport.open(Watch.method.watch, options.signal);
  const liveness = watchLiveness(stream);
  let hasFailed = true;
  try {
    assembler.restart();
    const key = keyBytes(prefix);
    const startRevision = BigInt(assembler.next);
    const value = { key, rangeEnd: prefixEnd(key), startRevision, progressNotify: true, fragment: true };
    stream.send(create(WatchRequestSchema, { requestUnion: { case: 'createRequest', value } }));
    for await (const message of stream.messages) {
      liveness.suspend();
      if (message.created && !message.canceled) {
        onUp();
        options.onConnected?.();
      }
      await takeMessage(message, assembler, options);
      liveness.resume();
    }
    throw new CodedError('unavailable', 'etcd ended the watch stream.');
  } catch (error) {
    hasFailed = !(error instanceof HandlerFailed || error instanceof EtcdCompacted);
    throw error;
  } finally {
    liveness.stop();
    stream.close(hasFailed && !options.signal?.aborted ? 'failed' : 'done');
  }
}

async function takeMessage(message: WatchResponse, assembler: RevisionAssembler, options: WatchOptions): Promise<void> {
  if (message.compactRevision > 0n) throw new EtcdCompacted(revisionNumber(message.compactRevision));
  if (message.canceled) {
    if (/permission denied/.test(message.cancelReason)) throw new WatchDenied(message.cancelReason);
    throw new CodedError('unavailable', `etcd ended the watch: ${message.cancelReason || 'no reason'}.`);
  }
  if (message.events.length > 0) {
    const events = assembler.push(message.events.map(eventOf), message.fragment);
    const last = events.at(-1);
    if (last === undefined) return;
    try {
      await options.onEvents(events, last.modRevision);
    } catch (cause) {
      throw new HandlerFailed('watch handler failed', { cause });
    }
    return;
  }
  // Only the periodic message of our own watch (id 0 and up) proves that nothing is missing, see revisions.ts.
  if (message.created || message.watchId < 0n) return;
  const revision = revisionNumber(message.header?.revision);
  if (assembler.progress(revision)) options.onProgress?.(revision);
}

interface Liveness {
  /** A message came; the time its handlers take does not count. */
  suspend(): void;
  resume(): void;
  stop(): void;
}

/** Asks for progress each interval and closes the stream after three without any message. Counts intervals, not time. */
function watchLiveness(stream: WatchStream): Liveness {
  let missed = 0;
  let isSuspended = false;
  const ask = create(WatchRequestSchema, { requestUnion: { case: 'progressRequest', value: {} } });
  const timer = setInterval(() => {
    if (isSuspended) return;
    missed += 1;
    if (missed <= MISSED_MAX) {
      stream.send(ask);
    } else {
      clearInterval(timer);
      stream.close('failed');
    }
  }, LIVENESS_MS);
  return {
    suspend: () => {
      isSuspended = true;
    },
    resume: () => {
      isSuspended = false;
      missed = 0;
    },
    stop: () => clearInterval(timer),
  };
}
