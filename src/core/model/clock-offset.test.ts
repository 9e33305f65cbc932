import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { clockFinding, clockOffset } from './clock-offset.ts';

test('the true difference lies within the error, however the round trip is split', () => {
  const ms = fc.integer({ min: 0, max: 2_000 });
  const difference = fc.integer({ min: -400_000, max: 400_000 });
  fc.assert(
    fc.property(ms, ms, difference, (thereMs, backMs, trueMs) => {
      const sentAt = 1_000_000;
      const theirs = sentAt + thereMs + trueMs;
      const offset = clockOffset(theirs, { receivedAt: sentAt + thereMs + backMs, roundTripMs: thereMs + backMs });
      assert.ok(Math.abs(offset.offsetMs - trueMs) <= offset.errorMs + 1e-6);
      if (Math.abs(trueMs) <= 30_000) assert.equal(clockFinding('h1', offset), null, 'no alarm without cause');
      if (Math.abs(trueMs) > 30_000 + 2 * offset.errorMs) assert.notEqual(clockFinding('h1', offset), null);
    }),
    { seed: 26, numRuns: 2_000 },
  );
});

test('an alarm names the machine, the difference and its direction', () => {
  assert.match(String(clockFinding('h1', { offsetMs: -360_000, errorMs: 3 })), /^The clock of h1 is 360 s behind /);
  assert.match(String(clockFinding('s1', { offsetMs: 31_000, errorMs: 3 })), /^The clock of s1 is 31 s ahead of /);
  assert.equal(clockFinding('h1', { offsetMs: 30_500, errorMs: 600 }), null, 'not certain');
  assert.equal(clockFinding('h1', null), null);
});
