import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Generation } from '../../base/ids.ts';
import type { TaskRecord } from '../model/cluster.ts';
import type { Debt } from '../model/debt.ts';
import type { VmPhase, VmRecord } from '../model/vm.ts';
import {
  guestClusterRecord,
  hostRecord,
  incarnation,
  memberRecord,
  task,
  vmRecord,
} from '../plan/testing/sample-records.ts';
import { newTask, taskChange, vmChange } from './basis.ts';
import { RecordWorld } from './testing/record-world.ts';
import { patchVm } from './vm-changes.ts';
import { deleteVm, migrateVm, resetVm, resumeVm, startVm, stopVm, suspendVm, type Wish } from './vm-wishes.ts';

const ANY = { ifMatch: null };
const ends = { source: incarnation(3), destination: incarnation(4, 2), taskId: null };
const PHASES: Readonly<Record<VmPhase['kind'], VmPhase>> = {
  stopped: { kind: 'stopped' },
  starting: { kind: 'starting', incarnation: incarnation(3), reason: 'requested', avoid: [] },
  running: { kind: 'running', incarnation: incarnation(3) },
  stopping: {
    kind: 'stopping',
    incarnation: incarnation(3),
    mode: 'acpi',
    deadlineAt: 0,
    reason: 'requested',
  },
  migrating: { kind: 'migrating', ...ends, deadlineAt: 0 },
  switching: { kind: 'switching', ...ends },
  unwinding: { kind: 'unwinding', ...ends, reason: 'x' },
};

/** VM `web` on hosts h1 and h2, with as many running tasks. */
function have(vm: Partial<VmRecord>, tasks = 0) {
  const world = new RecordWorld([1, 2].map((n) => ({ kind: 'host', id: hostRecord(n).name, value: hostRecord(n) })));
  const record = vmRecord(PHASES.stopped, { generation: 4 as Generation, ...vm });
  const begun = newTask(world.basis(), { kind: 'vm.x', target: { kind: 'vm', name: 'web' }, message: '' });
  const records = Array.from({ length: tasks }, (_, n) => taskChange({ ...begun, id: task(n + 1) }));
  world.apply([vmChange(record), ...records]);
  return {
    world,
    wish: (make: (basis: ReturnType<RecordWorld['basis']>) => Wish): TaskRecord => {
      const id = world.take(make(world.basis()));
      const made = world.basis().records.tasks.get(id)?.value;
      assert.ok(made !== undefined);
      return made;
    },
    vm: (): VmRecord => world.basis().records.vms.get(record.id)?.value ?? record,
    state: (n: number) => world.basis().records.tasks.get(task(n))?.value.state,
  };
}

test('start, in every phase', () => {
  for (const phase of Object.values(PHASES)) {
    const begins = phase.kind === 'stopped' || phase.kind === 'stopping';
    const { wish, vm } = have({ phase, intent: begins ? 'stopped' : 'running' });
    const { state } = wish((basis) => startVm(basis, 'web'));
    assert.equal(state, begins ? 'running' : 'succeeded', phase.kind);
    assert.deepEqual([vm().intent, vm().startTask !== null], ['running', begins], phase.kind);
  }
  const starting = have({ phase: PHASES.starting });
  assert.match(starting.wish((basis) => startVm(basis, 'web')).message, /is starting already/);
  const paused = have({ phase: PHASES.running, intent: 'suspended' });
  assert.match(paused.wish((basis) => startVm(basis, 'web')).message, /gp vm resume web/);
});

test('a second start of a VM that waits for room supersedes the first one: its task ends, once', () => {
  const { world, wish, vm, state } = have({ startTask: task(1) }, 1);
  const second = wish((basis) => startVm(basis, 'web'));
  assert.deepEqual([state(1), vm().startTask], ['cancelled', second.id]);
  const { changes } = startVm(world.basis(), 'web');
  assert.deepEqual(
    changes.map(({ id }) => id),
    [vm().id, changes[1]?.id, second.id],
    'the first task is not touched again',
  );
});

test('stop, in every phase', () => {
  for (const phase of Object.values(PHASES)) {
    const { world, wish, vm } = have({ phase });
    const { state, id } = wish((basis) => stopVm(basis, world.observed(), 'web', {}));
    assert.equal(state, phase.kind === 'stopped' ? 'succeeded' : 'running', phase.kind);
    const expected = { mode: 'acpi', patienceMs: 30_000, taskId: id };
    assert.deepEqual([vm().intent, vm().stopRequest], ['stopped', phase.kind === 'stopped' ? null : expected]);
  }
  const { wish, vm } = have({ phase: PHASES.running });
  wish((basis) => stopVm(basis, null, 'web', { mode: 'hard' }));
  assert.equal(vm().stopRequest?.patienceMs, 0);
});

test('a stop ends what was asked for before it', () => {
  const migrationRequest = { to: null, taskId: task(2) };
  const stopRequest = { mode: 'acpi' as const, patienceMs: 5, taskId: task(1) };
  const running = have({ phase: PHASES.running, stopRequest, migrationRequest }, 2);
  running.wish((basis) => stopVm(basis, null, 'web', { mode: 'hard' }));
  assert.deepEqual([running.state(1), running.state(2)], ['cancelled', 'cancelled']);
  assert.equal(running.vm().migrationRequest, null);
  const asked = {
    startTask: task(1),
    resetRequest: { taskId: task(2) },
    stopRequest: { ...stopRequest, taskId: task(3) },
  };
  const stopped = have(asked, 3);
  stopped.wish((basis) => stopVm(basis, null, 'web', {}));
  assert.deepEqual([1, 2, 3].map(stopped.state), ['cancelled', 'cancelled', 'cancelled']);
  const { startTask, resetRequest, stopRequest: after } = stopped.vm();
  assert.deepEqual([startTask, resetRequest, after], [null, null, null]);
});

test('a stop says where it disturbs more members of a guest cluster than the cluster bears', () => {
  const members = [
    memberRecord(1, PHASES.running),
    memberRecord(2, { kind: 'running', incarnation: incarnation(1, 2) }),
  ];
  const cluster = guestClusterRecord(members);
  const world = new RecordWorld([
    ...members.map(vmChange),
    { kind: 'guest-cluster', id: cluster.name, value: cluster },
  ]);
  const message = (): string | undefined => {
    const { changes, result } = stopVm(world.basis(), world.observed(), 'sql1', {});
    const made = changes.find(({ id }) => id === result);
    return made?.kind === 'task' ? made.value?.message : undefined;
  };
  assert.equal(message(), 'Stopping.');
  world.apply([vmChange(memberRecord(2, PHASES.stopped))]);
  assert.match(message() ?? '', /^Stopping\. Guest cluster sql allows 1 at once, and besides sql2 /);
});

test('a task that has ended stays as it ended', () => {
  const { world, wish } = have({ startTask: task(1) }, 1);
  const before = world.basis().records.tasks.get(task(1))?.value;
  assert.ok(before !== undefined);
  const ended = { ...before, state: 'failed', message: 'as it was', endedAt: 5 } as const;
  world.apply([taskChange(ended)]);
  wish((basis) => deleteVm(basis, 'web', ANY));
  assert.deepEqual(world.basis().records.tasks.get(task(1))?.value, ended);
});

test('suspend, resume, reset and migrate want a VM that runs', () => {
  for (const act of [
    suspendVm,
    resumeVm,
    resetVm,
    (...[basis, name]: Parameters<typeof resetVm>) => migrateVm(basis, name, {}),
  ]) {
    const stopped = have({ phase: PHASES.stopped });
    assert.throws(() => act(stopped.world.basis(), 'web'), { code: 'conflict', message: /is not running/ });
    const deleting = have({ phase: PHASES.running, deleting: true });
    assert.throws(() => act(deleting.world.basis(), 'web'), /is being deleted/);
  }
  const { world, wish, vm } = have({ phase: PHASES.running });
  const state = (id: TaskRecord['id']) => world.basis().records.tasks.get(id)?.value.state;
  const paused = wish((basis) => suspendVm(basis, 'web'));
  assert.equal(paused.state, 'running', 'whether it stands still only its leader sees');
  assert.deepEqual([vm().intent, vm().pauseTask], ['suspended', paused.id]);
  const resumed = wish((basis) => resumeVm(basis, 'web'));
  assert.deepEqual([vm().intent, vm().pauseTask, state(paused.id)], ['running', resumed.id, 'cancelled']);
  const first = wish((basis) => resetVm(basis, 'web'));
  const second = wish((basis) => resetVm(basis, 'web'));
  assert.deepEqual([vm().resetRequest?.taskId, state(first.id)], [second.id, 'cancelled']);
  const again = have({ phase: PHASES.running, intent: 'suspended' });
  const already = again.wish((basis) => suspendVm(basis, 'web'));
  assert.deepEqual([already.state, again.vm().pauseTask ?? null], ['succeeded', null]);
});

test('migrate, in every phase', () => {
  for (const phase of Object.values(PHASES)) {
    if (phase.kind === 'running') continue;
    const { world } = have({ phase });
    assert.throws(() => migrateVm(world.basis(), 'web', {}), { code: 'conflict' }, phase.kind);
  }
  const { world, wish, vm } = have({ phase: PHASES.running });
  assert.throws(() => migrateVm(world.basis(), 'web', { to: 'h1' }), /is on h1 already/);
  assert.throws(() => migrateVm(world.basis(), 'web', { to: 'h9' }), { code: 'not-found', advice: /Hosts: h1, h2/ });
  const begun = wish((basis) => migrateVm(basis, 'web', { to: 'h2' }));
  const { askedAt = 0, ...request } = vm().migrationRequest ?? {};
  assert.deepEqual(request, { to: 'h2', taskId: begun.id });
  assert.ok(askedAt > 0, 'one that cannot begin does not wait for ever');
  assert.throws(() => migrateVm(world.basis(), 'web', {}), /about to be migrated already/);
});

test('delete, in every phase; a second one is told so', () => {
  for (const phase of Object.values(PHASES)) {
    const { world, wish, vm, state } = have({ phase, startTask: task(1) }, 1);
    const deletion = wish((basis) => deleteVm(basis, 'web', ANY));
    assert.deepEqual([deletion.state, vm().deleting, state(1)], ['running', true, 'cancelled']);
    assert.match(wish((basis) => deleteVm(basis, 'web', ANY)).message, /being deleted already/);
    assert.throws(() => startVm(world.basis(), 'web'), { code: 'conflict' });
    assert.throws(() => stopVm(world.basis(), null, 'web', {}), { code: 'conflict' });
  }
  assert.throws(() => deleteVm(have({}).world.basis(), 'nobody', ANY), { code: 'not-found' });
});

test('a change holds for the revision that was read', () => {
  const { world, vm } = have({});
  const revision = `"${world.basis().records.vms.get(vm().id)?.revision}"`;
  world.take(patchVm(world.basis(), 'web', { labels: { a: '1' }, ifMatch: revision }));
  assert.throws(() => patchVm(world.basis(), 'web', { labels: {}, ifMatch: revision }), { code: 'stale-revision' });
  assert.throws(() => deleteVm(world.basis(), 'web', { ifMatch: revision }), { code: 'stale-revision' });
  assert.deepEqual([vm().spec.labels, vm().deleting], [{ a: '1' }, false]);
});

test('vCPUs and memory change only while nothing runs', () => {
  const stopped = have({});
  stopped.world.take(patchVm(stopped.world.basis(), 'web', { vcpus: 2, ifMatch: null }));
  assert.equal(stopped.vm().spec.vcpus, 2);
  const { world, vm } = have({ phase: PHASES.running });
  assert.throws(() => patchVm(world.basis(), 'web', { vcpus: 3, ifMatch: null }), { code: 'conflict' });
  world.take(patchVm(world.basis(), 'web', { restartPolicy: 'never', ifMatch: null }));
  assert.equal(vm().spec.restartPolicy, 'never');
});

test('a pin that is given again as it is keeps the debt of whoever signed for it; another pin frees them', () => {
  const { world, vm } = have({});
  const [one, two] = [hostRecord(1), hostRecord(2)];
  const before = vm();
  const debt: Debt = {
    ...{ id: 'debt-00000000000a', kind: 'pin', what: 'web is pinned', owner: 'ann', reason: 'a licence' },
    ...{ until: 2_000_000_000_000, by: 'admin', since: 1, broke: [] },
  };
  world.apply([
    { kind: 'host', id: one.name, value: one },
    { kind: 'host', id: two.name, value: two },
    { kind: 'vm', id: before.id, value: { ...before, spec: { ...before.spec, pin: one.name }, debts: [debt] } },
  ]);
  world.take(patchVm(world.basis(), 'web', { pin: one.name, ifMatch: null }));
  assert.deepEqual([vm().spec.pin, vm().debts], [one.name, [debt]]);
  world.take(patchVm(world.basis(), 'web', { pin: two.name, ifMatch: null }));
  assert.deepEqual([vm().spec.pin, vm().debts], [two.name, []]);
});
