/**
 * Checkers of drains, by the records before and after each commit. Written anew from docs/specs/maintenance.md: they
 * share no line with the code that plans drains, carries them out, or places VMs. Their memory is bounded by the number
 * of existing records.
 */
import type { DrainId, HostName, VmId } from '../../base/ids.ts';
import type { DrainMove, DrainRecord } from '../model/drain.ts';
import type { VmRecord } from '../model/vm.ts';
import { FollowedRecords } from './followed-records.ts';
import { footprintOf, memoryOn, namedIncarnations } from './records.ts';
import type { Checker } from './trace.ts';

/**
 * A transaction that was decided before a drain was known is written within this time, or never, in ms
 * (docs/specs/maintenance.md, MN5).
 */
const LATE_MS = 5_000;
/** A promise of this age was known to every later placement, in ms. */
const PROMISED_MS = 2_500;

/**
 * MN3, MN6: a move begins only after the moves that it waits for have ended, with no more moves at a time from and to
 * its hosts than were asked for; a move that has ended stays as it ended; another plan comes with its reason.
 */
export function drainsKeepTheirPlan(): Checker {
  const drains = new Map<DrainId, { readonly plan: Plan; readonly record: DrainRecord }>();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    for (const { kind, id, value } of entry.changes) {
      if (kind !== 'drain') continue;
      const before = drains.get(id);
      const plan = before?.plan ?? { parallel: value?.parallel ?? 0, after: new Map() };
      const fault = before === undefined || value === null ? null : faultOf(plan, before.record, value);
      if (value === null) drains.delete(id);
      else drains.set(id, { plan, record: value });
      for (const move of value?.moves ?? []) if (!plan.after.has(move.id)) plan.after.set(move.id, move.after);
      if (fault !== null) return `${id}: ${fault}`;
    }
    return null;
  };
}

/** The plan that a drain was begun with, as it was first written: none of it may change. */
interface Plan {
  readonly parallel: number;
  /** By move. */
  readonly after: Map<number, readonly number[]>;
}

function faultOf(plan: Plan, before: DrainRecord, after: DrainRecord): string | null {
  const now = new Map(after.moves.map((move) => [move.id, move]));
  const unsaid = after.deviations.length > 0 ? undefined : after.moves.find(({ id }) => !plan.after.has(id));
  if (unsaid !== undefined) return `the move of ${unsaid.name} is of another plan, and no deviation says why`;
  for (const move of before.moves) {
    const same = now.get(move.id);
    if (hasEnded(move) && same !== undefined && same.state !== move.state)
      return `the move of ${move.name} was ${move.state}, and is ${same.state} again`;
    if (move.state !== 'waiting' || same?.state !== 'moving') continue;
    const waitsFor = plan.after.get(move.id) ?? [];
    const open = waitsFor.map((id) => now.get(id)).find((other) => other !== undefined && !hasEnded(other));
    if (open !== undefined) return `the move of ${move.name} began before that of ${open.name} had ended`;
    const crowded = [move.from, move.to].find((host) => movingAt(after, host) > plan.parallel);
    if (crowded !== undefined)
      return `${movingAt(after, crowded)} moves at once at ${crowded}, and ${plan.parallel} may`;
  }
  return null;
}

const hasEnded = ({ state }: DrainMove): boolean => state === 'moved' || state === 'gone';

function movingAt({ moves }: DrainRecord, host: HostName): number {
  return moves.filter(({ state, from, to }) => state === 'moving' && (from === host || to === host)).length;
}

/** MN2: a record that comes to name a host does so while that host is not in maintenance. */
export function nothingComesIntoMaintenance(): Checker {
  const records = new FollowedRecords();
  const since = new Map<HostName, number>();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    let broken: string | null = null;
    for (const change of entry.changes) {
      if (change.kind === 'vm' && change.value !== null) {
        const [host] = newHosts(records.vms.get(change.id), change.value).filter(
          (name) => entry.at - (since.get(name) ?? entry.at) > LATE_MS,
        );
        if (host !== undefined) broken = `${change.value.name} came to ${host}, which is in maintenance`;
      }
      if (change.kind === 'host') {
        if ((change.value?.maintenance ?? null) === null) since.delete(change.id);
        else since.set(change.id, since.get(change.id) ?? entry.at);
      }
      records.note(change, () => undefined);
    }
    return broken;
  };
}

/**
 * Hosts that a record names for the first time. For a record that is seen for the first time it is unknown when it was
 * written.
 */
function newHosts(before: VmRecord | undefined, after: VmRecord): readonly HostName[] {
  // The same holds for a record that was found after a restore.
  if (before === undefined || before.restored !== undefined) return [];
  const known = new Set(namedIncarnations(before).map(({ host }) => host));
  return namedIncarnations(after)
    .map(({ host }) => host)
    .filter((host) => !known.has(host));
}

/**
 * MN4: a VM that is started on request, or moved without a drain, leaves the memory free that drains were promised on
 * its host: the memory of the VMs themselves, whatever the records of the drains say.
 */
export function claimsAreKept(): Checker {
  const records = new FollowedRecords();
  const promised = new Promises();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    const placed = new Map<HostName, VmRecord>();
    for (const change of entry.changes) {
      if (change.kind === 'vm' && change.value !== null && mustKeepClaims(change.value))
        for (const host of newHosts(records.vms.get(change.id), change.value)) placed.set(host, change.value);
      if (change.kind === 'drain') promised.note(change.id, change.value, entry.at);
      records.note(change, () => undefined);
    }
    for (const [host, vm] of placed) {
      if (promised.isPromised(host, vm.id)) continue;
      const room = records.hosts.get(host)?.capacity.memoryBytes ?? Number.POSITIVE_INFINITY;
      const there = records.vmsOn(host);
      const used = there.reduce((sum, each) => sum + memoryOn(host, each), 0);
      const isThere = new Set(there.map(({ id }) => id));
      const claimed = promised
        .on(host, entry.at - PROMISED_MS)
        .flatMap((id) => (isThere.has(id) ? [] : (records.vms.get(id) ?? [])))
        // What has stopped since needs no promise, whatever size it will have.
        .filter((each) => namedIncarnations(each).length > 0)
        .reduce((sum, each) => sum + footprintOf(each), 0);
      if (claimed > 0 && used + claimed > room)
        return `${vm.name} came to ${host}, where ${claimed} bytes were promised to drains and ${room - used} are left`;
    }
    return null;
  };
}

/**
 * Whether the record was placed at somebody's wish: a VM that was lost, crashed or failed to launch may break claims.
 */
function mustKeepClaims({ phase }: VmRecord): boolean {
  return phase.kind === 'migrating' || (phase.kind === 'starting' && phase.reason === 'requested');
}

/** The open moves of all drains, with the time since when each is promised. */
class Promises {
  readonly #since = new Map<
    DrainId,
    Map<string, { readonly host: HostName; readonly vm: VmId; readonly at: number }>
  >();

  note(id: DrainId, drain: DrainRecord | null, at: number): void {
    const known = this.#since.get(id);
    const isOver = drain === null || drain.endedAt !== null || drain.state === 'cancelling';
    if (isOver) {
      this.#since.delete(id);
      return;
    }
    const open = drain.moves.filter((move) => !hasEnded(move));
    const next = open.map(({ vm, to: host }) => [`${host} ${vm}`, { host, vm }] as const);
    this.#since.set(id, new Map(next.map(([key, of]) => [key, known?.get(key) ?? { ...of, at }])));
  }

  isPromised(host: HostName, vm: VmId): boolean {
    return [...this.#since.values()].some((moves) => moves.has(`${host} ${vm}`));
  }

  /** The VMs that were promised memory on a host before a time. */
  on(host: HostName, before: number): readonly VmId[] {
    const all = [...this.#since.values()].flatMap((moves) => [...moves.values()]);
    return [...new Set(all.filter((move) => move.host === host && move.at <= before).map(({ vm }) => vm))];
  }
}
