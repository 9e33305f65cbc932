/**
 * Checkers of single commits, by the records before and after each: the point of no return of a migration, who may
 * write which record, tasks, stops that last, and wishes. Their memory is bounded by the number of existing records.
 */
import type { DiskId, DrainId, HostName, TaskId, VmId } from '../../base/ids.ts';
import type { HostRecord } from '../model/cluster.ts';
import type { VmRecord } from '../model/vm.ts';
import type { Change } from '../ports/store.ts';
import { currentGeneration, namedIncarnations } from './records.ts';
import type { Checker } from './trace.ts';

/**
 * M1: `switching` is committed only after the source's QEMU had completed this migration, and only while the source is
 * stopped, or is gone, or was continued by an order that came late (which the leader checks after the fence); the
 * destination waits, complete. A source whose guest was paused all the time enters `postmigrate` even if it did not
 * hear that the destination has everything.
 */
export function switchOnlyWhenBothPaused(): Checker {
  const statuses = new Map<string, string>();
  /** Sources that have completed since their migration began. */
  const stood = new Set<string>();
  const phases = new Map<VmId, string>();
  const notComplete = new Set(['unseen', 'inmigrate', 'running']);
  return (entry) => {
    if (entry.kind === 'status') {
      statuses.set(`${entry.vm}:${entry.generation}`, entry.status);
      if (entry.status === 'completed' || entry.status === 'postmigrate') stood.add(`${entry.vm}:${entry.generation}`);
    }
    if (entry.kind !== 'commit') return null;
    for (const { kind, id, value } of entry.changes) {
      if (kind !== 'vm' || value === null) continue;
      const before = phases.get(id);
      phases.set(id, value.phase.kind);
      if (value.restored !== undefined) continue;
      if (value.phase.kind === 'migrating' && before !== 'migrating')
        stood.delete(`${id}:${value.phase.source.generation}`);
      if (value.phase.kind !== 'switching' || before === 'switching') continue;
      const source = `${id}:${value.phase.source.generation}`;
      const said = statuses.get(source) ?? 'unseen';
      const destination = statuses.get(`${id}:${value.phase.destination.generation}`) ?? 'unseen';
      if (before !== 'migrating') return `${value.name} switched from phase ${before}`;
      if (said !== 'ended' && !stood.has(source)) return `${value.name} switched with its source ${said}`;
      if (notComplete.has(destination)) return `${value.name} switched with its destination ${destination}`;
    }
    return null;
  };
}

/**
 * E1: people write wishes; what runs where, and who is given up, is written by one who compares the election key. People
 * themselves declare a host lost, once and for good, and let hosts join.
 */
export function onlyLeadersDecide(): Checker {
  const vms = new Map<VmId, VmRecord>();
  const hosts = new Map<HostName, HostRecord>();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    let broken: string | null = null;
    for (const { kind, id, value } of entry.changes) {
      if (kind === 'host') {
        broken = hostDecided(hosts.get(id), value, entry.by === 'people') ?? broken;
        if (value === null) hosts.delete(id);
        else hosts.set(id, value);
      }
      if (kind !== 'vm') continue;
      const before = vms.get(id);
      if (value === null) vms.delete(id);
      else vms.set(id, value);
      if (entry.by !== 'people' || before === undefined) continue;
      if (value === null) broken = `${before.name} was removed by nobody who leads`;
      else if (JSON.stringify(value.phase) !== JSON.stringify(before.phase))
        broken = `${before.name} became ${value.phase.kind} by nobody who leads`;
    }
    return broken;
  };
}

/** What is wrong with a change of a host's quarantine or loss by its writer; null: nothing. */
function hostDecided(before: HostRecord | undefined, after: HostRecord | null, isByPeople: boolean): string | null {
  if (before === undefined || after === null) return null;
  const isDeclared = before.lost === undefined && after.lost !== undefined;
  if (before.lost !== undefined && after.lost === undefined) return `${after.name} is lost no more`;
  if (isDeclared && (!isByPeople || after.quarantine === null)) return `${after.name} was declared lost by no person`;
  const isChanged = (before.quarantine === null) !== (after.quarantine === null);
  if (!isChanged || !isByPeople || isDeclared) return null;
  return `the quarantine of ${after.name} was changed by nobody who leads`;
}

/**
 * T1: a task ends at most once, it does not change after that, and it is not deleted before. Whether every task ends is
 * checked at the end of a run.
 */
export function tasksEndOnce(): Checker {
  /** Ended tasks that still have a record, in their final state. */
  const ended = new Map<TaskId, string>();
  const running = new Set<TaskId>();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    let broken: string | null = null;
    for (const { kind, id, value } of entry.changes) {
      if (kind !== 'task') continue;
      const before = ended.get(id);
      if (value === null) {
        if (running.delete(id)) broken = `task ${id} was deleted while it ran`;
        ended.delete(id);
        continue;
      }
      if (value.state === 'running') running.add(id);
      else running.delete(id);
      const now = JSON.stringify(value);
      if (before !== undefined && before !== now)
        broken = `task ${id} (${value.kind}) had ended and became ${value.state}`;
      if (value.state !== 'running') ended.set(id, now);
    }
    return broken;
  };
}

/**
 * T2: a VM that is meant to be stopped is not started by any leader, and only people change a stop back into a run. A
 * drain that stopped a VM for its move starts the VM again, once (MN8).
 */
export function stopsLast(): Checker {
  const vms = new Map<VmId, VmRecord>();
  const restarts = drainRestarts();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    let broken: string | null = null;
    const restarted = restarts(entry.changes);
    for (const { kind, id, value } of entry.changes) {
      if (kind !== 'vm') continue;
      const before = vms.get(id);
      if (value === null) vms.delete(id);
      else vms.set(id, value);
      if (value === null || before === undefined || entry.by === 'people' || before.intent !== 'stopped') continue;
      // A VM that was started after the snapshot, and runs, is meant to run.
      if (before.restored !== undefined) continue;
      const starts = value.phase.kind === 'starting' && before.phase.kind !== 'starting';
      if (value.intent !== 'stopped') {
        if (value.intent !== 'running' || !restarted.has(id))
          broken = `a leader changed the intent of ${value.name} from stopped to ${value.intent}`;
      } else if (starts || value.generation > before.generation)
        broken = `a leader started ${value.name}, which is to be stopped`;
    }
    return broken;
  };
}

/** Follows drains; answers which VMs a commit starts again for a move that they were stopped for. */
function drainRestarts(): (changes: readonly Change[]) => ReadonlySet<VmId> {
  /** Numbers of the moves whose VM was started again already, of each drain that stands. */
  const done = new Map<DrainId, ReadonlySet<number>>();
  return (changes) => {
    const restarted = new Set<VmId>();
    for (const { kind, id, value } of changes) {
      if (kind !== 'drain') continue;
      const before = done.get(id);
      const moves = value?.moves.filter((move) => move.remedy === 'stop' && move.restarted === true) ?? [];
      for (const move of moves) if (move.state === 'moving' && before?.has(move.id) !== true) restarted.add(move.vm);
      if (value === null) done.delete(id);
      else done.set(id, new Set(moves.map((move) => move.id)));
    }
    return restarted;
  };
}

/** T3: what people wrote is never lost: a leader only takes a wish back together with the end of its task. */
export function wishesAreKept(): Checker {
  const vms = new Map<VmId, VmRecord>();
  const running = new Set<TaskId>();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    let broken: string | null = null;
    for (const { kind, id, value } of entry.changes) {
      if (kind !== 'task') continue;
      if (value?.state === 'running') running.add(id);
      else running.delete(id);
    }
    for (const { kind, id, value } of entry.changes) {
      if (kind !== 'vm') continue;
      const before = vms.get(id);
      if (value === null) vms.delete(id);
      else vms.set(id, value);
      if (before === undefined || entry.by === 'people') continue;
      const kept = new Set(value === null ? [] : wishesOf(value));
      const lost = wishesOf(before).find((wish) => !kept.has(wish) && running.has(wish));
      if (lost !== undefined) broken = `${before.name}: the wish of task ${lost} is gone and the task did not end`;
      if (before.deleting && value !== null && !value.deleting) broken = `${before.name} is no longer being deleted`;
    }
    return broken;
  };
}

/** T4: a VM, and a disk of its own, leaves the records only after somebody asked for the VM to be deleted. */
export function nothingIsForgotten(): Checker {
  const vms = new Map<VmId, VmRecord>();
  const owners = new Map<DiskId, VmId>();
  const unasked = (id: VmId | undefined): VmRecord | null => {
    const vm = id === undefined ? undefined : vms.get(id);
    return vm === undefined || vm.deleting ? null : vm;
  };
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    let lost: string | null = null;
    for (const { kind, id, value } of entry.changes) {
      if (kind === 'disk' && value !== null) owners.set(id, value.vm);
      if (value !== null || (kind !== 'vm' && kind !== 'disk')) continue;
      const vm = unasked(kind === 'vm' ? id : owners.get(id));
      if (vm !== null) lost = `${id} is gone, and nobody asked for ${vm.name} to be deleted`;
    }
    for (const { kind, id, value } of entry.changes) {
      if (kind === 'disk' && value === null) owners.delete(id);
      if (kind !== 'vm') continue;
      if (value === null) vms.delete(id);
      else vms.set(id, value);
    }
    return lost;
  };
}

/**
 * The greatest age, in ms, of a leader's last look at a QEMU when the leader commits a decision that is based on it.
 */
const SEEN_LATE_MS = 1_000;

/**
 * V3: no leader starts a VM anew while its guest runs and has run for longer than a leader's look may be old, unless
 * the VM's host is given up in that transaction or was before. A guest that is paused, has ended or failed may be
 * replaced.
 */
export function whatRunsIsNotReplaced(): Checker {
  const statuses = new Map<string, { readonly said: string; readonly since: number }>();
  const vms = new Map<VmId, VmRecord>();
  const givenUp = new Set<HostName>();
  return (entry) => {
    if (entry.kind === 'status')
      statuses.set(`${entry.vm}:${entry.generation}`, { said: entry.status, since: entry.at });
    if (entry.kind !== 'commit') return null;
    for (const { kind, id, value } of entry.changes) {
      if (kind !== 'host') continue;
      // One that is removed is no host for anything any more.
      if (value !== null && value.quarantine === null) givenUp.delete(id);
      else givenUp.add(id);
    }
    let replaced: string | null = null;
    for (const { kind, id, value } of entry.changes) {
      if (kind !== 'vm') continue;
      const before = vms.get(id);
      if (value === null) vms.delete(id);
      else vms.set(id, value);
      if (before === undefined || value?.phase.kind !== 'starting' || value.generation === before.generation) continue;
      const generation = currentGeneration(before);
      const at = namedIncarnations(before).find((named) => named.generation === generation);
      const seen = statuses.get(`${id}:${generation}`);
      if (at === undefined || givenUp.has(at.host) || seen?.said !== 'running') continue;
      if (entry.at - seen.since > SEEN_LATE_MS)
        replaced = `${value.name} is started anew while generation ${generation} has run on ${at.host} since ${seen.since}`;
    }
    return replaced;
  };
}

function wishesOf(vm: VmRecord): TaskId[] {
  const carried = 'taskId' in vm.phase ? vm.phase.taskId : null;
  const wishes = [
    vm.startTask,
    carried,
    vm.stopRequest?.taskId,
    vm.migrationRequest?.taskId,
    vm.resetRequest?.taskId,
    vm.pauseTask,
  ];
  return wishes.filter((wish) => wish !== null && wish !== undefined);
}
