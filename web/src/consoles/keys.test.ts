import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keysOf } from './keys.ts';

const symbols = (text: string): number[] => keysOf(text).map(({ keysym }) => keysym);

test('letters are themselves, a line ends with one Return', () => {
  assert.deepEqual(symbols('aB1'), [0x61, 0x42, 0x31]);
  assert.deepEqual(symbols('a\r\nb\tc'), [0x61, 0xff0d, 0x62, 0xff09, 0x63]);
});

test('characters beyond Latin-1 have the bit of Unicode keysyms', () => {
  assert.deepEqual(symbols('é€😀'), [0xe9, 0x10020ac, 0x101f600]);
});

test('control characters reach no guest, and a paste has an end', () => {
  assert.deepEqual(symbols('\u0003\u001b\u007f'), []);
  assert.equal(keysOf('x'.repeat(10_000)).length, 4_096);
});
