/** Guests that a disk error has paused: one event per pause, and whose paths are tried. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostName } from '../../../base/ids.ts';
import type { EventRecord } from '../../model/cluster.ts';
import { answers, host, hostRecord, incarnation, situation, VM, vmRecord } from '../../plan/testing/sample-records.ts';
import type { VmSituation } from '../../plan/vm/decision.ts';
import { ManualClock } from '../../ports/testing/manual-clock.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { DiskErrors } from './disk-errors.ts';
import { Evidence } from './evidence.ts';

const ON_H1 = incarnation(1);
const RUNNING = vmRecord({ kind: 'running', incarnation: ON_H1 });

/** A guest on h1 of `hosts` hosts. `isStorageDown`: its storage node does not answer, which is a cause. */
function world({ hosts = 1 } = {}) {
  const clock = new ManualClock();
  const store = new MemoryStore();
  for (let n = 1; n <= hosts; n++) store.put({ kind: 'host', id: host(n), value: hostRecord(n) });
  const evidence = new Evidence(clock);
  const probed: HostName[] = [];
  const forgotten: string[] = [];
  const warnings: string[] = [];
  const diskErrors = new DiskErrors({
    log: { info: () => undefined, warn: (message) => void warnings.push(message) },
    store,
    observer: { probeNow: async (name) => void probed.push(name) },
    diskPaths: { tryFor: async () => undefined, forget: (id) => void forgotten.push(id) },
  });
  let looks = 0;
  const note = async (status: string, isStorageDown = true): Promise<EventRecord[]> => {
    evidence.answered(evidence.ask(), ON_H1.generation, answers(status));
    await diskErrors.note(evidence, ON_H1, (): VmSituation => {
      looks++;
      const plain = situation(RUNNING, { 1: { qmp: answers(status) } }, { monotonicMs: clock.monotonicMs() });
      return { ...plain, cluster: { ...plain.cluster, storageAnswers: () => !isStorageDown } };
    });
    return store.events;
  };
  return { clock, store, evidence, diskErrors, probed, forgotten, warnings, note, looks: () => looks };
}

test('a guest without a disk error costs no look at its disks and no probe', async () => {
  const { note, looks, probed } = world();
  await note('running');
  await note('paused');
  assert.deepEqual([looks(), probed], [0, []]);
});

test('one event per pause with its cause, however often the guest is continued in vain', async () => {
  const { note, evidence, clock } = world();
  await note('io-error');
  for (let i = 0; i < 3; i++) {
    await clock.advance(5_000);
    evidence.carriedOut({ do: 'cont', incarnation: ON_H1 });
    await note('running');
    await note('io-error');
  }
  const events = await note('io-error');
  assert.deepEqual(
    events.map(({ kind, vm, host: on, generation }) => [kind, vm, on, generation]),
    [['disk-error', VM, 'h1', 1]],
  );
  assert.match(events[0]?.message ?? '', /s1/);
});

test('a guest that has run for 10 s is over its disk error: the next pause has an event of its own', async () => {
  const { note, clock, forgotten, evidence } = world();
  await note('io-error');
  evidence.carriedOut({ do: 'cont', incarnation: ON_H1 });
  await clock.advance(10_001);
  await note('running');
  assert.deepEqual([forgotten, evidence.acknowledged.diskError], [[VM], null]);
  assert.equal((await note('io-error')).length, 2);
});

test('a cause that is not known yet is waited for before the event, 2.5 s at most', async () => {
  const { note, clock } = world();
  assert.equal((await note('io-error', false)).length, 0);
  await clock.advance(2_499);
  assert.equal((await note('io-error', false)).length, 0);
  await clock.advance(1);
  assert.equal((await note('io-error', false)).length, 1);
});

test('the guest’s own host is tried first, and eight others at most', async () => {
  const { note, probed } = world({ hosts: 20 });
  await note('io-error');
  assert.deepEqual([probed[0], probed.length, new Set(probed).size], ['h1', 9, 9]);
});

test('an event that the store does not take keeps nobody from continuing the guest', async () => {
  const { note, store, warnings, clock } = world();
  store.commit = () => Promise.reject(new Error('etcd does not answer'));
  await note('io-error');
  await clock.advance(0);
  assert.ok(warnings.some((each) => each.includes('an event was not written')));
});
