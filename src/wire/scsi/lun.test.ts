import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LUN_MAX, lunFromBytes, lunToBytes } from './lun.ts';

describe('a logical unit number', () => {
  test('below 256 is a peripheral address, above a flat one', () => {
    assert.deepEqual([...lunToBytes(5)], [0, 5, 0, 0, 0, 0, 0, 0]);
    assert.deepEqual([...lunToBytes(300)], [0x41, 0x2c, 0, 0, 0, 0, 0, 0]);
  });

  test('survives both ways', () => {
    for (const lun of [0, 1, 255, 256, 4096, LUN_MAX]) assert.equal(lunFromBytes(lunToBytes(lun)), lun);
  });

  test('is read in flat form below 256 too', () => {
    assert.equal(lunFromBytes(Uint8Array.of(0x40, 7, 0, 0, 0, 0, 0, 0)), 7);
  });

  test('of another form is no number', () => {
    for (const bytes of [
      [0x01, 1, 0, 0, 0, 0, 0, 0],
      [0x80, 0, 0, 0, 0, 0, 0, 0],
      [0xc1, 1, 0, 0, 0, 0, 0, 0],
      [0, 1, 0, 2, 0, 0, 0, 0],
      [0, 1, 0],
    ])
      assert.equal(lunFromBytes(Uint8Array.from(bytes)), -1);
  });
});
