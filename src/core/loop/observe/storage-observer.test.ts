import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../../base/errors.ts';
import type { StorageName } from '../../../base/ids.ts';
import { incarnation, node, VM } from '../../plan/testing/sample-records.ts';
import type { StorageLink, StorageReport } from '../../ports/storage-link.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { StorageObserver } from './storage-observer.ts';

const S1 = node(1);

function reportOf(more: Partial<StorageReport> = {}): StorageReport {
  return { node: S1, pool: { totalBytes: 9, freeBytes: 4 }, artifacts: [], disks: [], ...more };
}

/** An observer of s1. `answer`: what it reports, null: it does not answer. */
function world() {
  const clock = new ManualClock();
  const told: string[] = [];
  const asked: PromiseWithResolvers<boolean | null>[] = [];
  const state: { answer: StorageReport | null; questions: number } = { answer: reportOf(), questions: 0 };
  const report = async (): Promise<StorageReport> => {
    state.questions++;
    if (state.answer === null) throw new CodedError('unavailable', 's1 refuses the connection');
    return state.answer;
  };
  const observer = new StorageObserver(
    {
      clock,
      storage: { report } as unknown as StorageLink,
      isServed: () => {
        const question = Promise.withResolvers<boolean | null>();
        asked.push(question);
        return question.promise;
      },
    },
    {
      onState: (name) => void told.push(`${name} ${observer.answers(name) ? 'answers' : 'is silent'}`),
      onReport: (name) => void told.push(`report of ${name}`),
      onGone: (name) => void told.push(`${name} is gone`),
    },
  );
  return { clock, told, asked, state, observer };
}

test('a node is asked every second, and each change of whether it answers is told once', async () => {
  const { clock, told, state, observer } = world();
  observer.watch([S1]);
  await clock.advance(2_500);
  assert.deepEqual(told, ['report of s1', 's1 answers', 'report of s1', 'report of s1']);
  state.answer = null;
  await clock.advance(2_000);
  state.answer = reportOf();
  await clock.advance(1_000);
  assert.deepEqual(told.slice(4), ['s1 is silent', 'report of s1', 's1 answers']);
  observer.stop();
});

test('a node that is back is seen within a second, though hosts still try its disks', async () => {
  const { clock, asked, state, observer } = world();
  state.answer = null;
  observer.watch([S1]);
  await clock.advance(500);
  assert.deepEqual([asked.length, observer.isSilent(S1)], [1, true]);
  state.answer = reportOf();
  await clock.advance(1_000);
  assert.equal(observer.answers(S1), true, 'nobody waits for the hosts');
  asked[0]?.resolve(false);
  await settled();
  assert.equal(observer.silences().size, 0);
  state.answer = null;
  await clock.advance(1_000);
  assert.equal(observer.silences().get(S1)?.served, null, 'what was tried before it was back says nothing now');
});

test('hosts are asked once at a time whether a silent node’s disks are served', async () => {
  const { clock, asked, state, observer } = world();
  state.answer = null;
  observer.watch([S1]);
  await clock.advance(5_000);
  assert.deepEqual([asked.length, observer.silences().get(S1)?.served], [1, null]);
  asked[0]?.resolve(true);
  await settled();
  assert.equal(observer.silences().get(S1)?.served, true);
  await clock.advance(1_000);
  assert.equal(asked.length, 2);
  assert.equal(observer.silences().get(S1)?.served, true, 'until the next attempt has ended');
});

test('a silence has an age and a reason', async () => {
  const { clock, state, observer } = world();
  observer.watch([S1]);
  await clock.advance(100);
  state.answer = null;
  await clock.advance(2_000);
  assert.deepEqual(observer.silences().get(S1), { error: 's1 refuses the connection', served: null, ageMs: 2_100 });
});

test('a node that is watched no more is asked no more', async () => {
  const { clock, told, state, observer } = world();
  observer.watch([S1]);
  await clock.advance(10);
  observer.watch([]);
  const { questions } = state;
  await clock.advance(10_000);
  assert.deepEqual([state.questions, told.at(-1), observer.answers(S1)], [questions, 's1 is gone', false]);
});

test('what a node sees of an incarnation are the connections of its own grants', async () => {
  const { clock, state, observer } = world();
  const grant = (generation: number, idleMs: number | null) => ({
    ...{ vm: VM, generation: incarnation(generation).generation },
    connections: [{ address: '10.1.0.1', idleMs }],
  });
  state.answer = reportOf({
    disks: [
      { disk: 'disk-000000000001' as StorageReport['disks'][number]['disk'], grants: [grant(1, 900), grant(2, 7)] },
      { disk: 'disk-000000000002' as StorageReport['disks'][number]['disk'], grants: [grant(2, null)] },
    ],
  });
  observer.watch([S1]);
  await clock.advance(30);
  const seen = observer.see(S1, VM, incarnation(2).generation, true);
  assert.deepEqual(
    [seen.state, seen.connections, seen.idleMs, seen.ageMs, seen.reachesHost],
    ['answers', 2, 7, 30, true],
  );
  assert.equal(observer.see('s9' as StorageName, VM, null, null).state, 'unknown');
});
