/**
 * Decides the next action of a drain. Pure. The record holds the plan and its progress; the present state of VMs and
 * hosts is looked up. A leader that knows nothing else decides the same.
 * Guarantees: a move begins only while its drain runs, after every move that it waits for has ended, and while the rest
 * of the plan still holds; a drain is `drained` only when no VM is expected on its hosts; a VM that has moved stays
 * moved.
 */
import { counted } from '../../base/counted.ts';
import type { HostName } from '../../base/ids.ts';
import type { ClusterIndex } from '../model/cluster-index.ts';
import { type DrainMove, type DrainRecord, type DrainWait, isDrainOver, isTooLate } from '../model/drain.ts';
import { currentIncarnation, expectedIncarnations, type VmRecord } from '../model/vm.ts';

/** Deviations that a record keeps: the newest. */
const DEVIATIONS_MAX = 100;
/**
 * How long a drain waits for VMs that are arriving, starting or stopping, in ms: longer than the longest migration
 * (migration-request.ts). After that, a person has to look.
 */
const VM_WAIT_MS_MAX = 900_000;
/** A move that was undone this often is planned anew, perhaps to another host. */
const FAILURES_MAX = 3;

/** The facts from which one decision is made. */
export interface DrainSituation {
  readonly drain: DrainRecord;
  readonly index: ClusterIndex;
  /** Why a member of a guest cluster must not move now; null: it may. */
  readonly obstacle: (vm: VmRecord) => string | null;
  /** Faults of the rest of the plan; empty: it holds. */
  readonly findings: () => readonly string[];
  /** The record of its hosts that cannot be read, as a sentence; null: all can be read. */
  readonly unreadable: string | null;
  /** Processes that an agent that answers reports on a host, and that no record expects. */
  readonly strays: (host: HostName) => number;
  /** True once no placement from before the drain can still be written. */
  readonly isSettled: boolean;
  /** Unix ms. */
  readonly now: number;
}

/** The next thing for a drain. */
export type DrainStep =
  /** Writes what became of moves. */
  | { readonly do: 'note'; readonly drain: DrainRecord }
  /** Orders the VM's migration, and writes both records in one transaction. */
  | { readonly do: 'begin'; readonly move: DrainMove; readonly vm: VmRecord }
  /** Starts a VM again that was stopped for its move, and writes both records in one transaction. */
  | { readonly do: 'restart'; readonly move: DrainMove; readonly vm: VmRecord }
  /** Plans the rest of the drain anew. */
  | { readonly do: 'replan'; readonly why: string }
  /** Ends the drain and its task. */
  | { readonly do: 'end'; readonly state: 'drained' | 'returned' | 'cancelled'; readonly message: string }
  /** The deadline has come, or a VM was waited for in vain: no move begins until somebody resumes the drain. */
  | { readonly do: 'pause'; readonly why: string }
  /** Nothing more can be decided until a person has mended a record: the drain says so. */
  | { readonly do: 'stick'; readonly why: string }
  /** `held`: no move is under way, and none may begin: the record names the reason. */
  | { readonly do: 'wait'; readonly why: string; readonly held?: Omit<DrainWait, 'since'> };

/** Decides the next step of a drain that is not over. */
export function decideDrain(situation: DrainSituation): DrainStep {
  const { drain, index, now } = situation;
  if (isDrainOver(drain)) return { do: 'wait', why: 'It is over.' };
  const noted = noteMoves(drain, index, now);
  if (noted !== null) return { do: 'note', drain: noted };
  const restart = restartOf(drain, index);
  if (restart !== null) return restart;
  if (situation.unreadable !== null) return { do: 'stick', why: situation.unreadable };
  const moving = drain.moves.filter(({ state }) => state === 'moving');
  const left = withoutLeft(situation, moving.length);
  if (left !== null) return left;
  if (drain.state === 'cancelling') {
    if (moving.length > 0) return { do: 'wait', why: `${counted(moving.length, 'move ends', 'moves end')} first.` };
    return { do: 'end', state: 'cancelled', message: cancelledMessage(drain) };
  }
  if (drain.state === 'paused') return { do: 'wait', why: 'It is paused.' };
  const waiting = drain.moves.filter(({ state }) => state === 'waiting');
  if (waiting.length === 0 && moving.length === 0) return endOrReplan(situation);
  if (isTooLate(drain, now)) {
    if (moving.length > 0) return { do: 'wait', why: `${moving.length} moves end first.` };
    return { do: 'pause', why: lateWords(drain, waiting) };
  }
  const tired = waiting.find(({ failures }) => failures >= FAILURES_MAX);
  if (tired !== undefined && moving.length === 0)
    return { do: 'replan', why: `${tired.name} could not be moved to ${tired.to}.` };
  return begin(situation, moving);
}

/** What follows when hosts of the drain left the cluster, for good or because they were lost; null: none did. */
function withoutLeft({ drain, index, now }: DrainSituation, moving: number): DrainStep | null {
  const isLeft = (host: HostName): boolean => index.host(host) === null;
  const about = drain.home === undefined ? drain.hosts : [drain.home];
  const left = about.filter(isLeft);
  if (left.length === 0) return null;
  const what = `${left.join(', ')} left the cluster.`;
  if (left.length < about.length) {
    const rest = { ...drain, hosts: drain.hosts.filter((host) => !isLeft(host)) };
    return { do: 'note', drain: withDeviation(rest, now, what) };
  }
  if (moving > 0) return { do: 'wait', why: `${what} ${counted(moving, 'move ends', 'moves end')} first.` };
  return { do: 'end', state: 'cancelled', message: `${what} What had moved stays where it is.` };
}

/**
 * The waiting moves that may begin, as far as the plan itself says: all that they wait for has ended, and both hosts
 * have a free place.
 */
function readyMoves({ moves, parallel }: DrainRecord): readonly DrainMove[] {
  const open = new Set<number>();
  const busy = new Map<HostName, number>();
  for (const { id, state, from, to } of moves) {
    if (state === 'waiting' || state === 'moving') open.add(id);
    if (state === 'moving') for (const host of [from, to]) busy.set(host, (busy.get(host) ?? 0) + 1);
  }
  const isFree = (host: HostName): boolean => (busy.get(host) ?? 0) < parallel;
  return moves.filter(
    ({ state, after, from, to }) =>
      state === 'waiting' && isFree(from) && isFree(to) && !after.some((id) => open.has(id)),
  );
}

/** A drain with one more deviation. */
export function withDeviation(drain: DrainRecord, at: number, what: string): DrainRecord {
  if (drain.deviations.at(-1)?.what === what) return drain;
  return { ...drain, deviations: [...drain.deviations, { at, what }].slice(-DEVIATIONS_MAX) };
}

function begin(situation: DrainSituation, moving: readonly DrainMove[]): DrainStep {
  const { drain, index, obstacle, findings, now } = situation;
  const whys: string[] = [];
  const held: Omit<DrainWait, 'since'>[] = [];
  for (const move of readyMoves(drain)) {
    const vm = index.vm(move.vm);
    if (vm === null) continue;
    if ((index.host(move.from)?.quarantine ?? null) !== null) {
      whys.push(`${move.from} is lost: ${vm.name} is restarted elsewhere.`);
      continue;
    }
    if (drain.by != null && now + move.durationMs > drain.by) {
      whys.push(`The move of ${vm.name} would end after the deadline.`);
      continue;
    }
    const unsettled = unsettledWords(vm, move.from);
    const why = unsettled ?? obstacle(vm);
    if (why !== null) {
      whys.push(why);
      held.push({ what: why, forVm: unsettled !== null });
      continue;
    }
    const [finding] = findings();
    if (finding === undefined) return { do: 'begin', move, vm };
    // Moves under way must end first: a plan starts from the present places of VMs.
    return moving.length > 0 ? { do: 'wait', why: finding } : { do: 'replan', why: finding };
  }
  const why = whys[0] ?? 'Moves are under way.';
  if (moving.length > 0) return { do: 'wait', why };
  return waitFor(situation, held.find(({ forVm }) => forVm) ?? held[0] ?? null, why);
}

/** The drain can only wait, and the record says why. */
function saying(what: string): DrainStep {
  return { do: 'wait', why: what, held: { what, forVm: false } };
}

/** No move is under way, and none may begin. */
function waitFor({ drain, now }: DrainSituation, held: Omit<DrainWait, 'since'> | null, why: string): DrainStep {
  if (held === null) return { do: 'wait', why };
  const { waits = null } = drain;
  const waitedMs = waits?.forVm === true ? now - waits.since : 0;
  if (!held.forVm || waitedMs < VM_WAIT_MS_MAX) return { do: 'wait', why: held.what, held };
  const minutes = Math.floor(waitedMs / 60_000);
  return {
    do: 'pause',
    why: `Nothing could be moved for ${minutes} min: ${held.what} To go on: gp maintenance resume ${drain.id}.`,
  };
}

/** The reason why a move off `from` waits while its VM starts, stops or moves; null: the VM runs there. */
function unsettledWords({ name, phase, migrationRequest, stopRequest }: VmRecord, from: HostName): string | null {
  const [first, second] = expectedIncarnations(phase);
  const waits = (how: string): string => `Waits for VM ${name}, which is ${how}.`;
  if (first !== undefined && first.host !== from) {
    const isThere = second?.host === from || migrationRequest?.to === from;
    return waits(isThere ? `arriving from ${first.host}` : `on ${first.host}`);
  }
  switch (phase.kind) {
    case 'running':
      if (stopRequest !== null) return waits('being stopped');
      return migrationRequest === null ? null : waits(`about to move to ${migrationRequest.to ?? 'another host'}`);
    case 'starting':
      return waits(`starting on ${phase.incarnation.host}`);
    case 'switching':
      return waits(`arriving from ${phase.source.host}`);
    case 'migrating':
      return waits(`moving to ${phase.destination.host}`);
    case 'unwinding':
      return waits(`staying: its move to ${phase.destination.host} is being undone`);
    case 'stopping':
    case 'stopped':
      return waits(phase.kind === 'stopped' ? 'stopped' : 'being stopped');
  }
}

/** The plan is used up: the hosts are empty, or a VM came there since. */
function endOrReplan(situation: DrainSituation): DrainStep {
  const { drain, index, strays, isSettled } = situation;
  if (drain.home !== undefined) {
    const back = drain.moves.filter(({ state }) => state === 'moved').length;
    return { do: 'end', state: 'returned', message: `${back} VMs were brought back to ${drain.home}.` };
  }
  const left = drain.hosts.flatMap((host) => [...index.vmsOn(host)]);
  const lost = drain.hosts.find((host) => (index.host(host)?.quarantine ?? null) !== null);
  if (left.length > 0 && lost !== undefined)
    return saying(`${lost} is lost: its VMs are restarted elsewhere once a host can take them.`);
  const leaving = left.flatMap((id) => index.vm(id) ?? []).filter((vm) => isLeaving(vm, drain.hosts));
  if (left.length > 0 && leaving.length === left.length) {
    const names = leaving.map(({ name }) => name).sort();
    const what = `Waits for ${counted(names.length, 'VM', 'VMs')} that ${names.length === 1 ? 'is' : 'are'} leaving without it: ${names.slice(0, 5).join(', ')}.`;
    return waitFor(situation, { what, forVm: true }, what);
  }
  if (left.length > 0) {
    const names = left.map((id) => index.vm(id)?.name ?? id).sort();
    return { do: 'replan', why: `On the hosts there still are ${names.slice(0, 5).join(', ')}.` };
  }
  const stray = drain.hosts.find((host) => strays(host) > 0);
  if (stray !== undefined) return saying(`Processes of old generations are being ended on ${stray}.`);
  if (!isSettled) return { do: 'wait', why: 'A placement from before the drain may still be written.' };
  const moved = drain.moves.filter(({ state }) => state === 'moved').length;
  return {
    do: 'end',
    state: 'drained',
    message: `${drain.hosts.join(', ')}: empty. ${counted(moved, 'VM was', 'VMs were')} moved.`,
  };
}

/** Whether a VM leaves these hosts without a move of the drain, or goes back to its old host. */
function isLeaving({ phase }: VmRecord, hosts: readonly HostName[]): boolean {
  switch (phase.kind) {
    case 'migrating':
    case 'switching':
      return !hosts.includes(phase.destination.host);
    case 'unwinding':
      return !hosts.includes(phase.source.host);
    default:
      return false;
  }
}

/** The message when the deadline has come. */
function lateWords({ id, by }: DrainRecord, waiting: readonly DrainMove[]): string {
  const names = waiting.map(({ name }) => name).sort();
  const left = `${names.slice(0, 5).join(', ')}${names.length > 5 ? ` and ${names.length - 5} more` : ''}`;
  return `Its deadline ${new Date(by ?? 0).toISOString()} has come: ${left} would move too late. To go on: gp maintenance resume ${id}.`;
}

function cancelledMessage({ moves }: DrainRecord): string {
  const moved = moves.filter(({ state }) => state === 'moved').length;
  return `Cancelled. ${moved} of ${counted(moves.length, 'move')} ${moved === 1 ? 'was' : 'were'} made; VMs that were moved stay where they are.`;
}

/** A VM that was stopped for its move starts again in any case: also while the drain is paused or cancelled. */
function restartOf({ moves }: DrainRecord, index: ClusterIndex): DrainStep | null {
  for (const move of moves) {
    if (move.state !== 'moving' || move.remedy !== 'stop' || move.restarted === true) continue;
    const vm = index.vm(move.vm);
    if (vm?.phase.kind === 'stopped' && vm.intent === 'stopped' && !vm.deleting) return { do: 'restart', move, vm };
  }
  return null;
}

/** The next record of a VM that is stopped for its move; the same record if nothing changes. */
function outcomeOfStop(move: DrainMove, vm: VmRecord, now: number): DrainMove {
  const at = currentIncarnation(vm.phase);
  const isDown = at === null || vm.phase.kind === 'stopping';
  if (isDown && move.restarted === true && vm.intent === 'stopped')
    return { ...move, state: 'gone', note: 'It was stopped.', endedAt: now };
  if (at !== null && at.host !== move.from && vm.phase.kind === 'running') {
    const note =
      at.host === move.to ? 'It was stopped, and started here.' : `It was stopped, and started on ${at.host}.`;
    return { ...move, state: 'moved', note, endedAt: now };
  }
  const isUndone = vm.phase.kind === 'running' && vm.intent !== 'stopped' && vm.stopRequest === null;
  return isUndone ? undone(move, 'It was not stopped.') : move;
}

/** A move that is to be made again. */
function undone(move: DrainMove, note: string): DrainMove {
  return { ...move, state: 'waiting', failures: move.failures + 1, note, taskId: null, startedAt: null };
}

/** The record with the outcome of its open moves; null: nothing new. */
function noteMoves(drain: DrainRecord, index: ClusterIndex, now: number): DrainRecord | null {
  let isChanged = false;
  let noted = drain;
  const moves = drain.moves.map((move) => {
    if (move.health === 'awaited') {
      const health = healthOf(index.vm(move.vm));
      if (health === 'awaited') return move;
      isChanged = true;
      if (health === 'no') noted = withDeviation(noted, now, `${move.name}: It was not seen healthy after its move.`);
      return { ...move, health };
    }
    if (move.state !== 'waiting' && move.state !== 'moving') return move;
    // The second move of a VM that goes by way of a third host: it is not there yet.
    if (drain.moves.some((other) => isBefore(other, move))) return move;
    const next = outcomeOf(move, index.vm(move.vm), now);
    if (next === move) return move;
    isChanged = true;
    if (next.note !== null && next.note !== move.note) noted = withDeviation(noted, now, `${next.name}: ${next.note}`);
    return next;
  });
  return isChanged ? { ...noted, moves } : null;
}

/** Whether another move of the same VM is to end before this one begins. */
function isBefore(other: DrainMove, { vm, id }: DrainMove): boolean {
  return other.vm === vm && other.id < id && (other.state === 'waiting' || other.state === 'moving');
}

/** Whether a VM is on its way to a host, and not on its way back. */
function isArriving({ phase, migrationRequest }: VmRecord, host: HostName): boolean {
  if (phase.kind === 'migrating') return phase.destination.host === host;
  return phase.kind === 'running' && migrationRequest?.to === host;
}

/** The health of a member after its move; a member that is gone, or starts anew, is not awaited any longer. */
function healthOf(vm: VmRecord | null): NonNullable<DrainMove['health']> {
  if (vm?.settling !== undefined) return 'awaited';
  return vm?.seenHealthy ?? 'no';
}

function outcomeOf(move: DrainMove, vm: VmRecord | null, now: number): DrainMove {
  const ended = (state: 'moved' | 'gone', note: string | null): DrainMove => ({ ...move, state, note, endedAt: now });
  if (vm === null) return ended('gone', 'It was deleted.');
  if (move.state === 'moving' && move.remedy === 'stop') return outcomeOfStop(move, vm, now);
  const hosts = expectedIncarnations(vm.phase).map(({ host }) => host);
  if (hosts.length === 0) return ended('gone', 'It was stopped.');
  const at = currentIncarnation(vm.phase)?.host;
  if (move.state === 'waiting') {
    return at === move.from || isArriving(vm, move.from) ? move : ended('gone', `It is on ${at} without this move.`);
  }
  if (vm.phase.kind !== 'running' && vm.phase.kind !== 'starting') return move;
  if (vm.migrationRequest !== null) return move;
  if (at === move.to && vm.phase.kind === 'running')
    return {
      ...ended('moved', null),
      measuredPauseMs: vm.pausesMs?.at(-1) ?? null,
      ...(vm.settling === undefined ? {} : { health: 'awaited' }),
    };
  if (at !== move.from) return ended('gone', `It was restarted on ${at}.`);
  if (vm.phase.kind === 'starting') return ended('gone', `It was restarted on ${at}.`);
  return undone(move, 'Its move was undone.');
}
