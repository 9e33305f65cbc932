import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lastLines } from './lines.ts';

test('as many lines as were asked for, whether the last one is complete or not', () => {
  assert.equal(lastLines('a\nb\nc\n', 2), 'b\nc\n');
  assert.equal(lastLines('a\nb\nc', 2), 'b\nc');
  assert.equal(lastLines('a\nb\n', 2), 'a\nb\n');
  assert.equal(lastLines('a', 2), 'a');
  assert.equal(lastLines('', 2), '');
  assert.equal(lastLines('a\n\n', 1), '\n');
});
