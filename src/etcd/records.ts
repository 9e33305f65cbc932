/**
 * Our shapes of keys, records, transactions and events. Pure. Their translation to etcd's messages is in messages.ts.
 * Guarantees: revisions are safe integers, leases are decimal strings, keys and values to be written are well-formed
 * Unicode or an error.
 */
import { assert } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';

/** One record. */
export interface KeyValue {
  readonly key: string;
  /** UTF-8 text, JSON by convention; NOT_TEXT where etcd holds other bytes. */
  readonly value: string;
  /** The revision at which the key came into being; another one after a delete and a new put. */
  readonly createRevision: number;
  /** The revision of the last change: what a compare-and-swap compares. */
  readonly modRevision: number;
  /** The lease that the key hangs on, a decimal number; '0' for none. */
  readonly lease: string;
}

/** Replaces a value that is not UTF-8 text. It is not JSON. */
export const NOT_TEXT = '\uFFFD';

/** One change of one key, at `modRevision`. All changes of a transaction carry the same revision. */
export type WatchEvent =
  | { readonly type: 'put'; readonly key: string; readonly modRevision: number; readonly kv: KeyValue }
  | { readonly type: 'delete'; readonly key: string; readonly modRevision: number };

export type CompareOperator = 'equal' | 'not-equal' | 'greater' | 'less';

/** One condition of a transaction. A key that does not exist has createRevision and modRevision 0. */
export type Compare =
  | { readonly key: string; readonly createRevision: number; readonly op?: CompareOperator }
  | { readonly key: string; readonly modRevision: number; readonly op?: CompareOperator }
  | { readonly key: string; readonly exists: boolean };

/** One action of a transaction. A key may be written once in a transaction. */
export type Op =
  | { readonly put: string; readonly value: string; readonly lease?: string }
  | { readonly delete: string }
  | { readonly deletePrefix: string }
  | { readonly get: string };

/** All of `success` if every condition is met, else all of `failure`, at one revision. */
export interface Transaction {
  readonly compare: readonly Compare[];
  readonly success: readonly Op[];
  readonly failure?: readonly Op[];
}

/** The bytes of a key. Throws bad-input for the empty key and for text that is not well-formed Unicode. */
export function keyBytes(key: string): Uint8Array {
  if (key === '') throw new CodedError('bad-input', 'An etcd key must not be empty.');
  return textBytes(key, `the key ${JSON.stringify(key)}`);
}

/** UTF-8 of `text`. Throws bad-input for text that is not well-formed Unicode; `what` names it. */
export function textBytes(text: string, what: string): Uint8Array {
  if (!text.isWellFormed()) throw new CodedError('bad-input', `For etcd, ${what} must be well-formed Unicode.`);
  return Buffer.from(text, 'utf8');
}

/** The first key after all keys that start with `prefix`: the end of etcd's half-open range. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  const end = Uint8Array.from(prefix);
  for (let index = end.length - 1; index >= 0; index -= 1) {
    const byte = end[index] ?? 0;
    if (byte < 0xff) {
      end[index] = byte + 1;
      return end.subarray(0, index + 1);
    }
  }
  return new Uint8Array([0]); // etcd's "to the end of all keys"
}

/** A revision as a number. etcd counts from 1 by one for each write: 2^53 is out of reach, but a bug is not. */
export function revisionNumber(revision: bigint | undefined): number {
  const value = Number(revision ?? 0n);
  assert(Number.isSafeInteger(value) && value >= 0, `etcd revision out of range: ${revision}`);
  return value;
}

/** A lease as etcd's number. Throws bad-input unless it is a decimal 64-bit number. */
export function leaseId(lease: string): bigint {
  const id = /^-?\d{1,19}$/.test(lease) ? BigInt(lease) : undefined;
  if (id === undefined || BigInt.asIntN(64, id) !== id) {
    throw new CodedError('bad-input', `Not an etcd lease: ${JSON.stringify(lease)}.`);
  }
  return id;
}
