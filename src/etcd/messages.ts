/** Records, transactions and events to and from etcd's messages. Pure. */
import { isUtf8 } from 'node:buffer';
import { create, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { assert } from '../base/assert.ts';
import { Event_EventType, type EventSchema, type KeyValueSchema } from './generated/kv_pb.js';
import {
  Compare_CompareResult,
  Compare_CompareTarget,
  type CompareSchema,
  type RequestOpSchema,
  TxnRequestSchema,
} from './generated/rpc_pb.js';
import {
  type Compare,
  type CompareOperator,
  type KeyValue,
  keyBytes,
  leaseId,
  NOT_TEXT,
  type Op,
  prefixEnd,
  revisionNumber,
  type Transaction,
  textBytes,
  type WatchEvent,
} from './records.ts';

const OPERATORS = {
  equal: Compare_CompareResult.EQUAL,
  'not-equal': Compare_CompareResult.NOT_EQUAL,
  greater: Compare_CompareResult.GREATER,
  less: Compare_CompareResult.LESS,
} as const satisfies Record<CompareOperator, Compare_CompareResult>;

/** Decodes a key. Bytes that are not UTF-8 become replacement characters, so that the key matches none of ours. */
function keyText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

/**
 * Decodes a value. Bytes that are not UTF-8 become NOT_TEXT, which is not JSON: a damaged text must not pass for a
 * written one.
 */
function valueText(bytes: Uint8Array): string {
  return isUtf8(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8') : NOT_TEXT;
}

/** Converts a record as etcd sent it, whichever process wrote it. A revision out of range is a bug and asserted. */
export function keyValueOf(kv: MessageShape<typeof KeyValueSchema>): KeyValue {
  return {
    key: keyText(kv.key),
    value: valueText(kv.value),
    createRevision: revisionNumber(kv.createRevision),
    modRevision: revisionNumber(kv.modRevision),
    lease: kv.lease.toString(),
  };
}

/** Converts a watch's event as etcd sent it: a deletion has no value. */
export function eventOf(event: MessageShape<typeof EventSchema>): WatchEvent {
  assert(event.kv !== undefined, 'etcd sent an event without a record');
  if (event.type === Event_EventType.DELETE) {
    return { type: 'delete', key: keyText(event.kv.key), modRevision: revisionNumber(event.kv.modRevision) };
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
