import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PAUSES_KEPT, predictPause, withPause } from './pause-prediction.ts';

const GIB = 2 ** 30;

test('before the first move: QEMU’s limit, the switch, and the memory', () => {
  assert.deepEqual(predictPause({ measuredMs: [], memoryBytes: GIB / 2 }), {
    ms: 401,
    because: 'it was never moved: 300 ms for the last of its memory, 100 ms to switch, 1 ms for 0.5 GiB of memory',
  });
  assert.equal(predictPause({ measuredMs: [], memoryBytes: 512 * GIB }).ms, 1_424);
});

test('afterwards what was measured counts, and nothing else', () => {
  assert.deepEqual(predictPause({ measuredMs: [80], memoryBytes: 512 * GIB }), {
    ms: 96,
    because: 'the longest pause of its last move was 80 ms, and a fifth is added',
  });
  assert.deepEqual(predictPause({ measuredMs: [80, 2_600.4, 90], memoryBytes: GIB }), {
    ms: 3_121,
    because: 'the longest pause of its last 3 moves was 2600 ms, and a fifth is added',
  });
});

test('it never predicts less than was measured, and forgets what is old', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 60_000 }), { minLength: 1, maxLength: 30 }), (pauses) => {
      const kept = pauses.reduce<readonly number[]>(withPause, []);
      assert.deepEqual(kept, pauses.slice(-PAUSES_KEPT));
      assert(predictPause({ measuredMs: kept, memoryBytes: GIB }).ms >= Math.max(...kept));
    }),
    { seed: 20_261_125, numRuns: 200 },
  );
  assert.deepEqual(withPause([], -3), [0], 'a clock that went backwards measures nothing');
});
