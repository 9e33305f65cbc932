import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TurnQueue } from './turn-queue.ts';

/** A queue whose time the test sets. */
function aQueue() {
  let nowMs = 0;
  const queue = new TurnQueue({ what: 'changes', waitingMax: 2, waitMsMax: 100, monotonicMs: () => nowMs });
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return { queue, pass };
}

test('what is asked for is done one after the other; what fails is no obstacle', async () => {
  const { queue } = aQueue();
  const done: string[] = [];
  const first = Promise.withResolvers<void>();
  const one = queue.do(async () => {
    await first.promise;
    done.push('one');
    throw new Error('one fails');
  });
  const two = queue.do(async () => void done.push('two'));
  await Promise.resolve();
  assert.deepEqual(done, []);
  first.resolve();
  await assert.rejects(one, /one fails/);
  await two;
  assert.deepEqual(done, ['one', 'two']);
});

test('more than may wait are refused, and one that has waited too long is not begun', async () => {
  const { queue, pass } = aQueue();
  const first = Promise.withResolvers<void>();
  const one = queue.do(() => first.promise);
  const late = assert.rejects(
    queue.do(async () => assert.fail('it begins')),
    { code: 'unavailable', message: /take too long/ },
  );
  await assert.rejects(
    queue.do(async () => assert.fail('it begins')),
    { code: 'unavailable', message: /2 changes wait/ },
  );
  pass(101);
  first.resolve();
  await one;
  await late;
  assert.equal(await queue.do(async () => 'again'), 'again');
});
