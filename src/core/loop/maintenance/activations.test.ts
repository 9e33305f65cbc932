import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { Activations } from './activations.ts';

/** Looks are answered by `answers` in turn, then by a minute; each look is noted with its time. */
function looking(answers: (() => Promise<number | null>)[]) {
  const clock = new ManualClock();
  const [looks, failed, gone]: [number[], string[], string[]] = [[], [], []];
  const activations = new Activations<string>({
    clock,
    look: () => {
      looks.push(clock.monotonicMs());
      return (answers.shift() ?? (() => Promise.resolve(60_000)))();
    },
    onFailed: async (_, reason, failures) => void failed.push(`${failures} ${reason}`),
    onGone: (id) => void gone.push(id),
    failedMs: 1_000,
    failedMsMax: 4_000,
  });
  const began = clock.monotonicMs();
  return { clock, activations, failed, gone, looks: () => looks.map((at) => at - began) };
}

test('one look at a time; a wake-up during it leads to another one soon after', async () => {
  let end: (afterMs: number) => void = () => undefined;
  const first = new Promise<number>((resolve) => {
    end = resolve;
  });
  const { clock, activations, looks } = looking([() => first]);
  for (let n = 0; n < 3; n++) activations.wake('a');
  await settled();
  assert.deepEqual(looks(), [0]);
  end(60_000);
  await settled();
  await clock.advance(1_000);
  assert.deepEqual(looks(), [0, 50]);
});

test('a look that fails is repeated rarer and rarer, whoever wakes it, and at once after one that did not', async () => {
  const fails = (): Promise<never> => Promise.reject(new Error('no'));
  const { clock, activations, looks, failed } = looking([fails, fails, fails, fails]);
  activations.wake('a');
  for (let tenths = 0; tenths < 120; tenths++) {
    await clock.advance(100);
    activations.wake('a');
    await settled();
  }
  // After a look that did not fail, every wake-up counts.
  assert.deepEqual(looks().slice(0, 6), [0, 1_000, 3_000, 7_000, 11_000, 11_000]);
  assert.deepEqual(failed, ['1 no', '2 no', '3 no', '4 no']);
});

test('nothing is kept of one that is over, and nothing begins after the end', async () => {
  const { clock, activations, looks, gone } = looking([() => Promise.resolve(null)]);
  activations.wake('a');
  await settled();
  assert.deepEqual(gone, ['a']);
  activations.wake('b');
  await settled();
  activations.stop();
  activations.wake('c');
  await clock.advance(120_000);
  assert.equal(looks().length, 2);
});
