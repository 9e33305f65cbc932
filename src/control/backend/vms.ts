/** VMs through the API: each method is one compare-and-swap of intent or of a request that the leader's loop then carries out. */
import type { CreateVm, MigrateVm, PatchVm, StopVm, VmLogQuery, VmQuery } from '../../api/requests.ts';
import type { Task, Vm, VmDetail, VmLog } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { parseHostName } from '../../base/ids.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import { currentIncarnation, type VmRecord } from '../../core/model/vm.ts';
import { disturbedMembers } from '../../core/plan/guest-cluster-limits.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { Conditional } from '../api/backend.ts';
import { ClusterStore, type Write } from '../store/cluster-store.ts';
import { admitVm, demandMemory } from './admission.ts';
import { type BackendContext, change, checkRevision, endedTask, findVm, newTask, taskWrite } from './context.ts';
import { indexOfStore } from './records-index.ts';
import { taskView, vmDetailView, vmView } from './views.ts';

/** Default time a guest has to shut down by itself. */
const STOP_PATIENCE_MS = 30_000;
const LOG_DEADLINE_MS = 5_000;
const LOG_BYTES_MAX = 256 * 1024;
const LOG_LINES_DEFAULT = 200;

/** VMs through the API: a change is recorded when its promise resolves; the leader's loop carries it out. */
export class VmsBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  list(query: VmQuery): readonly Vm[] {
    const wanted = (query.label ?? []).map(parseSelector);
    return [...this.#context.store.vms.values()]
      .filter(({ value: { name, phase, spec } }) => {
        if (query.name !== undefined && name !== query.name) return false;
        if (query.host !== undefined && currentIncarnation(phase)?.host !== query.host) return false;
        return wanted.every(({ key, value }) =>
          value === undefined ? spec.labels[key] !== undefined : spec.labels[key] === value,
        );
      })
      .sort((a, b) => (a.value.name < b.value.name ? -1 : 1))
      .map((entry) => vmView(this.#context, entry, null));
  }

  get(vm: string): VmDetail {
    const entry = findVm(this.#context, vm);
    return vmDetailView(this.#context, entry, this.#taskOf(entry.value));
  }

  async create(request: CreateVm): Promise<Vm> {
    const { vm, task } = await change(this.#context, () => {
      const admitted = admitVm(this.#context, request);
      return { writes: admitted.writes, unchanged: admitted.unchanged, result: admitted };
    });
    return vmView(this.#context, findVm(this.#context, vm.id), task === null ? null : this.#task(task.id));
  }

  async patch(name: string, { ifMatch, ...patch }: PatchVm & Conditional): Promise<Vm> {
    await change(this.#context, () => {
      const entry = findVm(this.#context, name);
      checkRevision(entry, ifMatch, `VM ${entry.value.name}`);
      const resized = patch.vcpus !== undefined || patch.memoryBytes !== undefined;
      if (resized && entry.value.phase.kind !== 'stopped') {
        throw new CodedError(
          'conflict',
          `${entry.value.name} is not stopped; its vCPUs and memory cannot change while it runs.`,
          { advice: 'Nothing was changed. Stop it first.' },
        );
      }
      if (patch.memoryBytes !== undefined) {
        const image = this.#context.store.images.get(entry.value.spec.image ?? '')?.value ?? null;
        demandMemory(image, patch.memoryBytes, 'changed');
      }
      const spec = { ...entry.value.spec, ...defined(patch) };
      return { writes: [vmWrite(entry, { ...entry.value, spec })], result: null };
    });
    return vmView(this.#context, findVm(this.#context, name), null);
  }

  async delete(name: string, { ifMatch }: Conditional): Promise<Task> {
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

  async start(name: string): Promise<Task> {
    return this.#act(name, 'vm.start', 'Starting.', ({ value: vm }, task) => {
      refuseDeleting(vm);
      if (vm.phase.kind !== 'stopped' && vm.phase.kind !== 'stopping' && vm.intent !== 'stopped')
        return { vm: null, already: alreadyOn(vm) };
      return {
        vm: { ...vm, intent: 'running', startTask: task.id, failures: null },
        failTasks: vm.startTask === null ? [] : [vm.startTask],
      };
    });
  }

  async stop(name: string, request: StopVm): Promise<Task> {
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
      const before = vm.stopRequest === null ? [] : [vm.stopRequest.taskId];
      return {
        vm: { ...vm, intent: 'stopped', stopRequest, migrationRequest: null },
        note: this.#disturbance(vm),
        failTasks: [...before, ...(vm.migrationRequest === null ? [] : [vm.migrationRequest.taskId])],
      };
    });
  }

  async reset(name: string): Promise<Task> {
    return this.#act(name, 'vm.reset', 'Resetting.', ({ value: vm }, task) => {
      demandRunning(vm);
      return {
        vm: { ...vm, resetRequest: { taskId: task.id } },
        failTasks: vm.resetRequest === null ? [] : [vm.resetRequest.taskId],
      };
    });
  }

  async suspend(name: string): Promise<Task> {
    return this.#act(name, 'vm.suspend', 'Pausing.', ({ value: vm }) => {
      demandRunning(vm);
      return { vm: { ...vm, intent: 'suspended' }, already: `${vm.name} is paused as soon as its QEMU answers.` };
    });
  }

  async resume(name: string): Promise<Task> {
    return this.#act(name, 'vm.resume', 'Resuming.', ({ value: vm }) => {
      demandRunning(vm);
      return { vm: { ...vm, intent: 'running' }, already: `${vm.name} goes on as soon as its QEMU answers.` };
    });
  }

  async migrate(name: string, request: MigrateVm): Promise<Task> {
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
        const known = [...this.#context.store.hosts.keys()].join(', ');
        throw new CodedError('not-found', `There is no host ${to}.`, {
          advice: `Nothing was changed. Hosts: ${known}.`,
        });
      }
      if (to === vm.phase.incarnation.host)
        throw new CodedError('conflict', `${vm.name} is on ${to} already.`, { advice: 'Nothing was changed.' });
      return { vm: { ...vm, migrationRequest: { to, taskId: task.id, askedAt: task.startedAt } } };
    });
  }

  async log(name: string, query: VmLogQuery): Promise<VmLog> {
    const { value: vm } = findVm(this.#context, name);
    const current = currentIncarnation(vm.phase);
    if (current === null)
      throw new CodedError('conflict', `${vm.name} does not run, so it has no log.`, { advice: 'Start it first.' });
    const parameters = `vm=${vm.id}&generation=${current.generation}&bytes=${LOG_BYTES_MAX}`;
    const content = await this.#context.hosts.log(current.host, parameters, LOG_DEADLINE_MS);
    const lines = content.split('\n');
    const kept = lines.slice(-(query.lines ?? LOG_LINES_DEFAULT) - 1);
    return {
      vm: vm.name,
      host: current.host,
      generation: current.generation,
      text: kept.join('\n'),
      truncated: kept.length < lines.length,
    };
  }

  /** What a stop means for the VM's guest cluster, where that bears no more: people may do it all the same. */
  #disturbance(vm: VmRecord): string | null {
    const vms = this.#context.leading()?.controller.vms;
    if (vms === undefined) return null;
    const index = indexOfStore(this.#context.store);
    const cluster = index.guestClusterOf(vm);
    if (cluster === null) return null;
    const disturbed = disturbedMembers(cluster, { index, seesRunning: (other) => vms.seesRunning(other) }, vm);
    if (disturbed.length < cluster.maxDisturbed) return null;
    const others = disturbed.map(({ why }) => why).join(', ');
    return `Guest cluster ${cluster.name} bears ${cluster.maxDisturbed} at once, and besides ${others}.`;
  }

  #task(id: TaskRecord['id']): Entry<TaskRecord> | null {
    return this.#context.store.tasks.get(id) ?? null;
  }

  #taskOf(vm: VmRecord): Entry<TaskRecord> | null {
    const fromPhase = 'taskId' in vm.phase ? vm.phase.taskId : null;
    const id =
      fromPhase ?? vm.stopRequest?.taskId ?? vm.migrationRequest?.taskId ?? vm.resetRequest?.taskId ?? vm.startTask;
    return id === null ? null : this.#task(id);
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
  ): Promise<Task> {
    const id = await change(this.#context, () => {
      const entry = findVm(this.#context, name);
      const begun = newTask(kind, { kind: 'vm', name: entry.value.name }, message);
      const { vm, already, failTasks, note = null } = decide(entry, begun);
      const told = note === null ? begun : { ...begun, message: `${begun.message} ${note}` };
      const task = already === undefined ? told : endedTask(begun, already);
      const superseded = (failTasks ?? []).flatMap((taskId): Write[] => {
        const old = this.#task(taskId);
        if (old === null || old.value.state !== 'running') return [];
        const value: TaskRecord = {
          ...old.value,
          state: 'cancelled',
          message: `Superseded by ${kind}.`,
          endedAt: Date.now(),
        };
        return [{ key: keyOf.task(taskId), value, expect: old.revision }];
      });
      return {
        writes: [...(vm === null ? [] : [vmWrite(entry, vm)]), taskWrite(task), ...superseded],
        result: task.id,
      };
    });
    const task = this.#task(id);
    if (task === null) throw new CodedError('failed', `Task ${id} is gone.`);
    return taskView(task);
  }
}

function vmWrite(entry: Entry<VmRecord>, vm: VmRecord): Write {
  return ClusterStore.changed(keyOf.vm(vm.id), entry, vm);
}

function defined<T extends object>(patch: T): Partial<T> {
  return Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)) as Partial<T>;
}

function parseSelector(selector: string): { readonly key: string; readonly value: string | undefined } {
  const at = selector.indexOf('=');
  return at === -1
    ? { key: selector, value: undefined }
    : { key: selector.slice(0, at), value: selector.slice(at + 1) };
}

function alreadyOn(vm: VmRecord): string {
  if (vm.intent === 'suspended') return `${vm.name} is paused; "gp vm resume ${vm.name}" continues it.`;
  return vm.phase.kind === 'starting' ? `${vm.name} is starting already.` : `${vm.name} runs already.`;
}

function pendingTasks(vm: VmRecord): TaskRecord['id'][] {
  const ids = [vm.startTask, vm.stopRequest?.taskId, vm.migrationRequest?.taskId, vm.resetRequest?.taskId];
  return ids.filter((id): id is TaskRecord['id'] => id !== null && id !== undefined);
}

function refuseDeleting(vm: VmRecord): void {
  if (vm.deleting) throw new CodedError('conflict', `${vm.name} is being deleted.`, { advice: 'Nothing was changed.' });
}

/** What a VM shares is others' too: whoever deletes it says first that it leaves them. */
function refuseSharing({ store }: BackendContext, { name, spec }: VmRecord): void {
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
