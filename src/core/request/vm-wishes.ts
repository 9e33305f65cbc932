/**
 * The wishes of people about an existing VM: each is one change of its intent or of a request, with a task, that the
 * leader's loop then carries out. Pure. Guarantees: a wish that replaces another one ends the other's task in the same
 * transaction.
 */
import { CodedError } from '../../base/errors.ts';
import { parseHostName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { TaskRecord } from '../model/cluster.ts';
import type { VmRecord } from '../model/vm.ts';
import { disturbedMembers } from '../plan/guest-clusters/guest-cluster-limits.ts';
import type { Change, Entry, RequestSnapshot, Snapshot } from '../ports/store.ts';
import {
  type Admitted,
  type Basis,
  checkRevision,
  endedTask,
  findVm,
  newTask,
  type Observed,
  type OfRevision,
  taskChange,
  vmChange,
} from './basis.ts';

/** Default time a guest has to shut down by itself. */
const STOP_PATIENCE_MS = 30_000;

/** A wish of a VM: the task says how it ended. */
export type Wish = Admitted<TaskRecord['id']>;

/**
 * The facts on which a wish about a VM is decided: fewer than other requests need, so that the leader's own loops can
 * wish.
 */
export interface WishBasis extends Pick<Basis, 'index' | 'now' | 'randomHex'> {
  readonly records: Snapshot & Pick<RequestSnapshot, 'vmNames'>;
}

const NO_NAMES: WishBasis['records']['vmNames'] = new Map();

/** The basis of wishes of the leader's own loops, which name VMs by their ids. `now`: Unix ms. */
export function wishBasisOf(snapshot: Snapshot, rest: Pick<Basis, 'index' | 'now' | 'randomHex'>): WishBasis {
  const { vms, tasks, disks, hosts, storage, unreadable, sharedDisks } = snapshot;
  return {
    records: {
      ...snapshot,
      ...{ vms, tasks, disks, hosts, storage, unreadable, sharedDisks },
      disksOf: (vm) => snapshot.disksOf(vm),
      vmNames: NO_NAMES,
    },
    ...rest,
  };
}

export interface StopRequest {
  /** `acpi`, the default, asks the guest first; `hard` stops it at once. */
  readonly mode?: 'acpi' | 'hard' | undefined;
  readonly patienceMs?: number | undefined;
}

/** Deletes a VM, and its own disks. CodedError 'not-found', 'stale-revision', 'conflict'. */
export function deleteVm(basis: WishBasis, name: string, { ifMatch }: OfRevision): Wish {
  return wish(basis, name, 'vm.delete', 'Deleting.', (entry) => {
    checkRevision(entry, ifMatch, `VM ${entry.value.name}`);
    if (entry.value.deleting) return { vm: null, already: `${entry.value.name} is being deleted already.` };
    refuseSharing(basis.records, entry.value);
    return {
      vm: { ...entry.value, deleting: true, intent: 'stopped', migrationRequest: null },
      failTasks: pendingTasks(entry.value),
    };
  });
}

/** Starts a VM. CodedError 'not-found', 'conflict'. */
export function startVm(basis: WishBasis, name: string): Wish {
  return wish(basis, name, 'vm.start', 'Starting.', ({ value: vm }, task) => {
    refuseDeleting(vm);
    refuseLost(basis.records, vm);
    if (vm.phase.kind !== 'stopped' && vm.phase.kind !== 'stopping' && vm.intent !== 'stopped')
      return { vm: null, already: alreadyOn(vm) };
    return {
      vm: { ...vm, intent: 'running', startTask: task.id, failures: null },
      failTasks: existing(vm.startTask),
    };
  });
}

/**
 * Stops a VM. Its task says where this disturbs more members of the VM's guest cluster than the cluster bears: people
 * may do that nevertheless. CodedError 'not-found', 'conflict'.
 */
export function stopVm(
  basis: WishBasis,
  observed: Pick<Observed, 'vms'> | null,
  name: string,
  request: StopRequest,
): Wish {
  return wish(basis, name, 'vm.stop', 'Stopping.', ({ value: vm }, task) => {
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
      note: observed === null ? null : disturbanceOf(basis, observed, vm),
      failTasks: existing(vm.stopRequest?.taskId, vm.migrationRequest?.taskId, vm.pauseTask),
    };
  });
}

/** Resets the machine of a VM that runs. CodedError 'not-found', 'conflict'. */
export function resetVm(basis: WishBasis, name: string): Wish {
  return wish(basis, name, 'vm.reset', 'Resetting.', ({ value: vm }, task) => {
    demandRunning(vm);
    return {
      vm: { ...vm, resetRequest: { taskId: task.id } },
      failTasks: existing(vm.resetRequest?.taskId),
    };
  });
}

/** Pauses the guest. CodedError 'not-found', 'conflict'. */
export function suspendVm(basis: WishBasis, name: string): Wish {
  return wish(basis, name, 'vm.suspend', 'Pausing.', ({ value: vm }, task) => {
    demandRunning(vm);
    if (vm.intent === 'suspended' && (vm.pauseTask ?? null) === null)
      return { vm: null, already: `${vm.name} is paused already.` };
    return { vm: { ...vm, intent: 'suspended', pauseTask: task.id }, failTasks: existing(vm.pauseTask) };
  });
}

/** Resumes a VM; a guest that is being migrated continues on its destination. */
export function resumeVm(basis: WishBasis, name: string): Wish {
  return wish(basis, name, 'vm.resume', 'Resuming.', ({ value: vm }, task) => {
    demandRunning(vm);
    if (vm.intent === 'running' && (vm.pauseTask ?? null) === null)
      return { vm: null, already: `${vm.name} is not paused.` };
    return {
      vm: { ...vm, intent: 'running', pauseTask: task.id },
      note: vm.phase.kind === 'migrating' ? 'It continues where it arrives.' : null,
      failTasks: existing(vm.pauseTask),
    };
  });
}

/**
 * Migrates a VM live, to the host that is named or to one that the cluster chooses. CodedError 'not-found', 'conflict'.
 */
export function migrateVm(
  basis: WishBasis,
  name: string,
  request: { readonly to?: string | undefined },
  /** What its task says besides. */
  note: string | null = null,
): Wish {
  return wish(basis, name, 'vm.migrate', 'Migrating.', ({ value: vm }, task) => {
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
    if (to !== null && !basis.records.hosts.has(to)) {
      throw new CodedError('not-found', `There is no host ${to}.`, {
        advice: `Nothing was changed. Hosts: ${listed([...basis.records.hosts.keys()])}.`,
      });
    }
    if (to === vm.phase.incarnation.host)
      throw new CodedError('conflict', `${vm.name} is on ${to} already.`, { advice: 'Nothing was changed.' });
    return { vm: { ...vm, migrationRequest: { to, taskId: task.id, askedAt: task.startedAt } }, note };
  });
}

interface Wanted {
  /** The VM as it is to be; null: it stays. */
  readonly vm: VmRecord | null;
  /** Why the task is over at once. */
  readonly already?: string;
  /** Tasks that this wish takes the place of. */
  readonly failTasks?: readonly TaskRecord['id'][];
  /** An addition to the task's message. */
  readonly note?: string | null;
}

/** One change of one VM with its task, in one transaction. */
function wish(
  basis: WishBasis,
  name: string,
  kind: string,
  message: string,
  decide: (entry: Entry<VmRecord>, task: TaskRecord) => Wanted,
): Wish {
  const { records, now } = basis;
  const entry = findVm(records, name);
  const begun = newTask(basis, { kind, target: { kind: 'vm', name: entry.value.name }, message });
  const { vm, already, failTasks = [], note = null } = decide(entry, begun);
  const told = note === null ? begun : { ...begun, message: `${begun.message} ${note}` };
  const task = already === undefined ? told : endedTask(basis, begun, already);
  const superseded = failTasks.flatMap((id): Change[] => {
    const old = records.tasks.get(id)?.value;
    if (old === undefined || old.state !== 'running') return [];
    return [taskChange({ ...old, state: 'cancelled', message: `Superseded by ${kind}.`, endedAt: now })];
  });
  const changes = [...(vm === null ? [] : [vmChange(vm)]), taskChange(task), ...superseded];
  return { changes, endsTasks: failTasks, result: task.id };
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
function refuseLost(records: WishBasis['records'], { id, name }: VmRecord): void {
  const lost = records.disksOf(id).find(({ node }) => records.storage.get(node)?.value.lost !== undefined);
  if (lost === undefined) return;
  throw new CodedError('conflict', `${lost.id} of ${name} was on storage node ${lost.node}, which is lost.`, {
    advice: `Nothing was changed. ${name} never starts again: delete it (gp vm delete ${name}); its name is free after that.`,
  });
}

/** A VM's shared disks belong to others, too: before it is deleted, a request must take them from it. */
function refuseSharing(records: WishBasis['records'], { name, spec }: VmRecord): void {
  const cluster = spec.guestCluster ?? null;
  if (cluster !== null)
    throw new CodedError('conflict', `${name} is a member of guest cluster ${cluster}.`, {
      advice: `Nothing was deleted. Remove it there first: gp guest-cluster remove-member ${cluster} ${name}.`,
    });
  const [use] = spec.sharedDisks ?? [];
  if (use === undefined) return;
  const disk = records.sharedDisks.get(use.disk)?.value.name ?? use.disk;
  throw new CodedError('conflict', `${name} has shared disk ${disk}.`, {
    advice: `Nothing was deleted. Detach it first: gp shared-disk detach ${disk} ${name}.`,
  });
}

function disturbanceOf({ index }: WishBasis, { vms }: Pick<Observed, 'vms'>, vm: VmRecord): string | null {
  const cluster = index.guestClusterOf(vm);
  if (cluster === null) return null;
  const disturbed = disturbedMembers(cluster, { index, seesRunning: (other) => vms.seesRunning(other) }, vm);
  if (disturbed.length < cluster.maxDisturbed) return null;
  const others = disturbed.map(({ why }) => why).join(', ');
  return `Guest cluster ${cluster.name} allows ${cluster.maxDisturbed} at once, and besides ${others}.`;
}

function demandRunning(vm: VmRecord): void {
  refuseDeleting(vm);
  if (vm.intent === 'stopped' || vm.phase.kind === 'stopped') {
    throw new CodedError('conflict', `${vm.name} is not running.`, {
      advice: `Nothing was changed. Start it with "gp vm start ${vm.name}".`,
    });
  }
}
