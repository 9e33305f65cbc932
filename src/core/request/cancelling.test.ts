import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CodedError } from '../../base/errors.ts';
import type { TaskRecord } from '../model/cluster.ts';
import type { VmRecord } from '../model/vm.ts';
import { incarnation, task, VM, vmRecord } from '../plan/testing/sample-records.ts';
import { newTask, taskChange, vmChange } from './basis.ts';
import { cancelTask } from './cancelling.ts';
import { RecordWorld } from './testing/record-world.ts';

/** A cluster with this VM and its task 1. */
function have(vm: VmRecord, kind: string, state: TaskRecord['state'] = 'running') {
  const world = new RecordWorld([vmChange(vm)]);
  const asked = newTask(world.basis(), { kind, target: { kind: 'vm', name: 'web' }, message: '' });
  world.apply([taskChange({ ...asked, id: task(1), state })]);
  const cancel = (id: string = task(1)): readonly [TaskRecord['state'] | undefined, VmRecord | undefined] => {
    const result = world.take(cancelTask(world.basis(), id));
    const { records } = world.basis();
    return [records.tasks.get(result)?.value.state, records.vms.get(VM)?.value];
  };
  return { cancel };
}

const RUNNING = { kind: 'running', incarnation: incarnation(1) } as const;
const ENDS = { source: incarnation(1), destination: incarnation(2), taskId: task(1) };

test('cancel: a move that has not begun, a start and a reset are taken back at once', () => {
  const rows = [
    ['vm.migrate', vmRecord(RUNNING, { migrationRequest: { to: null, taskId: task(1) } }), { migrationRequest: null }],
    ['vm.start', vmRecord({ kind: 'stopped' }, { startTask: task(1) }), { startTask: null, intent: 'stopped' }],
    [
      'vm.start',
      vmRecord(
        { kind: 'starting', incarnation: incarnation(1), reason: 'requested', avoid: [] },
        { startTask: task(1) },
      ),
      { startTask: null, intent: 'stopped' },
    ],
    ['vm.reset', vmRecord(RUNNING, { resetRequest: { taskId: task(1) } }), { resetRequest: null }],
  ] as const;
  for (const [kind, vm, change] of rows)
    assert.deepEqual(have(vm, kind).cancel(), ['cancelled', { ...vm, ...change }], kind);
});

test('cancel: a move that is under way is undone by its leader, and asking twice changes nothing', () => {
  const vm = vmRecord({ kind: 'migrating', ...ENDS, deadlineAt: 0 });
  const { cancel } = have(vm, 'vm.migrate');
  const asked = { ...vm, cancelRequest: { taskId: task(1) } };
  assert.deepEqual(cancel(), ['running', asked]);
  assert.deepEqual(cancel(), ['running', asked]);
  const undone = vmRecord({ kind: 'unwinding', ...ENDS, reason: 'it was cancelled.', cancelled: true });
  assert.deepEqual(have(undone, 'vm.migrate').cancel(), ['running', undone]);
});

test('cancel: what was committed, what has ended, and what cannot be taken back is refused, and says why', () => {
  const switching = vmRecord({ kind: 'switching', ...ENDS });
  const stopping = vmRecord(RUNNING, { stopRequest: { mode: 'acpi', patienceMs: 1, taskId: task(1) } });
  const rows = [
    ['vm.migrate', switching, /too late/, /only forward is left/],
    ['vm.start', vmRecord(RUNNING), /too late/, /is started already/],
    ['vm.stop', stopping, /cannot be cancelled/, /gp vm start web/],
    ['vm.delete', vmRecord(RUNNING, { deleting: true }), /cannot be cancelled/, /may be deleted already/],
    ['vm.suspend', vmRecord(RUNNING, { pauseTask: task(1) }), /cannot be cancelled/, /gp vm resume web/],
    ['vm.resume', vmRecord(RUNNING, { pauseTask: task(1) }), /cannot be cancelled/, /gp vm pause web/],
    ['shared-disk.attach', vmRecord(RUNNING), /cannot be cancelled/, /the opposite command/],
  ] as const;
  for (const [kind, vm, message, advice] of rows)
    assert.throws(
      () => have(vm, kind).cancel(),
      (error: CodedError) => {
        assert.equal(error.code, 'conflict');
        assert.match(error.message, message);
        assert.match(error.advice ?? '', advice);
        assert.match(error.advice ?? '', /^Nothing was changed\./);
        return true;
      },
    );
  const ended = have(switching, 'vm.migrate', 'failed');
  assert.throws(() => ended.cancel(), { code: 'conflict', message: /has ended: failed/ });
  assert.throws(() => ended.cancel('task-00000000000f'), { code: 'not-found' });
});
