/**
 * Keeping a lease alive and knowing, conservatively, until when it lives.
 *
 * Guarantees: `validUntilMs` is the time of *sending* the last answered request plus the TTL that etcd answered, on the
 * monotonic clock: etcd's own clock for the lease starts later, when it handles the request. A late answer never extends
 * it. Two limits, because of which a lease alone must never guard a write (see election.ts): a machine that is suspended
 * stops the monotonic clock, and etcd before 3.5.13 (all of 3.4 up to 3.4.29 at least) lets a leader that was deposed and does not know yet renew.
 */
import { create } from '@bufbuild/protobuf';
import { isConnectionLoss } from './errors.ts';
import { Lease, LeaseKeepAliveRequestSchema, type LeaseKeepAliveResponse } from './generated/rpc_pb.js';
import { leaseId } from './records.ts';
import type { Stream, Transport } from './transport.ts';
import { backoffMs, monotonicMs, pause } from './waits.ts';

/** A lease as etcd granted it. */
export interface GrantedLease {
  /** A decimal number. */
  readonly lease: string;
  /** As granted: etcd raises it to its minimum, 1.5 election timeouts in whole seconds (see member.ts). */
  readonly ttlSeconds: number;
  /** Monotonic time of sending plus TTL. */
  readonly validUntilMs: number;
}

/** `gone`: etcd no longer has it. `unreachable`: not confirmed for longer than TTL plus grace. `stopped`: by our side. */
export type LeaseEnd = 'gone' | 'unreachable' | 'stopped';

export interface KeptLease {
  readonly lease: string;
  readonly ttlSeconds: number;
  /** Until when, on the monotonic clock (`performance.now()`), etcd certainly still has the lease. Grows with each renewal. */
  readonly validUntilMs: number;
  /** Whether validUntilMs has not passed. May become true again after a gap: the lease was then alive all along. */
  isValid(): boolean;
  /** Resolves once, when keeping the lease has ended. Rejects for bugs only. */
  readonly expired: Promise<LeaseEnd>;
  /** Ends the renewals; the lease then expires by itself unless it is revoked. */
  stop(): void;
}

export interface KeepOptions {
  readonly signal?: AbortSignal;
  /** How long after validUntilMs to go on trying before `expired` says `unreachable`, default 5000 ms. */
  readonly graceMs?: number;
}

const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 250;

/** Starts renewing `granted`, three times per TTL. */
export function keepLease(transport: Transport, granted: GrantedLease, options: KeepOptions = {}): KeptLease {
  const keeper = new Keeper(transport, granted, options);
  return keeper.start();
}

class Keeper {
  readonly #transport: Transport;
  readonly #granted: GrantedLease;
  readonly #graceMs: number;
  readonly #stop = new AbortController();
  readonly #outerSignal: AbortSignal | undefined;
  readonly #stepMs: number;
  #validUntilMs: number;
  #isOver = false;

  constructor(transport: Transport, granted: GrantedLease, options: KeepOptions) {
    this.#transport = transport;
    this.#granted = granted;
    this.#graceMs = options.graceMs ?? 5_000;
    this.#outerSignal = options.signal;
    this.#stepMs = (granted.ttlSeconds * 1_000) / 3;
    this.#validUntilMs = granted.validUntilMs;
  }

  start(): KeptLease {
    const stop = (): void => this.#stop.abort();
    this.#outerSignal?.addEventListener('abort', stop, { once: true });
    if (this.#outerSignal?.aborted) stop();
    const expired = this.#run().finally(() => {
      this.#isOver = true;
      this.#outerSignal?.removeEventListener('abort', stop);
    });
    const validUntilMs = (): number => (this.#isOver ? Math.min(this.#validUntilMs, 0) : this.#validUntilMs);
    return {
      lease: this.#granted.lease,
      ttlSeconds: this.#granted.ttlSeconds,
      get validUntilMs() {
        return validUntilMs();
      },
      isValid: () => validUntilMs() > monotonicMs(),
      expired,
      stop,
    };
  }

  async #run(): Promise<LeaseEnd> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; failures += 1) {
      await pause(backoffMs(failures, BACKOFF_MS, BACKOFF_MS_MAX), signal);
      try {
        const isGone = await this.#renewOnOneStream(() => {
          failures = 0;
        });
        if (isGone) return 'gone';
      } catch (error) {
        if (signal.aborted) break;
        // A refusal (of our identity, say) is tried again like a loss: until the lease has run out it may change.
        if (!isConnectionLoss(error)) throw error;
        if (this.#transport.isClosed) return 'stopped';
      }
      if (monotonicMs() > this.#validUntilMs + this.#graceMs) return 'unreachable';
    }
    return 'stopped';
  }

  /** Renews until the stream fails or an answer is late (returns false) or etcd no longer has the lease (returns true). */
  async #renewOnOneStream(onRenewed: () => void): Promise<boolean> {
    const { signal } = this.#stop;
    const stream = await this.#transport.open(Lease.method.leaseKeepAlive, signal);
    const request = create(LeaseKeepAliveRequestSchema, { ID: leaseId(this.#granted.lease) });
    const answers = stream.messages[Symbol.asyncIterator]();
    let hasFailed = true;
    try {
      while (!signal.aborted) {
        const sentAtMs = monotonicMs();
        stream.send(request);
        const answer = await nextWithin(stream, answers, this.#stepMs);
        if (answer === undefined) return false;
        hasFailed = false;
        if (answer.TTL <= 0n) return true;
        this.#validUntilMs = Math.max(this.#validUntilMs, sentAtMs + Number(answer.TTL) * 1_000);
        onRenewed();
        hasFailed = true;
        await pause(this.#stepMs, signal, stream.ended);
      }
      return false;
    } finally {
      stream.close(hasFailed && !signal.aborted ? 'failed' : 'done');
    }
  }
}

type KeepAliveStream = Stream<typeof LeaseKeepAliveRequestSchema, typeof Lease.method.leaseKeepAlive.output>;

/** The next answer, or undefined when it is late or the stream has ended. Throws the stream's error. */
async function nextWithin(
  stream: KeepAliveStream,
  answers: AsyncIterator<LeaseKeepAliveResponse>,
  limitMs: number,
): Promise<LeaseKeepAliveResponse | undefined> {
  const timer = setTimeout(() => stream.close('failed'), limitMs);
  try {
    const result = await answers.next();
    return result.done ? undefined : result.value;
  } finally {
    clearTimeout(timer);
  }
}
