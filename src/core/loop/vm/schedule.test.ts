/** When VMs are looked at: docs/specs/generations.md, L1 depends on it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseVmId, type VmId } from '../../../base/ids.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { Schedule } from './schedule.ts';

const [A, B, C] = [1, 2, 3].map((n) => parseVmId(`vm-00000000000${n}`)) as [VmId, VmId, VmId];

/** A schedule whose looks answer at once with `againInMs`, unless a test holds them. */
function scheduleOf(againInMs: (id: VmId, nth: number) => number | null = () => 5_000) {
  const clock = new ManualClock();
  const looks: string[] = [];
  const warnings: string[] = [];
  const gone: VmId[] = [];
  const failed: string[] = [];
  const counts = new Map<VmId, number>();
  const held: { gate: Promise<void> | null } = { gate: null };
  const schedule = new Schedule({
    clock,
    log: { info: () => undefined, warn: (_message, more) => void warnings.push(String(more?.['error'])) },
    look: async (id) => {
      const nth = (counts.get(id) ?? 0) + 1;
      counts.set(id, nth);
      looks.push(`${id.at(-1)} at ${clock.monotonicMs()}`);
      await held.gate;
      return againInMs(id, nth);
    },
    onFailed: (id, reason) => void failed.push(`${id.at(-1)}: ${reason}`),
    onGone: (id) => void gone.push(id),
  });
  const hold = (): (() => void) => {
    const gate = Promise.withResolvers<void>();
    held.gate = gate.promise;
    return () => {
      held.gate = null;
      gate.resolve();
    };
  };
  return { clock, schedule, looks, warnings, failed, gone, hold };
}

test('a VM is looked at when it is woken, and again when the time that its look asked for is over', async () => {
  const { clock, schedule, looks } = scheduleOf(() => 5_000);
  schedule.wake(A);
  await clock.advance(4_999);
  assert.deepEqual(looks, ['1 at 1000']);
  await clock.advance(1);
  assert.deepEqual(looks, ['1 at 1000', '1 at 6000']);
});

test('a wake-up takes the place of the look that was planned', async () => {
  const { clock, schedule, looks } = scheduleOf(() => 5_000);
  schedule.wake(A);
  await clock.advance(3_000);
  schedule.wake(A);
  await clock.advance(4_999);
  assert.deepEqual(looks, ['1 at 1000', '1 at 4000']);
  assert.equal(clock.waiting, 1);
});

test('one look per VM at a time: whatever wakes it meanwhile is one more look, at once', async () => {
  const { clock, schedule, looks, hold } = scheduleOf();
  const release = hold();
  assert.equal(schedule.wake(A), false);
  for (let i = 0; i < 5; i++) assert.equal(schedule.wake(A), true, 'it is looked at already');
  assert.equal(schedule.wake(B), false, 'another VM waits for nobody');
  await settled();
  assert.deepEqual(looks, ['1 at 1000', '2 at 1000']);
  release();
  await clock.advance(0);
  assert.deepEqual(looks, ['1 at 1000', '2 at 1000', '1 at 1000']);
});

test('a look that throws is repeated after a second, and said', async () => {
  const { clock, schedule, looks, warnings, failed } = scheduleOf((_id, nth) => {
    if (nth === 1) throw new Error('a mistake');
    return 5_000;
  });
  schedule.wake(A);
  await clock.advance(999);
  assert.deepEqual([looks.length, warnings, failed], [1, ['a mistake'], ['1: a mistake']]);
  await clock.advance(1);
  assert.equal(looks.length, 2);
  schedule.wake(A);
  await settled();
  assert.equal(looks.length, 3, 'it is not looked at for ever');
});

test('nothing is kept of a VM that is gone; one that comes by its name is looked at', async () => {
  const { clock, schedule, looks, gone } = scheduleOf((_id, nth) => (nth === 1 ? null : 5_000));
  schedule.wake(A);
  schedule.setForRoom(A, true);
  await clock.advance(10_000);
  schedule.wakeForRoom();
  await clock.advance(10_000);
  assert.deepEqual([looks.length, gone, clock.waiting], [1, [A], 0]);
  schedule.wake(A);
  await settled();
  assert.equal(looks.length, 2);
});

test('VMs that wait for room are woken once for all changes of a moment; nobody else is', async () => {
  const { clock, schedule, looks } = scheduleOf(() => 60_000);
  for (const id of [A, B, C]) schedule.wake(id);
  await clock.advance(1_000);
  schedule.setForRoom(A, true);
  schedule.setForRoom(B, true);
  schedule.setForRoom(B, false);
  looks.length = 0;
  for (let i = 0; i < 9; i++) schedule.wakeForRoom();
  assert.deepEqual(looks, [], 'not at once: a host that comes changes several times');
  await clock.advance(50);
  assert.deepEqual(looks, ['1 at 2050']);
  schedule.wakeForRoom();
  await clock.advance(50);
  assert.deepEqual(looks, ['1 at 2050', '1 at 2100']);
});

test('after its end no look begins, whatever wakes a VM; the one under way is the last', async () => {
  const { clock, schedule, looks, hold } = scheduleOf(() => 1_000);
  schedule.wake(A);
  await settled();
  const release = hold();
  schedule.wake(B);
  schedule.wake(B);
  schedule.setForRoom(A, true);
  schedule.wakeForRoom();
  schedule.stop();
  assert.equal(schedule.wake(C), false);
  release();
  await clock.advance(60_000);
  assert.deepEqual([looks, schedule.isStopped], [['1 at 1000', '2 at 1000'], true]);
});

test('no wake-up is lost: after the last one of each VM a look begins', async () => {
  const move = fc.record({ id: fc.constantFrom(A, B, C), afterMs: fc.constantFrom(0, 1, 7, 40) });
  await fc.assert(
    fc.asyncProperty(fc.array(move, { maxLength: 40 }), fc.integer({ min: 0, max: 30 }), async (moves, lookMs) => {
      const clock = new ManualClock();
      const begun = new Map<VmId, number>();
      const active = new Set<VmId>();
      const schedule = new Schedule({
        clock,
        log: { info: () => undefined, warn: () => undefined },
        look: async (id) => {
          assert.ok(!active.has(id), 'one at a time');
          active.add(id);
          begun.set(id, wakes);
          await new Promise<void>((resolve) => void clock.after(lookMs, resolve));
          active.delete(id);
          return 1_000_000;
        },
        onFailed: () => undefined,
        onGone: () => undefined,
      });
      let wakes = 0;
      const last = new Map<VmId, number>();
      for (const { id, afterMs } of moves) {
        await clock.advance(afterMs);
        last.set(id, ++wakes);
        schedule.wake(id);
      }
      await clock.advance(1_000);
      for (const [id, nth] of last) assert.ok((begun.get(id) ?? 0) >= nth, `${id} was woken after its last look began`);
    }),
    { seed: 20_261_130, numRuns: 100 },
  );
});
