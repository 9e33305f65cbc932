import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BusyPoll, POLL_MS_MAX } from './busy-poll.ts';

/** An event loop whose turns take a hundredth of a millisecond. */
function loop(): { poll: BusyPoll; input: (afterMs: number) => number } {
  let nowMs = 0;
  let turns: (() => void)[] = [];
  const poll = new BusyPoll({ monotonicMs: () => nowMs, nextTurn: (callback) => void turns.push(callback) });
  /** Input that comes so much later; answers how long was looked for it. */
  const input = (afterMs: number): number => {
    const fromMs = nowMs;
    let lookedMs = 0;
    while (turns.length > 0 && nowMs - fromMs < afterMs) {
      nowMs += 0.01;
      const due = turns;
      turns = [];
      for (const turn of due) turn();
      lookedMs = nowMs - fromMs;
    }
    nowMs = Math.max(nowMs, fromMs + afterMs);
    poll.arrived();
    poll.handled();
    return lookedMs;
  };
  return { poll, input };
}

describe('busy polling', () => {
  test('begins with the second of two inputs that come soon after each other, and then sees the next ones', () => {
    const { input } = loop();
    input(10);
    assert.equal(input(0.05), 0, 'nothing came soon so far');
    for (const gapMs of [0.05, 0.08, 0.03]) assert.ok(input(gapMs) >= gapMs - 0.011, `${gapMs} ms`);
  });

  test('ends at its limit, and an input that comes later than that ends it for the following', () => {
    const { input } = loop();
    for (const gapMs of [10, 0.15, 0.15]) input(gapMs);
    const lookedMs = input(50);
    assert.ok(lookedMs > 0.15 && lookedMs <= POLL_MS_MAX + 0.011, `${lookedMs} ms`);
    assert.equal(input(0.05), 0);
  });

  test('inputs with pauses between them are never looked for', () => {
    const { input } = loop();
    for (let count = 0; count < 20; count++) assert.equal(input(1), 0);
  });
});
