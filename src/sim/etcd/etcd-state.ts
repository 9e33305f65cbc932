/**
 * What an etcd cluster holds: one sequence of revisions, whatever its members go through. No time and no network.
 *
 * Guarantees: a transaction happens wholly or not at all, at one revision, and a refused one changes nothing; the
 * events of a revision are kept until it is compacted; listing a prefix costs what it finds.
 */
import { assert } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { TxnResult } from '../../etcd/api.ts';
import type { Compare, CompareOperator, KeyValue, Op, Transaction, WatchEvent } from '../../etcd/records.ts';
import { SortedKeys } from './sorted-keys.ts';

/** As etcd's `--max-txn-ops` and `--max-request-bytes` are by default. */
const OPS_MAX = 128;
const REQUEST_CHARACTERS_MAX = 1.5 * 1024 * 1024;
/** As member.ts asks of a real one. */
const HISTORY_REVISIONS = 50_000;

interface LeaseState {
  readonly ttlSeconds: number;
  readonly keys: Set<string>;
}

/** Records, leases and history. */
export class EtcdState {
  readonly #records = new Map<string, KeyValue>();
  readonly #sorted = new SortedKeys();
  readonly #leases = new Map<string, LeaseState>();
  /** The events of revision `#historyFrom` + index. */
  #history: WatchEvent[][] = [];
  #historyFrom = 2;
  #leaseCount = 0;
  /** Events of the transaction that is being applied. */
  #events: WatchEvent[] = [];

  /** What a snapshot holds, and its newest revision; by default nothing. Leases are not in it: nobody renews them. */
  constructor(snapshot?: { readonly records: readonly KeyValue[]; readonly revision: number }) {
    if (snapshot === undefined) return;
    for (const record of snapshot.records) {
      this.#records.set(record.key, { ...record, lease: '0' });
      this.#sorted.add(record.key);
    }
    this.#historyFrom = snapshot.revision + 1;
  }

  /** Another store with all that this one holds, leases included. */
  copy(): EtcdState {
    const copy = new EtcdState();
    for (const [key, record] of this.#records) {
      copy.#records.set(key, record);
      copy.#sorted.add(key);
    }
    for (const [id, { ttlSeconds, keys }] of this.#leases) copy.#leases.set(id, { ttlSeconds, keys: new Set(keys) });
    copy.#history = this.#history.map((events) => [...events]);
    copy.#historyFrom = this.#historyFrom;
    copy.#leaseCount = this.#leaseCount;
    return copy;
  }

  /** An empty store is at revision 1, as etcd's. */
  get revision(): number {
    return this.#historyFrom + this.#history.length - 1;
  }

  /** The oldest revision whose events are kept; 0 before the first compaction. */
  get compactRevision(): number {
    return this.#historyFrom === 2 ? 0 : this.#historyFrom;
  }

  /** How many records there are. */
  get size(): number {
    return this.#records.size;
  }

  get(key: string): KeyValue | undefined {
    return this.#records.get(key);
  }

  /** The records under `prefix`, in the order of their keys. */
  list(prefix: string): readonly KeyValue[] {
    const entries: KeyValue[] = [];
    for (const key of this.#sorted.startingWith(prefix)) {
      const record = this.#records.get(key);
      if (record !== undefined) entries.push(record);
    }
    return entries;
  }

  /**
   * Applies a transaction, or throws what etcd refuses it with (`failed`, `not-found`, `too-large`) and changes
   * nothing.
   */
  txn(transaction: Transaction): TxnResult {
    const { compare, success, failure = [] } = transaction;
    checkSize(transaction);
    const succeeded = compare.every((condition) => this.#holds(condition));
    const ops = succeeded ? success : failure;
    for (const op of ops) {
      if ('put' in op && op.lease !== undefined && op.lease !== '0' && !this.#leases.has(op.lease)) throw noLease();
    }
    const reads: (KeyValue | undefined)[] = [];
    for (const op of ops) {
      if ('get' in op) reads.push(this.#records.get(op.get));
      else this.#apply(op);
    }
    this.#end();
    return { succeeded, revision: this.revision, reads };
  }

  #holds(condition: Compare): boolean {
    const record = this.#records.get(condition.key);
    if ('exists' in condition) return (record !== undefined) === condition.exists;
    const [found, wanted] =
      'modRevision' in condition
        ? [record?.modRevision ?? 0, condition.modRevision]
        : [record?.createRevision ?? 0, condition.createRevision];
    return compared(found, condition.op ?? 'equal', wanted);
  }

  #apply(op: Exclude<Op, { get: string }>): void {
    if ('put' in op) {
      this.#put(op.put, op.value, op.lease ?? '0');
    } else if ('delete' in op) {
      this.#delete(op.delete);
    } else {
      for (const key of [...this.#sorted.startingWith(op.deletePrefix)]) this.#delete(key);
    }
  }

  #put(key: string, value: string, lease: string): void {
    const before = this.#records.get(key);
    const modRevision = this.revision + 1;
    const kv: KeyValue = { key, value, createRevision: before?.createRevision ?? modRevision, modRevision, lease };
    if (before === undefined) this.#sorted.add(key);
    else this.#leases.get(before.lease)?.keys.delete(key);
    this.#records.set(key, kv);
    this.#leases.get(lease)?.keys.add(key);
    this.#events.push({ type: 'put', key, modRevision, kv });
  }

  #delete(key: string): void {
    const before = this.#records.get(key);
    if (before === undefined) return;
    this.#records.delete(key);
    this.#sorted.delete(key);
    this.#leases.get(before.lease)?.keys.delete(key);
    this.#events.push({ type: 'delete', key, modRevision: this.revision + 1 });
  }

  /** A transaction that changed something makes a revision; one that did not makes none. */
  #end(): void {
    if (this.#events.length === 0) return;
    this.#history.push(this.#events);
    this.#events = [];
    if (this.#history.length >= 2 * HISTORY_REVISIONS) this.compact(this.revision - HISTORY_REVISIONS);
  }

  /** The ids of all leases, in the order they were granted. */
  leases(): IterableIterator<string> {
    return this.#leases.keys();
  }

  /** The TTL of a lease in seconds, undefined when there is no such lease. */
  ttlSeconds(lease: string): number | undefined {
    return this.#leases.get(lease)?.ttlSeconds;
  }

  /** A new lease's id. */
  grant(ttlSeconds: number): string {
    this.#leaseCount += 1;
    // Large as etcd's, so that nothing comes to depend on short ones.
    const lease = String(7_587_000_000_000_000_000n + BigInt(this.#leaseCount));
    this.#leases.set(lease, { ttlSeconds, keys: new Set() });
    return lease;
  }

  /** Ends a lease; its keys go at one revision. Throws not-found. */
  revoke(lease: string): void {
    const state = this.#leases.get(lease);
    if (state === undefined) throw noLease();
    for (const key of [...state.keys].sort((a, b) => (a < b ? -1 : 1))) this.#delete(key);
    this.#leases.delete(lease);
    this.#end();
  }

  /** Forgets the events before `revision`. */
  compact(revision: number): void {
    assert(revision <= this.revision, `compaction of a revision to come: ${revision}`);
    if (revision <= this.#historyFrom) return;
    this.#history = this.#history.slice(revision - this.#historyFrom);
    this.#historyFrom = revision;
  }

  /** The events under `prefix` from a revision on, which must not be compacted, in order. */
  eventsFrom(revision: number, prefix: string): WatchEvent[] {
    assert(revision >= this.compactRevision, `revision ${revision} is compacted`);
    const found: WatchEvent[] = [];
    for (let at = Math.max(0, revision - this.#historyFrom); at < this.#history.length; at += 1) {
      for (const event of this.#history[at] ?? []) if (event.key.startsWith(prefix)) found.push(event);
    }
    return found;
  }
}

function compared(found: number, op: CompareOperator, wanted: number): boolean {
  switch (op) {
    case 'equal':
      return found === wanted;
    case 'not-equal':
      return found !== wanted;
    case 'greater':
      return found > wanted;
    case 'less':
      return found < wanted;
  }
}

function noLease(): CodedError {
  return new CodedError('not-found', 'etcd refused it: requested lease not found.');
}

/** What etcd refuses before it looks at the conditions. Both branches must be well-formed. */
function checkSize({ compare, success, failure = [] }: Transaction): void {
  if (Math.max(compare.length, success.length, failure.length) > OPS_MAX)
    throw new CodedError('too-large', 'etcd refused a transaction: too many operations in txn request.');
  let characters = 0;
  for (const op of [...success, ...failure]) characters += 'put' in op ? op.value.length : 0;
  if (characters > REQUEST_CHARACTERS_MAX)
    throw new CodedError('too-large', 'etcd refused a transaction: request is too large.');
  for (const ops of [success, failure]) checkOnce(ops);
}

/** A key may be put once in a branch, and not be deleted in the same. */
function checkOnce(ops: readonly Op[]): void {
  const put = new Set<string>();
  const twice = (): never => {
    throw new CodedError('failed', 'etcd refused a transaction: duplicate key given in txn request.');
  };
  for (const op of ops) {
    if (!('put' in op)) continue;
    if (put.has(op.put)) twice();
    put.add(op.put);
  }
  for (const op of ops) {
    if ('delete' in op && put.has(op.delete)) twice();
    if ('deletePrefix' in op && [...put].some((key) => key.startsWith(op.deletePrefix))) twice();
  }
}
