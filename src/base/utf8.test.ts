import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { utf8Bytes } from './utf8.ts';

test('the bytes of any text in UTF-8 are counted as they are written, halves of surrogate pairs included', () => {
  for (const text of ['', 'quiet console=ttyS0', 'ü', '€', '😀', 'a\ud800b', '\udc00'])
    assert.equal(utf8Bytes(text), Buffer.byteLength(text));
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => assert.equal(utf8Bytes(text), Buffer.byteLength(text))),
    { seed: 1 },
  );
});
