import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImageKeeper, type Kept } from './image-keeper.ts';

const NOTHING: Kept = { deleted: [], copied: [], failed: [] };

/** A clock whose one timer a test fires by hand; `settled` waits for what a round does after it. */
function handClock() {
  const timers = new Set<() => void>();
  const clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after: (_delayMs: number, callback: () => void) => {
      timers.add(callback);
      return () => void timers.delete(callback);
    },
  };
  const fire = async (): Promise<void> => {
    for (const callback of [...timers]) {
      timers.delete(callback);
      callback();
    }
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { clock, timers, fire };
}

function setUp(keep: (signal: AbortSignal) => Promise<Kept>) {
  const said: string[] = [];
  const log = { info: (text: string) => void said.push(text), warn: (text: string) => void said.push(`! ${text}`) };
  const { clock, timers, fire } = handClock();
  return { keeper: new ImageKeeper({ clock, log, keep }), said, timers, fire };
}

test('rounds follow one another while the node leads, also after a failure', async () => {
  let rounds = 0;
  const { keeper, said, fire } = setUp(async () => {
    rounds++;
    if (rounds === 2) throw new Error('no');
    return rounds === 1 ? { ...NOTHING, copied: ['a to s2'] } : { ...NOTHING, failed: ['b to s2: away'] };
  });
  await fire();
  assert.equal(rounds, 0, 'not before it is started');
  keeper.start();
  for (let round = 1; round <= 3; round++) {
    await fire();
    assert.equal(rounds, round);
  }
  assert.deepEqual(said, ['image files', '! keeping images failed', '! image files']);
  keeper.stop();
  await fire();
  assert.equal(rounds, 3);
});

test('stop ends the round under way and no other follows; a new start is one series, not two', async () => {
  const signals: AbortSignal[] = [];
  const gate = Promise.withResolvers<Kept>();
  const { keeper, said, timers, fire } = setUp((signal) => {
    signals.push(signal);
    return gate.promise;
  });
  keeper.start();
  keeper.start();
  assert.equal(timers.size, 1);
  await fire();
  assert.equal(signals.length, 1);
  keeper.stop();
  assert.equal(signals[0]?.aborted, true);
  gate.reject(new Error('ended early'));
  await fire();
  assert.equal(timers.size, 0);
  assert.deepEqual(said, [], 'that it was stopped is no failure');
});
