/**
 * The etcd client of one simulated process. Leases and watches are kept going by the code of production (etcd/lease.ts,
 * etcd/watch.ts); below that, calls behave as etcd/transport.ts has it.
 *
 * Guarantees: those of etcd/api.ts, on the process's own clock. A call that must not be repeated is sent once, over a
 * connection that was up: without an answer it is unknown, whether it arrived or not. One that may be repeated moves on
 * to other members.
 */
import { CodedError } from '../../base/errors.ts';
import { sleep } from '../../base/sleep.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type {
  CallOptions,
  Etcd,
  GrantedLease,
  KeepOptions,
  KeptLease,
  Listing,
  ListOptions,
  TxnResult,
  WatchOptions,
} from '../../etcd/api.ts';
import { backoffMs } from '../../etcd/backoff.ts';
import type { EtcdChannel, KeepAliveStream, WatchStream } from '../../etcd/channel.ts';
import { EtcdDeadlineUnknown, EtcdStreamLost, EtcdUnavailable } from '../../etcd/errors.ts';
import { keepLease } from '../../etcd/lease.ts';
import { type KeyValue, keyBytes, leaseId, type Transaction } from '../../etcd/records.ts';
import { watchPrefix } from '../../etcd/watch.ts';
import { MemberRefused, type SimEtcd } from './sim-etcd.ts';
import { SimWatchStream } from './sim-watch-stream.ts';

/** How what one process says reaches the members of etcd, and comes back. */
export interface EtcdRoute {
  /**
   * Has `serve` called at `member`, and carries its answer back, or what it throws, within `deadlineMs` of the
   * process's clock. Rejects with CodedError 'unavailable' where nobody listens there, else with 'deadline'. It may be
   * called twice.
   */
  call<T>(member: string, deadlineMs: number, serve: () => Promise<T>): Promise<T>;
  /** Has `deliver` called at the member: once, twice, late, or never. */
  tell(member: string, deliver: () => void): void;
  /** The other way: from the member's machine to the process. */
  push(member: string, deliver: () => void): void;
}

export interface SimEtcdClientOptions {
  readonly etcd: SimEtcd;
  readonly route: EtcdRoute;
  /** The process's own. */
  readonly clock: Clock;
  /** Which member is asked first: its index, default 0. */
  readonly first?: number;
  readonly deadlineMsDefault?: number;
}

interface Connection {
  readonly member: string;
  /** Whether the last that was heard of it was an answer. */
  isUp: boolean;
  avoidUntilMs: number;
}

/** See etcd/grpc-errors.ts. */
type Outcome = 'refused' | 'not-applied' | 'unknown';

const DEADLINE_MS = 2_000;
const OPEN_MS = 2_000;
const CONNECT_MS = 1_000;
const AVOID_MS = 1_000;
const ATTEMPT_MS_MIN = 500;
const ATTEMPTS_MAX = 64;
const ENTRIES_MAX = 200_000;

/** What close() and aborted signals do to a call. */
class Cut extends Error {
  override readonly message = 'The call was given up.';
}

/** See the module's comment. */
export class SimEtcdClient implements Etcd, EtcdChannel {
  readonly clock: Clock;
  readonly #etcd: SimEtcd;
  readonly #route: EtcdRoute;
  readonly #connections: readonly Connection[];
  readonly #deadlineMsDefault: number;
  readonly #streams = new Set<SimWatchStream>();
  /** What close() has to cut. */
  readonly #cuts = new Set<() => void>();
  #current: number;
  #isClosed = false;

  constructor({ etcd, route, clock, first = 0, deadlineMsDefault = DEADLINE_MS }: SimEtcdClientOptions) {
    this.#etcd = etcd;
    this.#route = route;
    this.clock = clock;
    this.#connections = etcd.members.map((member) => ({ member, isUp: false, avoidUntilMs: 0 }));
    this.#current = first % this.#connections.length;
    this.#deadlineMsDefault = deadlineMsDefault;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Ends every call, watch and renewal. Leases are left to expire. */
  close(): void {
    this.#isClosed = true;
    for (const cut of [...this.#cuts]) cut();
    for (const stream of [...this.#streams]) stream.end();
  }

  /** All connections break, as by a reset of TCP: whatever is under way fails, and may be tried again at once. */
  reset(): void {
    for (const cut of [...this.#cuts]) cut();
    for (const stream of [...this.#streams]) stream.lose('the connection was reset');
  }

  /** The process is gone: its streams are forgotten, and nothing that it waited for ends. */
  crash(): void {
    this.#isClosed = true;
    for (const stream of this.#streams) stream.abandon();
    this.#streams.clear();
    this.#cuts.clear();
  }

  get(key: string, options: CallOptions = {}): Promise<KeyValue | undefined> {
    keyBytes(key);
    return this.#call('a read', true, options, (member) => this.#etcd.get(member, key));
  }

  async list(prefix: string, { entriesMax = ENTRIES_MAX, ...options }: ListOptions = {}): Promise<Listing> {
    keyBytes(prefix);
    const listing = await this.#call('a read', true, options, (member) => this.#etcd.list(member, prefix));
    if (listing.entries.length > entriesMax)
      throw new CodedError('too-large', `etcd holds more than ${entriesMax} records under ${prefix}.`);
    return listing;
  }

  async txn(transaction: Transaction, options: CallOptions = {}): Promise<TxnResult> {
    checkTexts(transaction);
    return this.#call('a transaction', false, options, (member) => this.#etcd.txn(member, transaction));
  }

  watch(prefix: string, options: WatchOptions): Promise<void> {
    return watchPrefix(this, prefix, options);
  }

  async leaseGrant(ttlSeconds: number, options: CallOptions = {}): Promise<GrantedLease> {
    if (!Number.isSafeInteger(ttlSeconds) || ttlSeconds < 1)
      throw new CodedError('bad-input', `The TTL of a lease is a whole number of seconds, at least 1.`);
    const sentAtMs = this.clock.monotonicMs();
    const granted = await this.#call('a lease', true, options, (member) => this.#etcd.leaseGrant(member, ttlSeconds));
    return { ...granted, validUntilMs: sentAtMs + granted.ttlSeconds * 1_000 };
  }

  async leaseRevoke(lease: string, options: CallOptions = {}): Promise<void> {
    try {
      await this.#call('a lease', true, options, (member) => this.#etcd.leaseRevoke(member, lease));
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'not-found') throw error;
    }
  }

  keepLease(granted: GrantedLease, options: KeepOptions = {}): KeptLease {
    return keepLease(this, granted, options);
  }

  async openWatch(
    prefix: string,
    { fromRevision, signal }: { readonly fromRevision: number; readonly signal?: AbortSignal | undefined },
  ): Promise<WatchStream> {
    const connection = this.#choose();
    const { member } = connection;
    const stream = new SimWatchStream({
      clock: this.clock,
      prompt: (deliver) => this.#route.tell(member, deliver),
      onClose: (outcome) => {
        this.#streams.delete(stream);
        if (outcome === 'failed') this.#failed(connection);
      },
    });
    this.#streams.add(stream);
    const push = (number: number, message: Parameters<SimWatchStream['take']>[1]): void =>
      this.#route.push(member, () => stream.take(number, message));
    try {
      const begin = async (): Promise<void> =>
        stream.begun(await this.#etcd.watch(member, { prefix, fromRevision, push }));
      await this.#carry(connection, OPEN_MS, signal, begin);
    } catch (error) {
      stream.close('failed');
      if (error instanceof Cut) signal?.throwIfAborted();
      if (this.#isClosed) throw closed();
      throw new EtcdStreamLost(`${member} took no watch.`, error);
    }
    stream.open(signal);
    return stream;
  }

  async openKeepAlive(signal: AbortSignal): Promise<KeepAliveStream> {
    if (this.#isClosed) throw closed();
    const connection = this.#choose();
    const over = new AbortController();
    const end = (): void => over.abort();
    signal.addEventListener('abort', end, { once: true });
    const ended = new Promise<void>((resolve) =>
      over.signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    return {
      ended,
      renew: async (lease) => {
        const serve = (): Promise<number> => this.#etcd.leaseKeepAlive(connection.member, lease);
        try {
          return await this.#carry(connection, OPEN_MS, over.signal, serve);
        } catch (error) {
          if (over.signal.aborted) return undefined;
          throw new EtcdStreamLost(`${connection.member} renewed no lease.`, error);
        }
      },
      close: (outcome) => {
        signal.removeEventListener('abort', end);
        end();
        if (outcome === 'failed') this.#failed(connection);
      },
    };
  }

  /** One call, as Transport.unary of production makes it. */
  async #call<T>(
    what: string,
    isRepeatable: boolean,
    { deadlineMs = this.#deadlineMsDefault, signal }: CallOptions,
    serve: (member: string) => Promise<T>,
  ): Promise<T> {
    const endsAtMs = this.clock.monotonicMs() + deadlineMs;
    const count = this.#connections.length;
    let lastError: unknown;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      await sleep(this.clock, backoffMs(Math.floor(attempt / count), 25, 200), { signal });
      signal?.throwIfAborted();
      if (this.#isClosed) throw closed();
      const leftMs = endsAtMs - this.clock.monotonicMs();
      if (leftMs <= 0) break;
      const connection = this.#choose();
      const isTried = !isRepeatable && !connection.isUp;
      const attemptMs = isRepeatable && count > 1 ? Math.min(leftMs, Math.max(leftMs / 2, ATTEMPT_MS_MIN)) : leftMs;
      try {
        // A call that must not be repeated is not risked on a connection of which nothing is known.
        if (isTried) await this.#carry(connection, Math.min(leftMs, CONNECT_MS), signal, () => Promise.resolve());
        else return await this.#carry(connection, attemptMs, signal, () => serve(connection.member));
      } catch (error) {
        const outcome = outcomeOf(error);
        if (outcome === 'refused') throw error;
        this.#failed(connection);
        if (outcome === 'unknown' && !isRepeatable && !isTried)
          throw new EtcdDeadlineUnknown(`No answer from etcd to ${what} that was sent to ${connection.member}.`, error);
        signal?.throwIfAborted();
        lastError = error;
      }
    }
    throw new EtcdUnavailable(`No etcd member answered ${what} in time.`, lastError);
  }

  /** Carries one request; rejects with Cut when the signal aborts or the client is closed. */
  #carry<T>(
    connection: Connection,
    deadlineMs: number,
    signal: AbortSignal | undefined,
    serve: () => Promise<T>,
  ): Promise<T> {
    if (signal?.aborted || this.#isClosed) return Promise.reject(new Cut());
    return new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        this.#cuts.delete(cut);
        signal?.removeEventListener('abort', cut);
        act();
      };
      const cut = (): void => finish(() => reject(new Cut()));
      this.#cuts.add(cut);
      signal?.addEventListener('abort', cut, { once: true });
      // A connection delivers a request once, whatever becomes of its packets.
      let served: Promise<T> | undefined;
      const once = (): Promise<T> => {
        served ??= serve();
        return served;
      };
      this.#route.call(connection.member, deadlineMs, once).then(
        (answer) => {
          connection.isUp = true;
          finish(() => resolve(answer));
        },
        (error: unknown) => {
          // Where a copy of the request met nobody, another one may have been served.
          const isDoubtful = served !== undefined && error instanceof CodedError && error.code === 'unavailable';
          finish(() => reject(isDoubtful ? new CodedError('deadline', error.message, { cause: error }) : error));
        },
      );
    });
  }

  #failed(connection: Connection): void {
    connection.isUp = false;
    connection.avoidUntilMs = this.clock.monotonicMs() + AVOID_MS;
  }

  /** The current member while it does well, else the next in order. */
  #choose(): Connection {
    const nowMs = this.clock.monotonicMs();
    const count = this.#connections.length;
    let chosen = this.#current;
    for (let step = 0; step < count; step += 1) {
      const index = (this.#current + step) % count;
      if ((this.#connections[index]?.avoidUntilMs ?? 0) > nowMs) continue;
      chosen = index;
      break;
    }
    if (chosen === this.#current && (this.#connections[chosen]?.avoidUntilMs ?? 0) > nowMs)
      chosen = (chosen + 1) % count;
    this.#current = chosen;
    const connection = this.#connections[chosen];
    if (connection === undefined) throw closed();
    return connection;
  }
}

function closed(): EtcdUnavailable {
  return new EtcdUnavailable('This etcd client is closed.');
}

function outcomeOf(error: unknown): Outcome {
  if (error instanceof MemberRefused) return 'not-applied';
  if (error instanceof Cut) return 'unknown';
  if (!(error instanceof CodedError)) return 'refused';
  if (error.code === 'unavailable') return 'not-applied';
  return error.code === 'deadline' ? 'unknown' : 'refused';
}

/** What the real client refuses to send. */
function checkTexts({ compare, success, failure = [] }: Transaction): void {
  for (const { key } of compare) keyBytes(key);
  for (const op of [...success, ...failure]) {
    if ('put' in op) {
      keyBytes(op.put);
      if (!op.value.isWellFormed()) throw new CodedError('bad-input', `For etcd, a value must be well-formed Unicode.`);
      leaseId(op.lease ?? '0');
    } else if ('delete' in op) keyBytes(op.delete);
    else keyBytes('get' in op ? op.get : op.deletePrefix);
  }
}
