/**
 * The operations on etcd that the rest of Groundplane uses, for both the real client (client.ts) and the simulated one
 * (src/sim/etcd): elections, the store and its followers use only this interface.
 * Guarantees of either: every call ends within its deadline on `clock`; reads are linearizable; a change is sent at
 * most once, and an unknown outcome is EtcdDeadlineUnknown, never a failure; every error is a CodedError (see
 * errors.ts), or the reason of the signal for a read that was aborted.
 */
import type { Clock } from '../core/ports/clock.ts';
import type { KeyValue, Transaction, WatchEvent } from './records.ts';

/** Options of every call. `deadlineMs`: by default that of the client (2 s unless set otherwise). */
export interface CallOptions {
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

/** `deadlineMs` is that of each page. */
export interface ListOptions extends CallOptions {
  /** More records than this are an error (`too-large`), default 200,000. */
  readonly entriesMax?: number;
}

export interface Listing {
  /** The revision of the whole listing; a watch continues at the next one. */
  readonly revision: number;
  /** In the order of their keys. */
  readonly entries: readonly KeyValue[];
}

export interface TxnResult {
  /** Whether the conditions were met. */
  readonly succeeded: boolean;
  /** The store's revision after the transaction: the modRevision of what it wrote. */
  readonly revision: number;
  /** The answers to the `get`s of the branch that was taken, in order. */
  readonly reads: readonly (KeyValue | undefined)[];
}

export interface WatchOptions {
  /** The first revision to deliver: the revision of a list plus one. */
  readonly fromRevision: number;
  readonly signal?: AbortSignal;
  /**
   * The events of one or more whole revisions, in order; `revision` is the last of them. Nothing further is read until
   * a returned promise settles. An error that it throws ends the watch and is thrown by it.
   */
  readonly onEvents: (events: readonly WatchEvent[], revision: number) => void | Promise<void>;
  /** Everything up to `revision` has been delivered, though nothing under the prefix changed. */
  readonly onProgress?: (revision: number) => void;
  /** The stream was lost; what is known grows stale until `onConnected`. */
  readonly onDisconnected?: (error: unknown) => void;
  /** A stream is up (first and after each loss). */
  readonly onConnected?: () => void;
  /**
   * A stream is up after one was lost; nothing is delivered until it settles. An error that it throws ends the watch and
   * is thrown by it, but for EtcdUnavailable: then the next stream is tried.
   */
  readonly onReconnected?: () => Promise<void>;
}

/** A lease as etcd granted it. */
export interface GrantedLease {
  /** A decimal number. */
  readonly lease: string;
  /** As granted: etcd raises it to its minimum, 1.5 election timeouts in whole seconds (see member.ts). */
  readonly ttlSeconds: number;
  /** Time of sending plus TTL, on the clock's monotonic time. */
  readonly validUntilMs: number;
}

/**
 * `gone`: etcd no longer has it. `unreachable`: not confirmed for longer than TTL plus grace. `stopped`: by our side.
 */
export type LeaseEnd = 'gone' | 'unreachable' | 'stopped';

export interface KeptLease {
  readonly lease: string;
  readonly ttlSeconds: number;
  /**
   * The time until which etcd certainly still has the lease, on the clock's monotonic time. Grows with each renewal.
   */
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
  /** How long after validUntilMs to keep trying before `expired` reports `unreachable`, default 5000 ms. */
  readonly graceMs?: number;
}

/** etcd as a process of ours has it. */
export interface Etcd {
  /** The clock of this process: everything about etcd is measured and waited for on it. */
  readonly clock: Clock;
  /** Whether the client was closed: every call then fails at once. */
  readonly isClosed: boolean;
  /** The record of `key`, or undefined. */
  get(key: string, options?: CallOptions): Promise<KeyValue | undefined>;
  /** All records under `prefix` as of one revision. */
  list(prefix: string, options?: ListOptions): Promise<Listing>;
  /**
   * Applies a transaction, once. Throws EtcdUnavailable (not applied), EtcdDeadlineUnknown (sent, but no answer, also
   * when aborted), `not-found` for a lease that does not exist, `too-large`, or `failed` if etcd refuses it.
   */
  txn(transaction: Transaction, options?: CallOptions): Promise<TxnResult>;
  /** Delivers every change under `prefix`, in order, once, until the signal aborts (see watch.ts). */
  watch(prefix: string, options: WatchOptions): Promise<void>;
  /** Grants a lease of at least `ttlSeconds`, a whole number. A grant whose answer was lost expires by itself. */
  leaseGrant(ttlSeconds: number, options?: CallOptions): Promise<GrantedLease>;
  /** Revokes a lease and deletes its keys. A lease that is gone already is no error. */
  leaseRevoke(lease: string, options?: CallOptions): Promise<void>;
  /** Renews a lease until it ends, `stop()` or the signal (see lease.ts). */
  keepLease(granted: GrantedLease, options?: KeepOptions): KeptLease;
}
