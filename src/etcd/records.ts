/**
 * Our shapes of keys, records, transactions and events, and their translation to etcd's messages. Pure.
 * Guarantees: revisions are safe integers, leases are decimal strings, keys and values are well-formed UTF-8 or an error.
 */
import { isUtf8 } from 'node:buffer';
import { create, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { assert } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import { Event_EventType, type EventSchema, type KeyValueSchema } from './generated/kv_pb.js';
import {
  Compare_CompareResult,
  Compare_CompareTarget,
  type CompareSchema,
  type RequestOpSchema,
  TxnRequestSchema,
} from './generated/rpc_pb.js';

/** One record. */
export interface KeyValue {
  readonly key: string;
  /** UTF-8 text, JSON by convention. */
  readonly value: string;
  /** The revision at which the key came into being; another one after a delete and a new put. */
  readonly createRevision: number;
  /** The revision of the last change: what a compare-and-swap compares. */
  readonly modRevision: number;
  /** The lease that the key hangs on, a decimal number; '0' for none. */
  readonly lease: string;
}

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

/** All of `success` if every condition holds, else all of `failure`, at one revision. */
export interface Transaction {
  readonly compare: readonly Compare[];
  readonly success: readonly Op[];
  readonly failure?: readonly Op[];
}

const OPERATORS = {
  equal: Compare_CompareResult.EQUAL,
  'not-equal': Compare_CompareResult.NOT_EQUAL,
  greater: Compare_CompareResult.GREATER,
  less: Compare_CompareResult.LESS,
} as const satisfies Record<CompareOperator, Compare_CompareResult>;

/** The bytes of a key. Throws bad-input for the empty key and for text that is not well-formed Unicode. */
export function keyBytes(key: string): Uint8Array {
  if (key === '') throw new CodedError('bad-input', 'An etcd key must not be empty.');
  return textBytes(key, `the key ${JSON.stringify(key)}`);
}

function textBytes(text: string, what: string): Uint8Array {
  if (!text.isWellFormed()) throw new CodedError('bad-input', `For etcd, ${what} must be well-formed Unicode.`);
  return Buffer.from(text, 'utf8');
}

function bytesText(bytes: Uint8Array, what: string): string {
  if (!isUtf8(bytes)) throw new CodedError('failed', `In etcd, ${what} is not UTF-8 text: something else wrote it.`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
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

/** A record as etcd sent it. CodedError 'failed' where key or value are not UTF-8; a revision out of range is a bug and asserted. */
export function keyValueOf(kv: MessageShape<typeof KeyValueSchema>): KeyValue {
  const key = bytesText(kv.key, 'a key');
  return {
    key,
    value: bytesText(kv.value, `the value of ${key}`),
    createRevision: revisionNumber(kv.createRevision),
    modRevision: revisionNumber(kv.modRevision),
    lease: kv.lease.toString(),
  };
}

/** A watch's event as etcd sent it: a deletion carries no value. Throws what `keyValueOf` throws. */
export function eventOf(event: MessageShape<typeof EventSchema>): WatchEvent {
  assert(event.kv !== undefined, 'etcd sent an event without a record');
  if (event.type === Event_EventType.DELETE) {
    return { type: 'delete', key: bytesText(event.kv.key, 'a key'), modRevision: revisionNumber(event.kv.modRevision) };
  }
  const kv = keyValueOf(event.kv);
  return { type: 'put', key: kv.key, modRevision: kv.modRevision, kv };
}

function compareMessage(compare: Compare): MessageInitShape<typeof CompareSchema> {
  const key = keyBytes(compare.key);
  if ('modRevision' in compare) {
    return {
      key,
      target: Compare_CompareTarget.MOD,
      result: OPERATORS[compare.op ?? 'equal'],
      targetUnion: { case: 'modRevision', value: BigInt(compare.modRevision) },
    };
  }
  const [revision, op]: [number, CompareOperator] =
    'exists' in compare ? [0, compare.exists ? 'not-equal' : 'equal'] : [compare.createRevision, compare.op ?? 'equal'];
  return {
    key,
    target: Compare_CompareTarget.CREATE,
    result: OPERATORS[op],
    targetUnion: { case: 'createRevision', value: BigInt(revision) },
  };
}

function opMessage(op: Op): MessageInitShape<typeof RequestOpSchema> {
  if ('put' in op) {
    const value = textBytes(op.value, `the value of ${op.put}`);
    const lease = leaseId(op.lease ?? '0');
    return { request: { case: 'requestPut', value: { key: keyBytes(op.put), value, lease } } };
  }
  if ('delete' in op) return { request: { case: 'requestDeleteRange', value: { key: keyBytes(op.delete) } } };
  if ('get' in op) return { request: { case: 'requestRange', value: { key: keyBytes(op.get) } } };
  const key = keyBytes(op.deletePrefix);
  return { request: { case: 'requestDeleteRange', value: { key, rangeEnd: prefixEnd(key) } } };
}

/** The message of a transaction. Throws bad-input for keys, values or leases that cannot be. */
export function txnMessage(transaction: Transaction): MessageShape<typeof TxnRequestSchema> {
  return create(TxnRequestSchema, {
    compare: transaction.compare.map(compareMessage),
    success: transaction.success.map(opMessage),
    failure: (transaction.failure ?? []).map(opMessage),
  });
}
