import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agoText, byName, bytesText, countText, durationText, percentOf } from './format.ts';

test('bytes have the largest unit that leaves a number of 1 or more', () => {
  assert.deepEqual([0, 1_023, 1_536, 2 ** 30, 150.4 * 2 ** 20].map(bytesText), [
    '0 B',
    '1023 B',
    '1.5 KiB',
    '1 GiB',
    '150 MiB',
  ]);
});

test('durations have their two largest parts', () => {
  assert.deepEqual([0, 85.4, 1_240, 12_400, 200_000, 3_600_000, 90_061_000].map(durationText), [
    '0 ms',
    '85 ms',
    '1.2 s',
    '12 s',
    '3 min 20 s',
    '1 h',
    '1 d 1 h',
  ]);
});

test('ages are in the largest unit', () => {
  const now = Date.parse('2026-11-30T12:00:00Z');
  assert.equal(agoText('2026-11-30T11:59:58Z', now), 'just now');
  assert.equal(agoText('2026-11-30T11:54:30Z', now), '5 min ago');
  assert.equal(agoText('2026-11-27T11:54:30Z', now), '3 d ago');
});

test('names are ordered by the numbers in them', () => {
  assert.deepEqual(['h10', 'h2', 'h1'].sort(byName), ['h1', 'h2', 'h10']);
});

test('counts and percentages', () => {
  assert.deepEqual([countText(1, 'VM'), countText(6_000, 'VM')], ['1 VM', '6,000 VMs']);
  assert.deepEqual([percentOf(1, 3), percentOf(5, 0)], [33, 0]);
});
