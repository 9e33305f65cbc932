import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../../base/errors.ts';
import type { HostObservation } from '../../model/observation.ts';
import { incarnation, seenHost, silentKernel, vmRecord } from '../../plan/testing/sample-records.ts';
import type { Step } from '../../plan/vm/steps.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { Acknowledgements } from './acknowledgements.ts';
import { orderPatiently } from './patience.ts';

const LAUNCH: Step = { do: 'launch', incarnation: incarnation(2), incoming: false };
const VM = vmRecord({ kind: 'starting', incarnation: incarnation(2), reason: 'requested', avoid: [] });
const { generation } = incarnation(2);

/** An order that is under way until the test ends it. */
function ordered(step: Step = LAUNCH) {
  const clock = new ManualClock();
  const notes = new Acknowledgements();
  notes.neverContinued.set(generation, null);
  const order = Promise.withResolvers<void>();
  let seen: HostObservation = seenHost(1);
  const ports = { clock, executor: { perform: () => order.promise }, observer: { see: () => seen } };
  const outcome: { text: string | null } = { text: null };
  orderPatiently(ports, VM, step, notes).then(
    () => {
      outcome.text = 'done';
    },
    (error: unknown) => {
      outcome.text = error instanceof CodedError ? error.code : String(error);
    },
  );
  return {
    clock,
    notes,
    order,
    outcome,
    see: (next: HostObservation) => {
      seen = next;
    },
  };
}

test('a launch is waited for as long as its host’s agent answers', async () => {
  const { clock, notes, order, outcome } = ordered();
  await clock.advance(60_000);
  assert.equal(outcome.text, null);
  order.resolve();
  await settled();
  assert.deepEqual([outcome.text, [...notes.neverContinued], clock.waiting], ['done', [[generation, 61_000]], 0]);
});

test('the wait for a launch ends when its host is silent on every path, twice', async () => {
  const { clock, outcome, see } = ordered();
  see(seenHost(1, { agent: 'silent', agentAgeMs: 10, kernel: silentKernel(1, []) }));
  await clock.advance(1_000);
  assert.equal(outcome.text, null);
  see(seenHost(1, { agent: 'silent', agentAgeMs: 10, kernel: silentKernel(2, []) }));
  await clock.advance(250);
  assert.deepEqual([outcome.text, clock.waiting], ['deadline', 0]);
});

test('the wait ends 5 s after an agent fell silent, though its host is there', async () => {
  const { clock, outcome, see } = ordered();
  see(seenHost(1, { agent: 'silent', agentAgeMs: null }));
  await clock.advance(4_900);
  assert.equal(outcome.text, null);
  await clock.advance(350);
  assert.equal(outcome.text, 'deadline');
});

test('a launch that is acknowledged after its wait was given up is noted: its process is there', async () => {
  const { clock, notes, order, see } = ordered();
  see(seenHost(1, { agent: 'silent', agentAgeMs: null }));
  await clock.advance(6_000);
  order.resolve();
  await settled();
  assert.deepEqual([...notes.neverContinued], [[generation, 7_000]]);
});

test('a late launch of a generation that the record no longer names is not noted', async () => {
  const { clock, notes, order, see } = ordered();
  see(seenHost(1, { agent: 'silent', agentAgeMs: null }));
  await clock.advance(6_000);
  notes.forget(generation);
  order.resolve();
  await settled();
  assert.deepEqual([...notes.neverContinued], []);
});

test('from the order to continue on a guest may have run, whatever becomes of the order', async () => {
  const { clock, notes, order, outcome } = ordered({ do: 'cont', incarnation: incarnation(2) });
  assert.deepEqual([...notes.neverContinued], []);
  order.reject(new CodedError('deadline', 'no answer'));
  await clock.advance(0);
  assert.equal(outcome.text, 'deadline');
});
