import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDrainId, type VmId } from '../../base/ids.ts';
import { ClusterIndex } from '../model/cluster-index.ts';
import type { DrainMove, DrainRecord } from '../model/drain.ts';
import type { VmPhase, VmRecord } from '../model/vm.ts';
import { host, hostRecord, incarnation, NOW, task, VM, vmRecord } from '../plan/testing/sample-records.ts';
import { type DrainSituation, type DrainStep, decideDrain } from './drain-decision.ts';

const OTHER = 'vm-000000000002' as VmId;

const move = (id: number, more: Partial<DrainMove> = {}): DrainMove => ({
  id,
  vm: VM,
  name: 'web1',
  from: host(1),
  to: host(2),
  after: [],
  why: 'evacuate',
  memoryMib: 1_120,
  durationMs: 9_000,
  pauseMs: 400,
  state: 'waiting',
  taskId: null,
  startedAt: null,
  endedAt: null,
  measuredPauseMs: null,
  failures: 0,
  note: null,
  ...more,
});

const drain = (moves: readonly DrainMove[], more: Partial<DrainRecord> = {}): DrainRecord => ({
  id: parseDrainId('drain-000000000001'),
  hosts: [host(1)],
  state: 'running',
  who: 'admin',
  reason: null,
  change: null,
  parallel: 2,
  taskId: task(1),
  moves,
  stuck: null,
  deviations: [],
  createdAt: NOW,
  endedAt: null,
  ...more,
});

const runningOn = (n: number): VmPhase => ({ kind: 'running', incarnation: incarnation(3, n) });

function decide(record: DrainRecord, vms: readonly VmRecord[], more: Partial<DrainSituation> = {}): DrainStep {
  const index = new ClusterIndex();
  for (const n of [1, 2, 3]) index.setHost(host(n), hostRecord(n));
  for (const vm of vms) index.setVm(vm.id, vm);
  return decideDrain({
    drain: record,
    index,
    obstacle: () => null,
    findings: () => [],
    unreadable: null,
    strays: () => 0,
    isSettled: true,
    now: NOW,
    ...more,
  });
}

const web = (phase: VmPhase, more: Partial<VmRecord> = {}): VmRecord => vmRecord(phase, { name: 'web1', ...more });
const other = (phase: VmPhase): VmRecord => vmRecord(phase, { id: OTHER, name: 'db1' });

test('a move begins when what it waits for has ended, and both hosts have a free place', () => {
  const step = decide(drain([move(0)]), [web(runningOn(1))]);
  assert.equal(step.do === 'begin' && step.move.id, 0);
  const second = move(1, { vm: OTHER, name: 'db1', after: [0] });
  const both = [web(runningOn(1)), other(runningOn(1))];
  assert.equal(
    decide(drain([move(0, { state: 'moving' }), second]), [
      web(runningOn(1), { migrationRequest: { to: host(2), taskId: task(2) } }),
      both[1] as VmRecord,
    ]).do,
    'wait',
  );
  const after = decide(drain([move(0, { state: 'moved' }), second]), [web(runningOn(2)), other(runningOn(1))]);
  assert.equal(after.do === 'begin' && after.move.id, 1);
  const full = drain([move(0, { state: 'moving' }), { ...second, after: [] }], { parallel: 1 });
  const moving = web(runningOn(1), { migrationRequest: { to: host(2), taskId: task(2) } });
  assert.equal(decide(full, [moving, other(runningOn(1))]).do, 'wait');
});

test('a VM that does not run waits, and so does a member whose guest cluster cannot let it go', () => {
  const starting: VmPhase = { kind: 'starting', incarnation: incarnation(3, 1), reason: 'requested', avoid: [] };
  assert.equal(decide(drain([move(0)]), [web(starting)]).do, 'wait');
  const step = decide(drain([move(0)]), [web(runningOn(1))], { obstacle: () => 'sql bears 1 disturbed member.' });
  assert.deepEqual(step, { do: 'wait', why: 'sql bears 1 disturbed member.' });
});

test('nothing begins under a plan that does not hold: it is made anew, once what is under way has ended', () => {
  const findings = (): string[] => ['h2 may be short of memory'];
  assert.equal(decide(drain([move(0)]), [web(runningOn(1))], { findings }).do, 'replan');
  const second = move(1, { vm: OTHER, name: 'db1' });
  const moving = web(runningOn(1), { migrationRequest: { to: host(2), taskId: task(2) } });
  const both = decide(drain([move(0, { state: 'moving' }), second]), [moving, other(runningOn(1))], { findings });
  assert.deepEqual(both, { do: 'wait', why: 'h2 may be short of memory' });
});

/** What is written of a move that is under way, by what became of its VM. */
const OUTCOMES: readonly (readonly [string, VmRecord | null, Partial<DrainMove>])[] = [
  ['it arrived', web(runningOn(2), { pausesMs: [90, 61] }), { state: 'moved', measuredPauseMs: 61 }],
  ['its move was undone', web(runningOn(1)), { state: 'waiting', failures: 1 }],
  ['it was stopped', web({ kind: 'stopped' }), { state: 'gone' }],
  ['it was restarted elsewhere', web(runningOn(3)), { state: 'gone' }],
  ['it was deleted', null, { state: 'gone' }],
];

for (const [what, vm, expected] of OUTCOMES) {
  test(`what became of a move is written: ${what}`, () => {
    const step = decide(
      drain([move(0, { state: 'moving', taskId: task(2), startedAt: NOW - 1 })]),
      vm === null ? [] : [vm],
    );
    assert.equal(step.do, 'note');
    const [noted] = step.do === 'note' ? step.drain.moves : [];
    for (const [field, value] of Object.entries(expected)) assert.equal(noted?.[field as keyof DrainMove], value);
  });
}

test('a VM that left the host without its move needs none', () => {
  const step = decide(drain([move(0)]), [web(runningOn(3))]);
  assert.equal(step.do === 'note' && step.drain.moves[0]?.state, 'gone');
});

test('drained is said of hosts that nothing is expected on, and that no late placement can name', () => {
  const done = drain([move(0, { state: 'moved' })]);
  assert.equal(decide(done, [web(runningOn(2))]).do, 'end');
  assert.equal(decide(done, [web(runningOn(2))], { isSettled: false }).do, 'wait');
  assert.equal(decide(done, [web(runningOn(2))], { strays: () => 1 }).do, 'wait');
  const came = decide(done, [web(runningOn(2)), other(runningOn(1))]);
  assert.match(came.do === 'replan' ? came.why : '', /db1/);
});

test('a move that is undone again and again is planned anew', () => {
  const step = decide(drain([move(0, { failures: 3 })]), [web(runningOn(1))]);
  assert.match(step.do === 'replan' ? step.why : '', /web1 could not be moved to h2/);
});

test('a drain that is paused begins nothing; one that is cancelled ends when what is under way has ended', () => {
  assert.equal(decide(drain([move(0)], { state: 'paused' }), [web(runningOn(1))]).do, 'wait');
  const moving = web(runningOn(1), { migrationRequest: { to: host(2), taskId: task(2) } });
  assert.equal(decide(drain([move(0, { state: 'moving' })], { state: 'cancelling' }), [moving]).do, 'wait');
  const ended = decide(drain([move(0)], { state: 'cancelling' }), [web(runningOn(1))]);
  assert.equal(ended.do === 'end' && ended.state, 'cancelled');
});
