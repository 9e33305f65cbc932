/**
 * Keeping a lease alive and knowing, conservatively, until when it lives.
 *
 * Guarantees: `validUntilMs` is the time of *sending* the last answered request plus the TTL that etcd answered, on the
 * monotonic clock: etcd's own clock for the lease starts later, when it handles the request. A late answer never
 * extends it. Two limits, because of which a lease alone must never guard a write (see election.ts): a machine that is
 * suspended stops the monotonic clock, and etcd before 3.5.13 (all of 3.4 up to 3.4.29 at least) lets a leader that was
 * deposed and does not know yet renew.
 */

import { sleep } from '../base/sleep.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { GrantedLease, KeepOptions, KeptLease, LeaseEnd } from './api.ts';
import { backoffMs } from './backoff.ts';
import type { EtcdChannel, KeepAliveStream } from './channel.ts';
import { EtcdStreamLost, EtcdUnavailable } from './errors.ts';

const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 250;

/** Starts renewing `granted`, three times per TTL. */
export function keepLease(channel: EtcdChannel, granted: GrantedLease, options: KeepOptions = {}): KeptLease {
  const keeper = new Keeper(channel, granted, options);
  return keeper.start();
}

class Keeper {
  readonly #channel: EtcdChannel;
  readonly #clock: Clock;
  readonly #granted: GrantedLease;
  readonly #graceMs: number;
  readonly #stop = new AbortController();
  readonly #outerSignal: AbortSignal | undefined;
  readonly #stepMs: number;
  #validUntilMs: number;
  #isOver = false;

  constructor(channel: EtcdChannel, granted: GrantedLease, options: KeepOptions) {
    this.#channel = channel;
    this.#clock = channel.clock;
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
      isValid: () => validUntilMs() > this.#clock.monotonicMs(),
      expired,
      stop,
    };
  }

  async #run(): Promise<LeaseEnd> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; failures += 1) {
      await sleep(this.#clock, backoffMs(failures, BACKOFF_MS, BACKOFF_MS_MAX), { signal });
      if (signal.aborted) break;
      try {
        const isGone = await this.#renewOnOneStream(() => {
          failures = 0;
        });
        if (isGone) return 'gone';
      } catch (error) {
        if (signal.aborted) break;
        if (!(error instanceof EtcdStreamLost || error instanceof EtcdUnavailable)) throw error;
        if (this.#channel.isClosed) return 'stopped';
      }
      if (this.#clock.monotonicMs() > this.#validUntilMs + this.#graceMs) return 'unreachable';
    }
    return 'stopped';
  }

  /**
   * Renews until the stream fails or an answer is late (returns false) or etcd no longer has the lease (returns true).
   */
  async #renewOnOneStream(onRenewed: () => void): Promise<boolean> {
    const stream = await this.#channel.openKeepAlive(this.#stop.signal);
    // One callback on `ended` for the stream's whole life: a wait of its own for each renewal would pile them up.
    const over = new AbortController();
    const end = (): void => over.abort();
    this.#stop.signal.addEventListener('abort', end, { once: true });
    if (this.#stop.signal.aborted) end();
    void stream.ended.then(end);
    let hasFailed = true;
    try {
      while (!over.signal.aborted) {
        const sentAtMs = this.#clock.monotonicMs();
        const ttlSeconds = await this.#renewInTime(stream);
        if (ttlSeconds === undefined) return false;
        hasFailed = false;
        if (ttlSeconds <= 0) return true;
        this.#validUntilMs = Math.max(this.#validUntilMs, sentAtMs + ttlSeconds * 1_000);
        onRenewed();
        hasFailed = true;
        await sleep(this.#clock, this.#stepMs, { signal: over.signal });
      }
      return false;
    } finally {
      this.#stop.signal.removeEventListener('abort', end);
      stream.close(hasFailed && !this.#stop.signal.aborted ? 'failed' : 'done');
    }
  }

  /** The answer to one renewal; undefined if it is late, which ends the stream, or if the stream has ended. */
  async #renewInTime(stream: KeepAliveStream): Promise<number | undefined> {
    const cancel = this.#clock.after(this.#stepMs, () => stream.close('failed'));
    try {
      return await stream.renew(this.#granted.lease);
    } finally {
      cancel();
    }
  }
}
