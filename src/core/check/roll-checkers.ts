/**
 * Checkers of rolls, by the records before and after each commit. Written anew from docs/specs/maintenance.md: they
 * share no line with the code that plans rolls, decides about them, or reads windows of time. Their memory is bounded
 * by the number of existing records.
 */
import type { DrainId, HostName, RollId } from '../../base/ids.ts';
import type { HostRecord } from '../model/cluster.ts';
import type { DrainRecord } from '../model/drain.ts';
import type { RollHost, RollHostState, RollRecord } from '../model/roll.ts';
import type { Change } from '../ports/store.ts';
import type { Checker } from './trace.ts';

/** A commit of another writer was known to every decision that came this much later, in ms. */
const KNOWN_MS = 5_000;

/** The way of a host through a roll. A state is followed by later ones only, and the last is the end. */
const WAY: readonly RollHostState[] = ['waiting', 'pre', 'ready', 'draining', 'run', 'back', 'verify', 'done'];

/** A roll's record before and after a commit, with its hosts before by name. */
interface RollStep {
  readonly before: RollRecord;
  readonly after: RollRecord;
  readonly hosts: ReadonlyMap<HostName, RollHost>;
}

/** Follows rolls; hands each change of a known one on. */
class FollowedRolls {
  readonly records = new Map<RollId, RollRecord>();
  /** The plan as first written: none of it changes. */
  readonly first = new Map<RollId, RollRecord>();

  take(change: Change): RollStep | null {
    if (change.kind !== 'roll') return null;
    const { id, value } = change;
    const before = this.records.get(id);
    if (value === null) {
      this.records.delete(id);
      this.first.delete(id);
      return null;
    }
    this.records.set(id, value);
    if (!this.first.has(id)) this.first.set(id, value);
    if (before === undefined) return null;
    return { before, after: value, hosts: new Map(before.hosts.map((host) => [host.host, host])) };
  }

  /** The roll as it was approved and admitted. */
  asBegun(roll: RollRecord): RollRecord {
    return this.first.get(roll.id) ?? roll;
  }
}

/** A checker that looks at each change of a roll after all changes of its commit were followed. */
function ofRolls(
  judge: (step: RollStep, known: FollowedRolls, at: number) => string | null,
  note: (change: Change, at: number) => void = () => undefined,
): Checker {
  const known = new FollowedRolls();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    const steps: RollStep[] = [];
    for (const change of entry.changes) {
      const step = known.take(change);
      if (step !== null) steps.push(step);
      note(change, entry.at);
    }
    for (const step of steps) {
      const what = judge(step, known, entry.at);
      if (what !== null) return `${step.after.id}: ${what}`;
    }
    return null;
  };
}

/** Hosts that were not begun before a commit, and are after it. One that is tried again was begun before. */
function begunIn({ after, hosts }: RollStep): readonly RollHost[] {
  return after.hosts.filter(({ host, state }) => {
    const before = hosts.get(host)?.state;
    if (before === undefined || before === state || before === 'failed') return false;
    return state === 'pre' || state === 'draining';
  });
}

/**
 * MR10: a host passes its stages once: a stage that is done is not repeated, even if another runner continues the roll.
 * Only a host that has failed is tried again.
 */
export function rollsGoForward(): Checker {
  return ofRolls(({ after, hosts }) => {
    if (hosts.size !== after.hosts.length) return 'its hosts changed';
    for (const host of after.hosts) {
      const before = hosts.get(host.host);
      if (before === undefined) return `${host.host} was not in it`;
      const fault = wayFault(before, host);
      if (fault !== null) return fault;
    }
    return null;
  });
}

function wayFault(before: RollHost, after: RollHost): string | null {
  const { host } = after;
  const isOver = before.state === 'done' || before.state === 'skipped';
  if (isOver && after.state !== before.state) return `${host} was ${before.state}, and is ${after.state}`;
  if (before.state === 'failed' || after.state === 'failed' || after.state === 'skipped') return null;
  if (WAY.indexOf(after.state) < WAY.indexOf(before.state)) return `${host} was ${before.state}, and is ${after.state}`;
  return null;
}

/** MR10: hosts of a wave begin only after every host of the waves before it is done with. */
export function wavesFollowEachOther(): Checker {
  return ofRolls((step) => {
    for (const { host, wave } of begunIn(step)) {
      const open = step.after.hosts.find(
        (other) => other.wave < wave && !['done', 'failed', 'skipped'].includes(other.state),
      );
      if (open !== undefined) return `${host} of wave ${wave + 1} begins, and ${open.host} is ${open.state}`;
    }
    return null;
  });
}

/** MR1: of two rolls over one host only one begins anything. */
export function oneRollHasAHost(): Checker {
  return ofRolls((step, known) => {
    for (const { host } of begunIn(step)) {
      const other = [...known.records.values()].find(
        (roll) => roll.id !== step.after.id && isOpen(roll) && hasBegun(roll, host),
      );
      if (other !== undefined) return `${host} begins, which ${other.id} has`;
    }
    return null;
  });
}

const isOpen = ({ state }: RollRecord): boolean => state !== 'completed' && state !== 'aborted';

function hasBegun({ hosts }: RollRecord, name: HostName): boolean {
  return hosts.some(({ host, state }) => host === name && !['waiting', 'skipped', 'done', 'failed'].includes(state));
}

/**
 * MR2: outside the windows, and in a freeze, nothing begins: no host, no `pre`, no `run`, no move. Judged by the time
 * that the record gives: clocks of control nodes differ.
 */
export function nothingBeginsOutsideWindows(): Checker {
  const known = new FollowedRolls();
  const drains = new Map<DrainId, DrainRecord>();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    let broken: string | null = null;
    const begins = (roll: RollRecord, what: string, at: number): void => {
      const why = closedAt(known.asBegun(roll), at);
      if (why !== null) broken ??= `${roll.id}: ${what} began at ${new Date(at).toISOString()}, ${why}`;
    };
    for (const change of entry.changes) {
      const step = known.take(change);
      if (step !== null) {
        for (const host of begunIn(step)) begins(step.after, host.host, host.since);
        for (const { host, work } of step.after.hosts) {
          const before = step.hosts.get(host)?.work ?? null;
          const isNew = work !== null && (before === null || before.by !== work.by || before.step !== work.step);
          if (isNew && work.step !== 'verify') begins(step.after, `"${work.step}" on ${host}`, work.startedAt);
        }
      }
      if (change.kind !== 'drain') continue;
      const before = drains.get(change.id);
      const roll = change.value?.roll == null ? undefined : known.records.get(change.value.roll);
      if (before !== undefined && change.value !== null && roll !== undefined)
        for (const { name, at } of movesBegun(before, change.value)) begins(roll, `the move of ${name}`, at);
      if (change.value === null || change.value.endedAt !== null) drains.delete(change.id);
      else drains.set(change.id, change.value);
    }
    return broken;
  };
}

function movesBegun(
  before: DrainRecord,
  after: DrainRecord,
): readonly { readonly name: string; readonly at: number }[] {
  const waited = new Set(before.moves.flatMap(({ id, state }) => (state === 'moving' ? [] : [id])));
  return after.moves.flatMap(({ id, name, state, startedAt }) =>
    state === 'moving' && startedAt !== null && (waited.has(id) || !before.moves.some((move) => move.id === id))
      ? [{ name, at: startedAt }]
      : [],
  );
}

/** Why a roll may begin nothing at a time (Unix ms); null: it may. */
function closedAt({ windows, freezes }: RollRecord, at: number): string | null {
  const freeze = freezes.find(({ from, until }) => from <= at && at < until);
  if (freeze !== undefined) return `in the freeze "${freeze.reason}"`;
  if (windows.length === 0 || windows.some((window) => isInWindow(window, at))) return null;
  return `outside of ${windows.join(' and ')}`;
}

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

/** Whether clocks of the window's zone show a time inside it. Windows that cannot be read count as open: admission refuses them. */
function isInWindow(text: string, at: number): boolean {
  const [, days, from, until, zone] = /^(\S+) (\d\d:\d\d)-(\d\d:\d\d) (\S+)$/.exec(text.trim()) ?? [];
  if (days === undefined || from === undefined || until === undefined || zone === undefined) return true;
  const shown = new Intl.DateTimeFormat('en-GB', {
    ...{ timeZone: zone, weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  }).formatToParts(at);
  const part = (type: string): string => shown.find((each) => each.type === type)?.value ?? '';
  const time = `${part('hour')}:${part('minute')}`;
  const today = DAYS.indexOf(part('weekday'));
  const begins = (day: number): boolean => daysIn(days).has((day + 7) % 7);
  if (until > from) return begins(today) && time >= from && time < until;
  return (begins(today) && time >= from) || (begins(today - 1) && time < until);
}

function daysIn(text: string): ReadonlySet<number> {
  const found = new Set<number>();
  for (const part of text.split(',')) {
    const [first = '', last = first] = part.split('-');
    for (let day = DAYS.indexOf(first); ; day = (day + 1) % 7) {
      if (day < 0) break;
      found.add(day);
      if (DAYS[day] === last) break;
    }
  }
  return found;
}

/**
 * MR4: when a roll begins to empty a host, no more of its hosts are in maintenance than may be, in total and per rack.
 * Hosts that somebody else took away count if the leader knew of them.
 */
export function fewHostsAreAway(): Checker {
  const hosts = new Map<HostName, { readonly record: HostRecord; readonly since: number }>();
  const judge = (step: RollStep, known: FollowedRolls, at: number): string | null => {
    const begun = begunIn(step).filter(({ state }) => state === 'draining');
    if (begun.length === 0) return null;
    const { maxUnavailable, perRack } = known.asBegun(step.after);
    const own = new Map(step.after.hosts.map(({ host, drain }) => [host, drain]));
    const away = [...hosts.values()].filter(({ record, since }) => {
      const drain = own.get(record.name);
      if (drain === undefined || (record.maintenance ?? null) === null) return false;
      return record.maintenance?.drain === drain || at - since > KNOWN_MS;
    });
    if (away.length > maxUnavailable) return `${away.length} of its hosts are away, and ${maxUnavailable} may be`;
    if (perRack === null) return null;
    for (const { host } of begun) {
      const rack = hosts.get(host)?.record.rack ?? null;
      const there = rack === null ? 1 : away.filter(({ record }) => record.rack === rack).length;
      if (there > perRack) return `${there} hosts of rack ${rack} are away, and ${perRack} may be`;
    }
    return null;
  };
  return ofRolls(judge, (change, at) => {
    if (change.kind !== 'host') return;
    const before = hosts.get(change.id);
    if (change.value === null) hosts.delete(change.id);
    else {
      const isAway = (change.value.maintenance ?? null) !== null;
      const wasAway = (before?.record.maintenance ?? null) !== null;
      const since = isAway && wasAway && before !== undefined ? before.since : at;
      hosts.set(change.id, { record: change.value, since });
    }
  });
}

/** MR5: no host of a roll begins while another host is unexpectedly down. */
export function nothingBeginsWhileAHostIsLost(): Checker {
  const lost = new Map<HostName, number>();
  const judge = (step: RollStep, _known: FollowedRolls, at: number): string | null => {
    const begun = begunIn(step);
    if (begun.length === 0) return null;
    const down = [...lost].find(([, since]) => at - since > KNOWN_MS);
    return down === undefined ? null : `${begun[0]?.host} begins while ${down[0]} is lost`;
  };
  return ofRolls(judge, (change, at) => {
    if (change.kind !== 'host') return;
    const { quarantine = null, maintenance = null } = change.value ?? {};
    if (quarantine === null || maintenance !== null) lost.delete(change.id);
    else if (!lost.has(change.id)) lost.set(change.id, at);
  });
}

/**
 * MR6: a host is done only after its `run` succeeded, and then its `verify`, as far as the roll has them, since its
 * maintenance began.
 */
export function hostsAreDoneWhenTheyAre(): Checker {
  return ofRolls((step, known) => {
    const { commands } = known.asBegun(step.after);
    for (const host of step.after.hosts) {
      if (host.state !== 'done' || step.hosts.get(host.host)?.state === 'done') continue;
      const missing = (['run', 'verify'] as const).find(
        (work) => commands[work] !== null && !host.done.some(({ step: name, succeeded }) => name === work && succeeded),
      );
      if (missing !== undefined) return `${host.host} is done without its "${missing}"`;
      const order = host.done.filter(({ succeeded }) => succeeded).map(({ step: name }) => name);
      if (commands.run !== null && commands.verify !== null && order.lastIndexOf('verify') < order.lastIndexOf('run'))
        return `${host.host} is done, and was verified before its "run"`;
    }
    return null;
  });
}
