/**
 * Writing what was decided: docs/specs/generations.md, E1, E2 and T3; docs/specs/guest-clusters.md, "Records that are
 * newer than the watch".
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GuestClusterName, parseGeneration, parseVmId } from '../../../base/ids.ts';
import { ClusterIndex } from '../../model/cluster-index.ts';
import type { VmRecord } from '../../model/vm.ts';
import { incarnation, task, VM, vmRecord } from '../../plan/testing/sample-records.ts';
import { type Decision, wait } from '../../plan/vm/decision.ts';
import { ManualClock } from '../../ports/testing/manual-clock.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { Commits } from './commits.ts';
import type { WrittenDecision } from './transaction.ts';

const STOPPED = vmRecord({ kind: 'stopped' }, { generation: parseGeneration(1) });
const event = { kind: 'an-event', message: 'Something happened.' };
/** Another change of the record, with the same generation. */
const SETTLED: WrittenDecision = { kind: 'commit', vm: { ...STOPPED, failures: null }, event };
const starting = (host = 1): WrittenDecision => ({
  kind: 'commit',
  vm: vmRecord({ kind: 'starting', incarnation: incarnation(2, host), reason: 'requested', avoid: [] }),
  event,
});

function world(vm: VmRecord = STOPPED) {
  const clock = new ManualClock();
  const store = new MemoryStore();
  store.put({ kind: 'vm', id: vm.id, value: vm });
  const noted: string[] = [];
  let decision: Decision = starting();
  const commits = new Commits({
    clock,
    store,
    index: new ClusterIndex(),
    decide: ({ id }) => (decision.kind === 'commit' ? { ...decision, vm: { ...decision.vm, id } } : decision),
    onBegins: (_vm, generation) => void noted.push(`begins ${generation}`),
    onCommitted: (_vm, written) => void noted.push(`committed ${written.kind}`),
  });
  return {
    clock,
    store,
    commits,
    noted,
    willDecide: (next: Decision) => {
      decision = next;
    },
  };
}

test('what is decided is one transaction with its event, and the next thing follows at once', async () => {
  const { store, commits, noted } = world();
  assert.equal(await commits.write(store.vm(), SETTLED), 'on');
  assert.deepEqual(
    [store.vm().value, store.events.length, noted],
    [SETTLED.kind === 'commit' && SETTLED.vm, 1, ['committed commit']],
  );
});

test('T3 nothing is written from a record that is not the newest: what people wrote since stays', async () => {
  const { store, commits, noted } = world();
  const entry = store.vm();
  const wish = { ...STOPPED, startTask: task(1) };
  store.put({ kind: 'vm', id: VM, value: wish });
  assert.equal(await commits.write(entry, SETTLED), 'on');
  assert.deepEqual([store.vm().value, store.commits, noted], [wish, [], []]);
});

test('T3 the same for a new generation that had to wait for its turn', async () => {
  const { store, commits } = world();
  const other = { ...STOPPED, id: parseVmId('vm-000000000002'), name: 'db' };
  store.put({ kind: 'vm', id: other.id, value: other });
  const [entry, others] = [store.vm(), store.vms.get(other.id)];
  assert.ok(others !== undefined);
  const writing = [commits.write(others, starting()), commits.write(entry, starting())];
  const wish = { ...STOPPED, startTask: task(1) };
  store.put({ kind: 'vm', id: VM, value: wish });
  assert.deepEqual(await Promise.all(writing), ['on', 'on']);
  assert.deepEqual(
    [store.vm().value, store.commits.flatMap(({ changes }) => changes.map(({ id }) => id))],
    [wish, [other.id]],
  );
});

test('a conflict is decided again from what is known then; nothing is taken for done', async () => {
  const { store, commits, noted } = world();
  store.results.push('conflict');
  assert.equal(await commits.write(store.vm(), SETTLED), 'on');
  assert.deepEqual([noted, store.events], [[], []]);
});

test('E2 a leader that was deposed, or does not know, does nothing more about a VM', async () => {
  const { store, commits, noted } = world();
  store.results.push('deposed');
  assert.equal(await commits.write(store.vm(), SETTLED), 60_000);
  assert.deepEqual(noted, []);
});

test('a new generation is decided again when its turn comes, and its credentials are begun before its transaction', async () => {
  const { store, commits, noted, willDecide } = world();
  willDecide(starting(3));
  await commits.write(store.vm(), starting(1));
  const { phase } = store.vm().value;
  assert.deepEqual(
    [phase.kind === 'starting' && phase.incarnation.host, noted],
    ['h3', ['begins 2', 'committed commit']],
  );
});

test('C1 a new generation that has no room any more when its turn comes is not written', async () => {
  const { store, commits, willDecide } = world();
  willDecide(wait('No host can take web.'));
  assert.equal(await commits.write(store.vm(), starting()), 'on');
  assert.deepEqual(store.commits, []);
});

test('a record that came with others the watch has not shown is not placed before they are known', async () => {
  const record = { ...STOPPED, spec: { ...STOPPED.spec, guestCluster: 'sql' as GuestClusterName } };
  const { store, commits, noted } = world(record);
  store.completeRevision = store.vm().revision - 1;
  assert.equal(await commits.write(store.vm(), starting()), 20);
  assert.deepEqual([store.commits, noted], [[], []]);
  assert.equal(
    await commits.write(store.vm(), { ...SETTLED, vm: { ...record, failures: null } } as WrittenDecision),
    'on',
  );
  assert.equal(store.commits.length, 1, 'what places nothing does not wait');
  store.completeRevision = null;
  assert.equal(await commits.write(store.vm(), starting()), 'on');
  assert.equal(store.commits.length, 2);
});

test('T1 a task that the watch has not shown is waited for, at most 15 s', async () => {
  const { clock, store, commits } = world();
  const decision = { ...SETTLED, tasks: [{ id: task(1), state: 'succeeded', message: '' }] } as WrittenDecision;
  assert.equal(await commits.write(store.vm(), decision), 200);
  await clock.advance(14_999);
  assert.equal(await commits.write(store.vm(), decision), 200);
  assert.deepEqual(store.commits, []);
  await clock.advance(1);
  assert.equal(await commits.write(store.vm(), decision), 'on', 'after that it does not exist');
  assert.equal(store.commits.length, 1);
});

test('T1 the wait for a task begins anew with the next one', async () => {
  const { clock, store, commits } = world();
  const decision = (n: number) =>
    ({ ...SETTLED, tasks: [{ id: task(n), state: 'succeeded', message: '' }] }) as WrittenDecision;
  await commits.write(store.vm(), decision(1));
  await clock.advance(15_000);
  await commits.write(store.vm(), SETTLED);
  assert.equal(await commits.write(store.vm(), decision(2)), 200);
});

test('T4 a VM that was removed is looked at no more', async () => {
  const { clock, store, commits, noted } = world({ ...STOPPED, deleting: true });
  const remove: WrittenDecision = { kind: 'remove', event };
  assert.equal(await commits.write(store.vm(), remove), 200, 'the task of its deletion is not known yet');
  await clock.advance(15_000);
  assert.equal(await commits.write(store.vm(), remove), null);
  assert.deepEqual([store.vms.size, noted], [0, ['committed remove']]);
});
