import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FIRST_PAUSE_MS, LONGEST_PAUSE_MS, pauseAllowedMs } from './pause-allowance.ts';

test('a short pause first, a longer one for a guest that is not copied in time, and never more than QEMU’s own', () => {
  const passes = Array.from({ length: 12 }, (_, pass) => pauseAllowedMs(pass));
  assert.deepEqual(passes, [50, 50, 50, 50, 100, 100, 100, 200, 200, 200, 300, 300]);
  assert.equal(pauseAllowedMs(0), FIRST_PAUSE_MS);
  assert.equal(pauseAllowedMs(100_000), LONGEST_PAUSE_MS);
});
