import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { anySignal, lateBy, onDeadline, withDeadline } from './deadline.ts';
import { monotonicMs } from './monotonic.ts';

const never = (): Promise<never> => new Promise(() => undefined);

test('a wait that does not end is ended at its deadline, and told so', async () => {
  let told: unknown;
  const wait = withDeadline(
    (signal) => {
      signal.addEventListener('abort', () => {
        told = signal.reason;
      });
      return never();
    },
    { deadlineMs: 10, what: 'the answer of host h1' },
  );
  await assert.rejects(wait, (error) => {
    assert(error instanceof CodedError);
    assert.equal(error.code, 'deadline');
    assert.match(error.message, /the answer of host h1 within 10 ms/);
    assert.equal(told, error);
    return true;
  });
});

test('values, rejections and synchronous throws pass through', async () => {
  const options = { deadlineMs: 10_000, what: 'x' };
  assert.equal(await withDeadline(async () => 7, options), 7);
  await assert.rejects(
    withDeadline(() => {
      throw new Error('at once');
    }, options),
    /at once/,
  );
  await assert.rejects(
    withDeadline(async () => {
      throw new Error('later');
    }, options),
    /later/,
  );
});

test('an outer signal ends the wait with its own reason, before and during', async () => {
  const reason = new Error('shutting down');
  const controller = new AbortController();
  const wait = withDeadline(never, { deadlineMs: 10_000, signal: controller.signal, what: 'x' });
  controller.abort(reason);
  await assert.rejects(wait, reason);
  let started = false;
  const late = withDeadline(
    async () => {
      started = true;
    },
    { deadlineMs: 10_000, signal: controller.signal, what: 'x' },
  );
  await assert.rejects(late, reason);
  assert.equal(started, false);
});

test('a stalled process takes the answer that already waits in the socket', async () => {
  const server = createServer((socket) => socket.end('answer'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const address = server.address();
    assert(address !== null && typeof address === 'object');
    const socket = connect(address.port, '127.0.0.1');
    await new Promise((resolve) => server.once('connection', resolve));
    // The answer is under way; now none of our code runs until well past the deadline.
    const answer = withDeadline(() => new Promise((resolve) => socket.once('data', resolve)), {
      deadlineMs: 20,
      what: 'x',
    });
    const startedMs = monotonicMs();
    while (monotonicMs() - startedMs < 60);
    assert.equal(String(await answer), 'answer');
    socket.destroy();
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
});

test('lateness of this process is measured', async () => {
  const lateByMs = await new Promise<number>((resolve) => {
    onDeadline(10, resolve);
    const startedMs = monotonicMs();
    while (monotonicMs() - startedMs < 60);
  });
  assert(lateByMs >= 49, `${lateByMs}`);
  assert.equal(lateBy({ startedMs: monotonicMs(), deadlineMs: 1000 }), 0);
});

test('absent signals are skipped when combining', () => {
  const controller = new AbortController();
  const both = anySignal(undefined, controller.signal);
  controller.abort(new Error('enough'));
  assert.equal(both.aborted, true);
  assert.equal(anySignal(undefined).aborted, false);
});
