import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { KeyValueSchema } from './generated/kv_pb.js';
import { keyValueOf, txnMessage } from './messages.ts';
import { keyBytes, leaseId, NOT_TEXT, prefixEnd, revisionNumber } from './records.ts';

const SEED = 20261121;

test('the range of a prefix holds exactly the keys that start with it', () => {
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(bytes, fc.uint8Array({ minLength: 1, maxLength: 6 }), (prefix, key) => {
      const end = prefixEnd(prefix);
      const isOpen = end.length === 1 && end[0] === 0;
      const inRange = Buffer.compare(key, prefix) >= 0 && (isOpen || Buffer.compare(key, end) < 0);
      const starts = Buffer.from(key).subarray(0, prefix.length).equals(prefix);
      assert.equal(inRange, starts || (isOpen && Buffer.compare(key, prefix) >= 0));
    }),
    { seed: SEED, numRuns: 2_000 },
  );
  assert.deepEqual([...prefixEnd(new Uint8Array([0x61, 0xff]))], [0x62]);
});

test('keys and values must be well-formed, keys not empty', () => {
  assert.throws(() => keyBytes(''), { code: 'bad-input' });
  assert.throws(() => keyBytes('\ud800'), { code: 'bad-input' });
  assert.throws(() => txnMessage({ compare: [], success: [{ put: 'a', value: '\udfff' }] }), { code: 'bad-input' });
});

test('a value that is not text is no JSON afterwards, and throws nothing', () => {
  const kv = create(KeyValueSchema, {
    key: Buffer.from('k'),
    value: new Uint8Array([0x22, 0xc3, 0x28, 0x22]),
    lease: -5n,
  });
  assert.equal(keyValueOf(kv).value, NOT_TEXT);
  assert.throws(() => JSON.parse(NOT_TEXT));
  kv.key = new Uint8Array([0x6b, 0xff]);
  assert.equal(keyValueOf(kv).key, 'k\ufffd');
  kv.key = Buffer.from('k');
  kv.value = Buffer.from('"ä"');
  assert.deepEqual(keyValueOf(kv), { key: 'k', value: '"ä"', createRevision: 0, modRevision: 0, lease: '-5' });
});

test('leases are 64-bit decimal numbers', () => {
  assert.equal(leaseId('-9223372036854775808'), -(2n ** 63n));
  for (const bad of ['', '1e3', '0x1', '9223372036854775808', ' 1'])
    assert.throws(() => leaseId(bad), { code: 'bad-input' });
});

test('a revision beyond the safe integers is a bug, not a wrong number', () => {
  assert.equal(revisionNumber(7n), 7);
  assert.throws(() => revisionNumber(2n ** 53n), { name: 'AssertionFailed' });
});
