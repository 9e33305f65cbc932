import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAnswer } from '../../core/ports/guest-agent-link.ts';
import { GuestAgentTurns, type GuestLane } from './guest-agent-turns.ts';

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** Guests that answer when a test says so. */
class Guests {
  readonly turns = new GuestAgentTurns({ atOnce: 2, waitingMax: 2 });
  /** Guests that are being asked, with what ends each question. */
  readonly asked = new Map<string, () => void>();

  ask(lane: GuestLane, guest: string): Promise<GuestAnswer<string>> {
    return this.turns.take({ lane, guest }, async () => {
      assert.equal(this.asked.has(guest), false, `${guest} is asked two things at once`);
      await new Promise<void>((resolve) => this.asked.set(guest, resolve));
      return { kind: 'answers', value: guest };
    });
  }

  async answer(guest: string): Promise<void> {
    this.asked.get(guest)?.();
    this.asked.delete(guest);
    await turn();
  }
}

test('however many guests people look at, a ready-check has its place at once', async () => {
  const guests = new Guests();
  const looked = ['a', 'b', 'c', 'd'].map((guest) => guests.ask('people', guest));
  const refused = await guests.ask('people', 'e');
  assert.equal(refused.kind, 'silent');
  // c is looked at, too, and has no place yet: its check does not wait for that.
  const checks = ['c', 'x'].map((guest) => guests.ask('checks', guest));
  await turn();
  assert.deepEqual([...guests.asked.keys()], ['a', 'b', 'c', 'x']);
  await guests.answer('c');
  await guests.answer('x');
  assert.deepEqual(
    (await Promise.all(checks)).map(({ kind }) => kind),
    ['answers', 'answers'],
  );
  for (const guest of ['a', 'b', 'c', 'd']) await guests.answer(guest);
  assert.deepEqual(
    (await Promise.all(looked)).map(({ kind }) => kind),
    ['answers', 'answers', 'answers', 'answers'],
  );
});

test('a guest is asked one thing at a time, whatever asks, and the checks are bounded as well', async () => {
  const guests = new Guests();
  const all = [guests.ask('people', 'a'), guests.ask('checks', 'a')];
  await turn();
  assert.equal(guests.asked.size, 1);
  await guests.answer('a');
  assert.equal(guests.asked.size, 1);
  await guests.answer('a');
  await Promise.all(all);
  const checks = ['a', 'b', 'c', 'd'].map((guest) => guests.ask('checks', guest));
  assert.equal((await guests.ask('checks', 'e')).kind, 'silent');
  assert.equal(guests.asked.size, 2);
  for (const guest of ['a', 'b', 'c', 'd']) await guests.answer(guest);
  await Promise.all(checks);
});
