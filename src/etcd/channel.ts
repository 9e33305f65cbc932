/**
 * The two long-lived conversations with an etcd member, below the code that keeps them going (watch.ts, lease.ts) and
 * above what carries them: gRPC (grpc-channel.ts), or the simulated network. Each conversation is with one member; when
 * it ends, the next one may be with another.
 */
import type { Clock } from '../core/ports/clock.ts';
import type { WatchEvent } from './records.ts';

/** A message of a member to a watcher. */
export type WatchMessage =
  | { readonly kind: 'created' }
  /** `isFragment`: the rest of the last revision comes with the next message. */
  | { readonly kind: 'events'; readonly events: readonly WatchEvent[]; readonly isFragment: boolean }
  /** Everything up to `revision` was sent on this stream. */
  | { readonly kind: 'progress'; readonly revision: number }
  /** The member lives, and nothing more. */
  | { readonly kind: 'alive' };

/** `failed`: pass this member over for a while. */
export type StreamOutcome = 'done' | 'failed';

/** `messages` throws EtcdStreamLost when another stream may do better, else what etcd refused. */
export interface WatchStream {
  readonly messages: AsyncIterable<WatchMessage>;
  /** Asks the member for any message, to find out whether it is alive. */
  prompt(): void;
  /** Ends the stream and its messages; always call it when done. */
  close(outcome: StreamOutcome): void;
}

export interface KeepAliveStream {
  /**
   * Asks for one renewal: the TTL in seconds, 0 or less when the lease is gone, undefined if the stream ended. Throws
   * EtcdStreamLost.
   */
  renew(lease: string): Promise<number | undefined>;
  /** Resolves when the stream has ended, on either side. */
  readonly ended: Promise<void>;
  /** Ends the stream and the waits on it; always call it when done. */
  close(outcome: StreamOutcome): void;
}

/**
 * How a process of ours opens such conversations. Both operations throw EtcdStreamLost or EtcdUnavailable if no member
 * can be reached.
 */
export interface EtcdChannel {
  readonly clock: Clock;
  readonly isClosed: boolean;
  openWatch(
    prefix: string,
    options: { readonly fromRevision: number; readonly signal?: AbortSignal | undefined },
  ): Promise<WatchStream>;
  openKeepAlive(signal: AbortSignal): Promise<KeepAliveStream>;
}
