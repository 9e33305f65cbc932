import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limitsCommand, limitsPatch } from './limits-form.ts';

const before = {
  ...{ maxDisturbed: '1', toleratesS: '3', noticeS: '60', quiet: 'Mon-Fri 08:00-18:00 Europe/London' },
  ...{ readyCommand: '', readyS: '' },
};

test('only what differs is asked for, in ms', () => {
  assert.deepEqual(limitsPatch(before, { ...before, toleratesS: '2.5 ' }), { toleratesMs: 2_500 });
  assert.deepEqual(limitsPatch(before, { ...before, quiet: ` ${before.quiet}\n` }), {});
});

test('a notice and quiet hours are taken away by emptying their fields', () => {
  const patch = limitsPatch(before, { ...before, noticeS: '', quiet: '' });
  assert.deepEqual(patch, { noticeMs: null, quiet: [] });
  assert.equal(limitsCommand('sql', patch), 'gp guest-cluster set sql --no-notice --no-quiet');
});

test('each window is a word of the command', () => {
  const patch = limitsPatch(before, { ...before, noticeS: '90', quiet: 'Sat 00:00-06:00 UTC\nSun 00:00-06:00 UTC' });
  assert.equal(
    limitsCommand('sql', patch),
    "gp guest-cluster set sql --notice 90000ms --quiet 'Sat 00:00-06:00 UTC' --quiet 'Sun 00:00-06:00 UTC'",
  );
});

test('a ready check is a command with a time, five minutes unless said, and is taken away by emptying its field', () => {
  const checked = { ...before, readyCommand: 'pg_isready -q ', readyS: '' };
  const patch = limitsPatch(before, checked);
  assert.deepEqual(patch, { readyCheck: { command: 'pg_isready -q', withinMs: 300_000 } });
  assert.equal(
    limitsCommand('sql', patch),
    "gp guest-cluster set sql --ready-check 'pg_isready -q' --ready-within 300000ms",
  );
  assert.deepEqual(limitsPatch(checked, { ...checked, readyS: '30' }), {
    readyCheck: { command: 'pg_isready -q', withinMs: 30_000 },
  });
  const gone = limitsPatch(checked, { ...checked, readyCommand: ' ' });
  assert.deepEqual(gone, { readyCheck: null });
  assert.equal(limitsCommand('sql', gone), 'gp guest-cluster set sql --no-ready-check');
});
