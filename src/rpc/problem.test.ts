import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { problemOf } from '../base/problem.ts';
import { errorOfAnswer } from './problem.ts';

test('an expected error comes back as it was; any other is named and not shown', () => {
  const error = new CodedError('conflict', 'Slot 3 is held.', { advice: 'Use another.' });
  const back = errorOfAnswer(409, JSON.stringify(problemOf(error)), 'host h1');
  assert.deepEqual([back.code, back.message, back.advice], [error.code, error.message, error.advice]);
  assert.doesNotMatch(JSON.stringify(problemOf(new Error('/etc/secret'))), /secret/);
});

test('an error that only a newer version has keeps its words; an answer without words is said to have none', () => {
  const newer = errorOfAnswer(418, JSON.stringify({ code: 'teapot', detail: 'No tea.', advice: 'Drink water.' }), 'h1');
  assert.deepEqual([newer.code, newer.message, newer.advice], ['failed', 'No tea.', 'Drink water.']);
  for (const body of ['', 'x', '{}', '[]', '{"code":1,"detail":"x"}', '{"code":"failed"}'])
    assert.equal(errorOfAnswer(500, body, 'h1').message, 'h1 answered 500 without saying why.');
});
