/**
 * What people wish of a VM that exists: each is one compare-and-swap of its intent or of a request, with a task, that the leader's loop then
 * carries out. Guarantees: a wish that takes the place of another one ends its task in the same transaction.
 */
import type { MigrateVm, StopVm } from '../../api/requests.ts';
import { CodedError } from '../../base/errors.ts';
import { parseHostName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { Conditional } from '../api/backend.ts';
import { ClusterStore, type Write } from '../store/cluster-store.ts';
import { takeBack, vmOfTask } from './cancelling.ts';
import { type ChangeContext, change, checkRevision, endedTask, findVm, newTask, taskWrite } from './changes.ts';

/** Default time a guest has to shut down by itself. */
const STOP_PATIENCE_MS = 30_000;

/** Wishes through the API, or in the simulator: recorded when the promise resolves, with the task that will say how it ended. */
export class VmWishes {
  readonly #context: ChangeContext;

  constructor(context: ChangeContext) {
    this.#context = context;
  }

  async delete(name: string, { ifMatch }: Conditional): Promise<Entry<TaskRecord>> {
    return this.#act(name, 'vm.delete', 'Deleting.', (entry) => {
      checkRevision(entry, ifMatch, `VM ${entry.value.name}`);
      if (entry.value.deleting) return { vm: null, already: `${entry.value.name} is being deleted already.` };
      refuseSharing(this.#context, entry.value);
      return {
        vm: { ...entry.value, deleting: true, intent: 'stopped', migrationRequest: null },
        failTasks: pendingTasks(entry.value),
      };
    });
  }

  async start(name: string): Promise<Entry<TaskRecord>> {
    return this.#act(name, 'vm.start', 'Starting.', ({ value: vm }, task) => {
      refuseDeleting(vm);
      refuseLost(this.#context, vm);
      if (vm.phase.kind !== 'stopped' && vm.phase.kind !== 'stopping' && vm.intent !== 'stopped')
        return { vm: null, already: alreadyOn(vm) };
      return {
        vm: { ...vm, intent: 'running', startTask: task.id, failures: null },
        failTasks: existing(vm.startTask),
      };
    });
  }

  /** `noteOf`: what the task says besides, of the VM as it is. */
  async stop(
    name: string,
    request: StopVm,
    noteOf: (vm: VmRecord) => string | null = () => null,
  ): Promise<Entry<TaskRecord>> {
    return this.#act(name, 'vm.stop', 'Stopping.', ({ value: vm }, task) => {
      refuseDeleting(vm);
      if (vm.phase.kind === 'stopped')
        return {
          vm: {
            ...vm,
            intent: 'stopped',
            startTask: null,
            stopRequest: null,
            migrationRequest: null,
            resetRequest: null,
            pauseTask: null,
          },
          already: `${vm.name} is stopped already.`,
          failTasks: pendingTasks(vm),
        };
      const mode = request.mode ?? 'acpi';
      const stopRequest = {
        mode,
        patienceMs: request.patienceMs ?? (mode === 'hard' ? 0 : STOP_PATIENCE_MS),
        taskId: task.id,
      };
      return {
        vm: { ...vm, intent: 'stopped', stopRequest, migrationRequest: null, pauseTask: null },
        note: noteOf(vm),
        failTasks: existing(vm.stopRequest?.taskId, vm.migrationRequest?.taskId, vm.pauseTask),
      };
    });
  }

  async reset(name: string): Promise<Entry<TaskRecord>> {
    return this.#act(name, 'vm.reset', 'Resetting.', ({ value: vm }, task) => {
      demandRunning(vm);
      return {
        vm: { ...vm, resetRequest: { taskId: task.id } },
        failTasks: existing(vm.resetRequest?.taskId),
      };
    });
  }

  async suspend(name: string): Promise<Entry<TaskRecord>> {
    return this.#act(name, 'vm.suspend', 'Pausing.', ({ value: vm }, task) => {
      demandRunning(vm);
      if (vm.intent === 'suspended' && (vm.pauseTask ?? null) === null)
        return { vm: null, already: `${vm.name} is paused already.` };
      return { vm: { ...vm, intent: 'suspended', pauseTask: task.id }, failTasks: existing(vm.pauseTask) };
    });
  }

  /** Resumes a VM; a guest that is being migrated continues on its destination. */
  async resume(name: string): Promise<Entry<TaskRecord>> {
    return this.#act(name, 'vm.resume', 'Resuming.', ({ value: vm }, task) => {
      demandRunning(vm);
      if (vm.intent === 'running' && (vm.pauseTask ?? null) === null)
        return { vm: null, already: `${vm.name} is not paused.` };
      return {
        vm: { ...vm, intent: 'running', pauseTask: task.id },
        note: vm.phase.kind === 'migrating' ? 'It goes on where it arrives.' : null,
        failTasks: existing(vm.pauseTask),
      };
    });
  }

  /**
   * Cancels what the task asks for, if that is possible. Returns the task: ended, or, for a migration, still being
   * undone.
   */
  async cancel(id: string): Promise<Entry<TaskRecord>> {
    const { store, clock } = this.#context;
    const find = (): Entry<TaskRecord> => {
      const entry = store.tasks.get(id);
      if (entry !== undefined) return entry;
      throw new CodedError('not-found', `There is no task ${id}.`, {
        advice: 'Nothing was changed. Tasks that ended long ago are forgotten.',
      });
    };
    await change(this.#context, () => {
      const asked = find();
      const entry = vmOfTask(this.#context, asked.value);
      const { vm, ended } = takeBack(entry.value, asked.value);
      const value: TaskRecord = {
        ...asked.value,
        ...(ended === null
          ? { message: 'Being undone.' }
          : { state: 'cancelled', message: ended, endedAt: clock.wallMs() }),
      };
      const task = { key: keyOf.task(asked.value.id), value, expect: asked.revision };
      return { writes: vm === null ? [] : [vmWrite(entry, vm), task], result: null };
    });
    return find();
  }

  async migrate(name: string, request: MigrateVm): Promise<Entry<TaskRecord>> {
    return this.#act(name, 'vm.migrate', 'Migrating.', ({ value: vm }, task) => {
      demandRunning(vm);
      if (vm.migrationRequest !== null)
        throw new CodedError('conflict', `${vm.name} is about to be migrated already.`, {
          advice: `Nothing was changed. Its task is ${vm.migrationRequest.taskId}.`,
        });
      if (vm.phase.kind !== 'running') {
        throw new CodedError('conflict', `${vm.name} cannot be migrated while it is in phase ${vm.phase.kind}.`, {
          advice: 'Nothing was changed. Wait until it runs, then try again.',
        });
      }
      const to = request.to === undefined ? null : parseHostName(request.to);
      if (to !== null && this.#context.store.hosts.get(to) === undefined) {
        throw new CodedError('not-found', `There is no host ${to}.`, {
          advice: `Nothing was changed. Hosts: ${listed([...this.#context.store.hosts.keys()])}.`,
        });
      }
      if (to === vm.phase.incarnation.host)
        throw new CodedError('conflict', `${vm.name} is on ${to} already.`, { advice: 'Nothing was changed.' });
      return { vm: { ...vm, migrationRequest: { to, taskId: task.id, askedAt: task.startedAt } } };
    });
  }

  /** One change of one VM with its task, in one transaction. `already`: the task is over at once. */
  async #act(
    name: string,
    kind: string,
    message: string,
    decide: (
      entry: Entry<VmRecord>,
      task: TaskRecord,
    ) => { vm: VmRecord | null; already?: string; failTasks?: readonly TaskRecord['id'][]; note?: string | null },
  ): Promise<Entry<TaskRecord>> {
    const id = await change(this.#context, () => {
      const entry = findVm(this.#context, name);
      const begun = newTask(this.#context, { kind, target: { kind: 'vm', name: entry.value.name }, message });
      const { vm, already, failTasks, note = null } = decide(entry, begun);
      const told = note === null ? begun : { ...begun, message: `${begun.message} ${note}` };
      const task = already === undefined ? told : endedTask(this.#context, begun, already);
      const superseded = (failTasks ?? []).flatMap((taskId): Write[] => {
        const old = this.#context.store.tasks.get(taskId);
        if (old === undefined || old.value.state !== 'running') return [];
        const value: TaskRecord = {
          ...old.value,
          state: 'cancelled',
          message: `Superseded by ${kind}.`,
          endedAt: this.#context.clock.wallMs(),
        };
        return [{ key: keyOf.task(taskId), value, expect: old.revision }];
      });
      return {
        writes: [...(vm === null ? [] : [vmWrite(entry, vm)]), taskWrite(task), ...superseded],
        endsTasks: failTasks ?? [],
        result: task.id,
      };
    });
    const task = this.#context.store.tasks.get(id);
    if (task === undefined) throw new CodedError('failed', `Task ${id} is gone.`);
    return task;
  }
}

/** The write of a VM that was read as `entry`. */
export function vmWrite(entry: Entry<VmRecord>, vm: VmRecord): Write {
  return ClusterStore.changed(keyOf.vm(vm.id), entry, vm);
}

function alreadyOn(vm: VmRecord): string {
  if (vm.intent === 'suspended') return `${vm.name} is paused; "gp vm resume ${vm.name}" continues it.`;
  return vm.phase.kind === 'starting' ? `${vm.name} is starting already.` : `${vm.name} runs already.`;
}

function pendingTasks(vm: VmRecord): TaskRecord['id'][] {
  const { startTask, stopRequest, migrationRequest, resetRequest, pauseTask } = vm;
  return existing(startTask, stopRequest?.taskId, migrationRequest?.taskId, resetRequest?.taskId, pauseTask);
}

function existing(...ids: readonly (TaskRecord['id'] | null | undefined)[]): TaskRecord['id'][] {
  return ids.filter((id): id is TaskRecord['id'] => id !== null && id !== undefined);
}

function refuseDeleting(vm: VmRecord): void {
  if (vm.deleting) throw new CodedError('conflict', `${vm.name} is being deleted.`, { advice: 'Nothing was changed.' });
}

/** Refuses to start a VM with a lost disk. */
function refuseLost({ store }: ChangeContext, { id, name }: VmRecord): void {
  const lost = store.disksOf(id).find(({ node }) => store.storage.get(node)?.value.lost !== undefined);
  if (lost === undefined) return;
  throw new CodedError('conflict', `${lost.id} of ${name} was on storage node ${lost.node}, which is lost.`, {
    advice: `Nothing was changed. ${name} never starts again: delete it (gp vm delete ${name}); its name is free after that.`,
  });
}

/** What a VM shares is others' too: whoever deletes it says first that it leaves them. */
function refuseSharing({ store }: ChangeContext, { name, spec }: VmRecord): void {
  const cluster = spec.guestCluster ?? null;
  if (cluster !== null)
    throw new CodedError('conflict', `${name} is a member of guest cluster ${cluster}.`, {
      advice: `Nothing was deleted. Remove it there first: gp guest-cluster remove-member ${cluster} ${name}.`,
    });
  const [use] = spec.sharedDisks ?? [];
  if (use === undefined) return;
  const disk = store.sharedDisks.get(use.disk)?.value.name ?? use.disk;
  throw new CodedError('conflict', `${name} has shared disk ${disk}.`, {
    advice: `Nothing was deleted. Detach it first: gp shared-disk detach ${disk} ${name}.`,
  });
}

function demandRunning(vm: VmRecord): void {
  refuseDeleting(vm);
  if (vm.intent === 'stopped' || vm.phase.kind === 'stopped') {
    throw new CodedError('conflict', `${vm.name} is not running.`, {
      advice: `Nothing was changed. Start it with "gp vm start ${vm.name}".`,
    });
  }
}
