/**
 * Conversations with etcd members over gRPC (see channel.ts).
 * etcd checks the permission to watch when a watch begins, using the state that this one member has applied: a member
 * that lags does not know a new user yet. So a watch that is denied counts as refused only when a linearizable read is
 * refused too.
 */
import { create } from '@bufbuild/protobuf';
import { CodedError } from '../base/errors.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { EtcdChannel, KeepAliveStream, WatchMessage, WatchStream } from './channel.ts';
import { EtcdCompacted, EtcdStreamLost, EtcdUnavailable } from './errors.ts';
import {
  KV,
  Lease,
  LeaseKeepAliveRequestSchema,
  RangeRequestSchema,
  Watch,
  WatchRequestSchema,
  type WatchResponse,
} from './generated/rpc_pb.js';
import { isConnectionLoss, outcomeOf, refusal } from './grpc-errors.ts';
import { eventOf } from './messages.ts';
import { keyBytes, leaseId, prefixEnd, revisionNumber } from './records.ts';
import { type Transport, transportClock } from './transport.ts';

/** The real channel: streams of a transport. */
export class GrpcChannel implements EtcdChannel {
  readonly clock: Clock = transportClock;
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  get isClosed(): boolean {
    return this.#transport.isClosed;
  }

  async openWatch(
    prefix: string,
    { fromRevision, signal }: { readonly fromRevision: number; readonly signal?: AbortSignal | undefined },
  ): Promise<WatchStream> {
    const key = keyBytes(prefix);
    const stream = await this.#transport.open(Watch.method.watch, signal);
    const startRevision = BigInt(fromRevision);
    const value = { key, rangeEnd: prefixEnd(key), startRevision, progressNotify: true, fragment: true };
    stream.send(create(WatchRequestSchema, { requestUnion: { case: 'createRequest', value } }));
    const ask = create(WatchRequestSchema, { requestUnion: { case: 'progressRequest', value: {} } });
    return {
      messages: this.#watchMessages(stream.messages, prefix, signal),
      prompt: () => stream.send(ask),
      close: (outcome) => stream.close(outcome),
    };
  }

  async *#watchMessages(
    messages: AsyncIterable<WatchResponse>,
    prefix: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<WatchMessage, void, void> {
    try {
      for await (const message of messages) {
        if (message.canceled && /permission denied/.test(message.cancelReason)) {
          await this.#throwIfForbidden(prefix, signal);
          throw new EtcdStreamLost(`An etcd member denied the watch: ${message.cancelReason}.`);
        }
        yield* watchMessagesOf(message);
      }
    } catch (error) {
      if (outcomeOf(error) === 'refused') throw refusal(error, 'the watch');
      throw lossOf(error, 'The watch stream');
    }
  }

  /** Throws the refusal of reading the prefix; returns if it may be read, or if that cannot be determined now. */
  async #throwIfForbidden(prefix: string, signal: AbortSignal | undefined): Promise<void> {
    const key = keyBytes(prefix);
    const request = create(RangeRequestSchema, { key, rangeEnd: prefixEnd(key), limit: 1n, countOnly: true });
    try {
      await this.#transport.unary({ method: KV.method.range, request, repeatable: true, signal });
    } catch (error) {
      if (signal?.aborted || error instanceof EtcdUnavailable) return;
      throw error;
    }
  }

  async openKeepAlive(signal: AbortSignal): Promise<KeepAliveStream> {
    const stream = await this.#transport.open(Lease.method.leaseKeepAlive, signal);
    const answers = stream.messages[Symbol.asyncIterator]();
    return {
      ended: stream.ended,
      renew: async (lease) => {
        stream.send(create(LeaseKeepAliveRequestSchema, { ID: leaseId(lease) }));
        try {
          const result = await answers.next();
          return result.done ? undefined : Number(result.value.TTL);
        } catch (error) {
          // A refusal (of our identity, say) counts as a loss: until the lease has run out it may change.
          throw lossOf(error, 'The renewal of a lease');
        }
      },
      close: (outcome) => stream.close(outcome),
    };
  }
}

function* watchMessagesOf(message: WatchResponse): Generator<WatchMessage, void, void> {
  if (message.compactRevision > 0n) throw new EtcdCompacted(revisionNumber(message.compactRevision));
  if (message.canceled) throw new EtcdStreamLost(`etcd ended the watch: ${message.cancelReason || 'no reason'}.`);
  if (message.created) yield { kind: 'created' };
  if (message.events.length > 0) {
    yield { kind: 'events', events: message.events.map(eventOf), isFragment: message.fragment };
  } else if (!message.created) {
    // Only the periodic message of our own watch (id 0 and up) proves that nothing is missing, see revisions.ts.
    const isOurs = message.watchId >= 0n;
    yield isOurs ? { kind: 'progress', revision: revisionNumber(message.header?.revision) } : { kind: 'alive' };
  }
}

/** The error of a stream as channel.ts promises it. */
function lossOf(error: unknown, what: string): unknown {
  if (error instanceof CodedError || !isConnectionLoss(error)) return error;
  return new EtcdStreamLost(`${what} to etcd broke.`, error);
}
