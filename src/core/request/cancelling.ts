/**
 * Decides what cancelling a task changes in its VM. Pure. Guarantees: a committed change is never
 * taken back; a refusal says why, and what to do instead.
 */

import { CodedError } from '../../base/errors.ts';
import { own } from '../../base/own.ts';
import type { TaskRecord } from '../model/cluster.ts';
import type { VmRecord } from '../model/vm.ts';
import type { Change, Entry, RequestSnapshot } from '../ports/store.ts';
import { type Admitted, type Basis, taskChange, vmChange } from './basis.ts';
import { withoutWaiting } from './bulk.ts';

/**
 * Cancels what the task asks for, if that is possible: the task is ended, or, for a migration, still being undone.
 * CodedError 'not-found', 'conflict'.
 */
export function cancelTask({ records, now }: Basis, id: string): Admitted<TaskRecord['id']> {
  const asked = records.tasks.get(id as TaskRecord['id'])?.value;
  if (asked === undefined)
    throw new CodedError('not-found', `There is no task ${id}.`, {
      advice: 'Nothing was changed. Tasks that ended long ago are forgotten.',
    });
  if (asked.bulk !== undefined && asked.state === 'running')
    return { changes: [taskChange(withoutWaiting({ ...asked, bulk: asked.bulk }))], result: asked.id };
  const { vm, ended } = takeBack(vmOfTask(records, asked).value, asked);
  const task: TaskRecord = {
    ...asked,
    ...(ended === null ? { message: 'Being undone.' } : { state: 'cancelled', message: ended, endedAt: now }),
  };
  const changes: Change[] = vm === null ? [] : [vmChange(vm), taskChange(task)];
  return { changes, result: asked.id };
}

/**
 * The effect of a cancellation. `vm`: null if nothing has to be changed; `ended`: the task's message, or null while the
 * task goes on.
 */
interface TakenBack {
  readonly vm: VmRecord | null;
  readonly ended: string | null;
}

/** Kinds of tasks that cannot be cancelled, with what to do instead. `%` is the VM's name. */
const INSTEAD: Readonly<Record<string, string>> = {
  'vm.stop': 'Its guest may be shutting down already. "gp vm start %" starts it again.',
  'vm.delete': 'Its disks may be deleted already.',
  'vm.suspend': '"gp vm resume %" takes its place.',
  'vm.resume': '"gp vm pause %" takes its place.',
};

/** Returns the VM of a task. CodedError 'conflict' if the task has ended, or does not concern a VM. */
function vmOfTask(records: RequestSnapshot, task: TaskRecord): Entry<VmRecord> {
  if (task.state !== 'running')
    throw new CodedError(
      'conflict',
      `Task ${task.id} (${task.kind} of ${task.target.name}) has ended: ${task.state}.`,
      {
        advice: 'Nothing was changed.',
      },
    );
  const id = task.target.kind === 'vm' ? records.vmNames.get(task.target.name)?.value : undefined;
  const entry = id === undefined ? undefined : records.vms.get(id);
  if (entry === undefined) throw refusal(task, 'Use the opposite command to undo its change.');
  return entry;
}

/** Cancels `task` in the record of `vm`. CodedError 'conflict' if the task cannot be cancelled. */
function takeBack(vm: VmRecord, task: TaskRecord): TakenBack {
  const instead = own(INSTEAD, task.kind);
  if (instead !== undefined) throw refusal(task, instead.replaceAll('%', vm.name));
  switch (task.kind) {
    case 'vm.migrate':
      return takeBackMigration(vm, task);
    case 'vm.start':
      if (vm.startTask !== task.id) throw tooLate(task, `${vm.name} is started already.`);
      return { vm: { ...vm, intent: 'stopped', startTask: null }, ended: `Cancelled: ${vm.name} stays stopped.` };
    case 'vm.reset':
      if (vm.resetRequest?.taskId !== task.id) throw tooLate(task, `${vm.name} was reset already.`);
      return { vm: { ...vm, resetRequest: null }, ended: `Cancelled before it was known that ${vm.name} was reset.` };
    default:
      throw refusal(task, 'Use the opposite command to undo its change.');
  }
}

function takeBackMigration(vm: VmRecord, task: TaskRecord): TakenBack {
  const { phase } = vm;
  if (vm.migrationRequest?.taskId === task.id)
    return { vm: { ...vm, migrationRequest: null }, ended: `Cancelled before ${vm.name} began to move.` };
  if (phase.kind === 'unwinding' && phase.taskId === task.id) return { vm: null, ended: null };
  if (phase.kind !== 'migrating' || phase.taskId !== task.id)
    throw tooLate(task, `${vm.name} has moved already, and only forward is left. Migrate it again to move it back.`);
  if (vm.cancelRequest?.taskId === task.id) return { vm: null, ended: null };
  return { vm: { ...vm, cancelRequest: { taskId: task.id } }, ended: null };
}

function refusal({ id, kind, target }: TaskRecord, instead: string): CodedError {
  return new CodedError('conflict', `Task ${id} (${kind} of ${target.name}) cannot be cancelled.`, {
    advice: `Nothing was changed. ${instead}`,
  });
}

function tooLate({ id, kind, target }: TaskRecord, why: string): CodedError {
  return new CodedError('conflict', `It is too late to cancel task ${id} (${kind} of ${target.name}).`, {
    advice: `Nothing was changed. ${why}`,
  });
}
