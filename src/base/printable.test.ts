import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable, printableLines } from './printable.ts';

test('what steers a terminal is shown as its number, everything else stays', () => {
  assert.equal(printable('web1 – ünï 🙂'), 'web1 – ünï 🙂');
  assert.equal(printable('\u001b[2J\u009b1m\r\n\u0000\u007f'), '\\u{1b}[2J\\u{9b}1m\\u{d}\\u{a}\\u{0}\\u{7f}');
  assert.equal(printable('a\u202eb\u2066c\ufeff'), 'a\\u{202e}b\\u{2066}c\\u{feff}');
  assert.equal(printableLines('a\tb\nc\u001b]0;x\u0007\r\n'), 'a\tb\nc\\u{1b}]0;x\\u{7}\\u{d}\n');
});
