/** The writes of one decision: docs/specs/generations.md, T1 to T4. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkName } from '../../../base/ids.ts';
import type { NetworkRecord, TaskRecord } from '../../model/cluster.ts';
import { stopping } from '../../plan/testing/decision-table.ts';
import { host, hostRecord, incarnation, NOW, task, VM, vmRecord } from '../../plan/testing/sample-records.ts';
import type { Decision } from '../../plan/vm/decision.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { changesOf, eventOf, knowsItsTasks, type WrittenDecision } from './transaction.ts';

const RUNNING = vmRecord({ kind: 'running', incarnation: incarnation(1) });
const event = { kind: 'lost', message: 'h1 was lost.' };
const REMOVE: WrittenDecision = { kind: 'remove', event: { kind: 'deleted', message: 'web was deleted.' } };

function taskRecord(n: number, more: Partial<TaskRecord> = {}): TaskRecord {
  return {
    id: task(n),
    kind: 'vm.migrate',
    target: { kind: 'vm', name: 'web' },
    state: 'running',
    progressPercent: 10,
    message: '',
    startedAt: 0,
    endedAt: null,
    ...more,
  };
}

function storeOf(tasks: readonly TaskRecord[]): MemoryStore {
  const store = new MemoryStore();
  for (const value of tasks) store.put({ kind: 'task', id: value.id, value });
  return store;
}

function commitOf(more: Partial<Extract<Decision, { kind: 'commit' }>> = {}): WrittenDecision {
  return { kind: 'commit', vm: { ...RUNNING, deleting: true }, event, ...more };
}

test('a commit writes the record that was decided, and nothing that the decision does not name', () => {
  assert.deepEqual(changesOf(RUNNING, commitOf(), new MemoryStore().snapshot, NOW), [
    { kind: 'vm', id: VM, value: { ...RUNNING, deleting: true } },
  ]);
});

test('T1 tasks end in the transaction of what they waited for; one that has ended ends no second time', () => {
  const ended = taskRecord(2, { state: 'failed', endedAt: 5 });
  const { snapshot } = storeOf([taskRecord(1), ended]);
  const tasks = [
    { id: task(1), state: 'succeeded', message: 'Done.' } as const,
    { id: ended.id, state: 'succeeded', message: 'Done.' } as const,
    { id: task(3), state: 'failed', message: 'Never heard of.' } as const,
  ];
  const [, ...rest] = changesOf(RUNNING, commitOf({ tasks }), snapshot, NOW);
  const value = { ...taskRecord(1), state: 'succeeded', message: 'Done.', progressPercent: 100, endedAt: NOW };
  assert.deepEqual(rest, [{ kind: 'task', id: task(1), value }]);
});

test('P1 the host of a lost VM is quarantined in the same transaction, and keeps the first reason', () => {
  const store = new MemoryStore();
  store.put({ kind: 'host', id: host(1), value: hostRecord(1) });
  const decision = commitOf({ quarantine: { host: host(1), reason: 'lost with web' } });
  const [, change] = changesOf(RUNNING, decision, store.snapshot, NOW);
  const value = hostRecord(1, { quarantine: { since: NOW, reason: 'lost with web' } });
  assert.deepEqual(change, { kind: 'host', id: host(1), value });
  store.put({ kind: 'host', id: host(1), value: hostRecord(1, { quarantine: { since: 1, reason: 'lost with db' } }) });
  assert.equal(changesOf(RUNNING, decision, store.snapshot, NOW).length, 1);
  store.put({ kind: 'host', id: host(1), value: null });
  assert.equal(changesOf(RUNNING, decision, store.snapshot, NOW).length, 1, 'a host that was removed stays removed');
});

test('T4 a removal deletes the record, ends the deletions that were asked for, and no other task', () => {
  const tasks = [
    taskRecord(1, { kind: 'vm.delete' }),
    taskRecord(2, { kind: 'vm.delete', target: { kind: 'vm', name: 'db' } }),
    taskRecord(3, { kind: 'vm.delete', state: 'failed' }),
    taskRecord(4),
  ];
  const { snapshot } = storeOf(tasks);
  const changes = changesOf(RUNNING, REMOVE, snapshot, NOW);
  assert.deepEqual(
    changes.map(({ kind, id, value }) => [kind, id, value === null]),
    [
      ['vm', VM, true],
      ['task', task(1), false],
    ],
  );
});

test('a removal gives back the addresses of all cards, present and next, in one change per network', () => {
  const store = new MemoryStore();
  const [blue, red] = ['blue', 'red'] as NetworkName[];
  const mac = (n: number): string => `52:54:00:00:00:0${n}`;
  const other = { address: '10.0.0.9', vm: 'vm-other', hostname: 'db' };
  const mine = { address: '10.0.0.1', vm: VM, hostname: 'web' };
  for (const name of [blue, red])
    store.networks.set(name as NetworkName, {
      value: { name, reservations: { [mac(1)]: mine, [mac(2)]: mine, [mac(9)]: other } } as unknown as NetworkRecord,
      revision: 1,
    });
  const nic = (network: NetworkName | undefined, n: number) =>
    ({ network: network as NetworkName, mac: mac(n), address: null }) as const;
  const vm = {
    ...RUNNING,
    spec: { ...RUNNING.spec, nics: [nic(blue, 1), nic(blue, 2)] },
    nextNics: [nic(blue, 1), nic(red, 3)],
  };
  const networks = changesOf(vm, REMOVE, store.snapshot, NOW).filter(({ kind }) => kind === 'network');
  assert.deepEqual(
    networks.map(({ id }) => id),
    [blue, red],
  );
  for (const { value } of networks) assert.deepEqual((value as NetworkRecord).reservations, { [mac(9)]: other });
});

test('a decision’s tasks are known when the watch has shown each of them; a deletion has at least one', () => {
  const tasks = [{ id: task(1), state: 'failed', message: '' } as const];
  const empty = new MemoryStore().snapshot;
  assert.equal(knowsItsTasks(RUNNING, commitOf(), empty), true);
  assert.equal(knowsItsTasks(RUNNING, commitOf({ tasks }), empty), false);
  assert.equal(knowsItsTasks(RUNNING, commitOf({ tasks }), storeOf([taskRecord(1)]).snapshot), true);
  assert.equal(knowsItsTasks(RUNNING, REMOVE, storeOf([taskRecord(1)]).snapshot), false);
  assert.equal(knowsItsTasks(RUNNING, REMOVE, storeOf([taskRecord(1, { kind: 'vm.delete' })]).snapshot), true);
});

test('an event names the incarnation that is current after it', () => {
  const vm = vmRecord({ kind: 'starting', incarnation: incarnation(2, 3), reason: 'lost', avoid: [] });
  assert.deepEqual(eventOf(RUNNING, commitOf({ vm }), NOW), {
    ...event,
    at: NOW,
    vm: VM,
    vmName: 'web',
    host: host(3),
    generation: 2,
  });
  const removed = eventOf(vmRecord({ kind: 'stopped' }), REMOVE, NOW);
  assert.deepEqual([removed.host, removed.generation, removed.kind], [null, null, 'deleted']);
  assert.equal(eventOf(RUNNING, commitOf({ vm: vmRecord(stopping('hard')) }), NOW).host, host(1));
});
