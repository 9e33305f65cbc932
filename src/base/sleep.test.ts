import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, type Timer } from './sleep.ts';

/** Timers that fire by hand. */
class HandTimer implements Timer {
  readonly pending = new Set<() => void>();

  after(_delayMs: number, callback: () => void): () => void {
    this.pending.add(callback);
    return () => this.pending.delete(callback);
  }

  fire(): void {
    for (const callback of [...this.pending]) {
      this.pending.delete(callback);
      callback();
    }
  }
}

const isOver = async (wait: Promise<void>): Promise<boolean> =>
  Promise.race([wait.then(() => true), new Promise<false>((resolve) => setImmediate(resolve, false))]);

test('a sleep ends when its time is over, and not before', async () => {
  const timer = new HandTimer();
  const wait = sleep(timer, 5);
  assert.equal(await isOver(wait), false);
  timer.fire();
  assert.equal(await isOver(wait), true);
  assert.equal(await isOver(sleep(timer, 0)), true);
  assert.equal(timer.pending.size, 0);
});

test('a sleep ends early with its signal or with what it waits for, without a rejection, and leaves no timer', async () => {
  const timer = new HandTimer();
  const over = new AbortController();
  const wait = sleep(timer, 60_000, { signal: over.signal });
  over.abort(new Error('enough'));
  await wait;
  await sleep(timer, 60_000, { signal: over.signal });
  await sleep(timer, 60_000, { until: Promise.resolve() });
  await sleep(timer, 60_000, { until: Promise.reject(new Error('it failed')) });
  assert.equal(timer.pending.size, 0);
});
