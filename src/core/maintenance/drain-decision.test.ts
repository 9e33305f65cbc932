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
  const waits = 'Waits for VM web1, which is starting on h1.';
  assert.deepEqual(decide(drain([move(0)]), [web(starting)]), {
    do: 'wait',
    why: waits,
    held: { what: waits, forVm: true },
  });
  const what = 'sql bears 1 disturbed member.';
  const step = decide(drain([move(0)]), [web(runningOn(1))], { obstacle: () => what });
  assert.deepEqual(step, { do: 'wait', why: what, held: { what, forVm: false } });
});

const arriving: VmPhase = {
  kind: 'migrating',
  source: incarnation(3, 3),
  destination: incarnation(4, 1),
  taskId: null,
  deadlineAt: NOW + 1_000,
};

test('a VM that is arriving is waited for, and somebody is asked to look if it never comes', () => {
  const what = 'Waits for VM web1, which is arriving from h3.';
  const held = { do: 'wait', why: what, held: { what, forVm: true } };
  assert.deepEqual(decide(drain([move(0)]), [web(arriving)]), held);
  const asked = web(runningOn(3), { migrationRequest: { to: host(1), taskId: task(2) } });
  assert.deepEqual(decide(drain([move(0)]), [asked]), held);
  const { kind: _, deadlineAt: __, ...way } = arriving as Extract<VmPhase, { kind: 'migrating' }>;
  assert.equal(decide(drain([move(0)]), [web({ kind: 'switching', ...way, taskId: null })]).do, 'wait');
  const since = (ms: number): Partial<DrainRecord> => ({ waits: { what, since: NOW - ms, forVm: true } });
  assert.equal(decide(drain([move(0)], since(899_000)), [web(arriving)]).do, 'wait');
  const late = decide(drain([move(0)], since(900_000)), [web(arriving)]);
  assert.match(late.do === 'pause' ? late.why : '', /^Nothing could be moved for 15 min: Waits for VM web1, .* resume/);
  // A guest cluster's quiet hours may last for days.
  const quiet = { waits: { what, since: 0, forVm: false } };
  assert.equal(decide(drain([move(0)], quiet), [web(runningOn(1))], { obstacle: () => 'quiet' }).do, 'wait');
});

test('a VM whose way to the host is undone needs no move', () => {
  const { kind: _, deadlineAt: __, ...way } = arriving as Extract<VmPhase, { kind: 'migrating' }>;
  const back: VmPhase = { kind: 'unwinding', ...way, taskId: null, reason: 'the stream broke' };
  const step = decide(drain([move(0)]), [web(back)]);
  assert.equal(step.do === 'note' ? step.drain.moves[0]?.note : '', 'It is on h3 without this move.');
  const noted = drain([move(0, { state: 'gone' })]);
  assert.match(JSON.stringify(decide(noted, [web(back)])), /Waits for 1 VM that is leaving without it: web1/);
});

test('the second move of a VM that goes by way of a third host waits for the first', () => {
  const legs = drain([
    move(0, { to: host(3), why: 'by-way', state: 'moving' }),
    move(1, { from: host(3), to: host(2), after: [0] }),
  ]);
  const step = decide(legs, [web(runningOn(3), { pausesMs: [40] })]);
  assert.deepEqual(step.do === 'note' ? step.drain.moves.map(({ state }) => state) : [], ['moved', 'waiting']);
});

test('nothing begins under a plan that does not hold: it is made anew, once what is under way has ended', () => {
  const findings = (): string[] => ['h2 may be short of memory'];
  assert.equal(decide(drain([move(0)]), [web(runningOn(1))], { findings }).do, 'replan');
  const second = move(1, { vm: OTHER, name: 'db1' });
  const moving = web(runningOn(1), { migrationRequest: { to: host(2), taskId: task(2) } });
  const both = decide(drain([move(0, { state: 'moving' }), second]), [moving, other(runningOn(1))], { findings });
  assert.deepEqual(both, { do: 'wait', why: 'h2 may be short of memory' });
});

/** The state that is written for a move under way, by the state of its VM. */
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

test('a drain goes on without a host that left the cluster, and ends with words when all of them have', () => {
  const index = new ClusterIndex();
  for (const n of [2, 3]) index.setHost(host(n), hostRecord(n));
  const two = decide(drain([], { hosts: [host(1), host(2)] }), [], { index });
  assert.ok(two.do === 'note');
  assert.deepEqual(two.drain.hosts, [host(2)]);
  assert.deepEqual(
    two.drain.deviations.map(({ what }) => what),
    ['h1 left the cluster.'],
  );
  for (const left of [
    drain([move(0, { vm: OTHER, from: host(2), to: host(3) })]),
    drain([], { hosts: [], home: host(1) }),
  ]) {
    index.setVm(OTHER, other(runningOn(2)));
    const step = decide(left, [], { index });
    assert.deepEqual([step.do, step.do === 'end' && step.state], ['end', 'cancelled']);
    assert.match(step.do === 'end' ? step.message : '', /^h1 left the cluster\./);
  }
  const moving = move(0, { vm: OTHER, from: host(2), to: host(3), state: 'moving' });
  index.setVm(OTHER, { ...other(runningOn(2)), migrationRequest: { to: host(3), taskId: task(2) } });
  assert.equal(decide(drain([moving]), [], { index }).do, 'wait', 'what is under way ends first');
  assert.equal(decide(drain([]), [], { index, unreadable: 'h1 cannot be read' }).do, 'stick');
});
