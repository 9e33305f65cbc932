/**
 * Decides the next action of a roll. Pure. The records hold the approved plan and its progress; hosts and drains are
 * looked up. A leader that knows nothing else decides the same.
 * Guarantees: nothing begins outside the windows, in a freeze, while the roll is paused, or while a host is down that
 * nobody took down; no more hosts of the roll are away at once than may be; a host is taken back only when its work is
 * done, its agent answers and its check succeeded.
 */
import type { DrainId, HostName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { HostRecord } from '../model/cluster.ts';
import { type DrainRecord, isDrainOver } from '../model/drain.ts';
import type { HostObservation } from '../model/observation.ts';
import {
  holdsHost,
  isHostOver,
  isRollOver,
  type RollHost,
  type RollHostState,
  type RollRecord,
  withHosts,
  withRollDeviation,
} from '../model/roll.ts';
import type { ApprovedPlan } from './approved-text.ts';
import { openingAt, waveMs } from './roll-holds.ts';

/**
 * How long after the work a host's agent must answer: a host that restarts itself a moment after its command ended
 * falls silent first.
 */
const BACK_MS = 5_000;

/** The state that a drain shows while its roll has paused it. */
export const HELD_DRAIN = 'Its roll begins nothing now.';

/** The facts from which one decision is made. */
export interface RollSituation {
  readonly roll: RollRecord;
  readonly plan: ApprovedPlan;
  readonly host: (name: HostName) => HostRecord | null;
  /** Every host of the cluster. */
  readonly hosts: Iterable<HostRecord>;
  readonly drain: (id: DrainId) => DrainRecord | null;
  readonly agent: (host: HostName) => HostObservation['agent'];
  /** A roll that began earlier and has one of its hosts; null: there is none. */
  readonly rival: RollRecord | null;
  /** Why hosts must not begin to be emptied now, for their guest clusters' sake; null: they may. */
  readonly heldBack: (hosts: readonly HostName[]) => string | null;
  /** Unix ms. */
  readonly now: number;
}

/** The next thing for a roll. */
export type RollDecision =
  /** Writes what became of hosts, or why nothing begins. */
  | { readonly do: 'note'; readonly roll: RollRecord }
  /** Checks all conditions anew, then begins to empty hosts of one wave. */
  | { readonly do: 'begin'; readonly wave: number; readonly hosts: readonly HostName[] }
  /** Takes a host back into service. */
  | { readonly do: 'return'; readonly host: RollHost; readonly as: 'done' | 'skipped' }
  /** Pauses, resumes or cancels the drain of a wave. */
  | { readonly do: 'drain'; readonly drain: DrainRecord; readonly state: 'running' | 'paused' | 'cancelling' }
  /** Ends the roll and its task. */
  | { readonly do: 'end'; readonly state: 'completed' | 'aborted'; readonly message: string }
  | { readonly do: 'wait' };

/** Decides the next step of a roll. */
export function decideRoll(situation: RollSituation): RollDecision {
  const { roll, rival, now } = situation;
  if (isRollOver(roll)) return { do: 'wait' };
  if (rival !== null && roll.hosts.every(({ state }) => state === 'waiting'))
    return { do: 'end', state: 'aborted', message: `${rival.id} has some of its hosts, and began before it.` };
  const noted = noteHosts(situation);
  if (noted !== null) return { do: 'note', roll: noted };
  const back = returnOf(situation);
  if (back !== null) return back;
  if (roll.hosts.every(isHostOver)) return endOf(roll);
  if (roll.state === 'aborting') return decideAborting(situation);
  if (roll.state === 'paused') return drainsTo(situation, 'paused') ?? { do: 'wait' };
  const opening = openingAt(roll, now);
  if (!opening.isOpen) return drainsTo(situation, 'paused') ?? holdFor(situation, opening.why);
  return drainsTo(situation, 'running') ?? begin(situation, opening.until);
}

/** A host comes into another state. */
function become(host: RollHost, state: RollHostState, now: number, note: string | null = null): RollHost {
  return { ...host, state, since: now, work: null, note };
}

/** A host has failed; where the roll stops at failures, it is paused. */
export function failHost(roll: RollRecord, host: RollHost, now: number, note: string): RollRecord {
  const failed = { ...become(host, 'failed', now, note), failedAt: host.state };
  const next = withRollDeviation(withHosts(roll, [failed]), now, `${host.host}: ${note}`);
  if (roll.onFailure === 'continue' || roll.state !== 'running') return next;
  return { ...next, state: 'paused', held: `${host.host} has failed: ${note}` };
}

/** The roll with the present states of its hosts; null: nothing new. */
function noteHosts(situation: RollSituation): RollRecord | null {
  const { roll } = situation;
  for (const host of roll.hosts) {
    if (isHostOver(host)) continue;
    const next = nextOf(situation, host);
    if (next !== null) return next;
  }
  return null;
}

function nextOf(situation: RollSituation, host: RollHost): RollRecord | null {
  const { roll, now } = situation;
  const record = situation.host(host.host);
  const change = (state: RollHostState, note: string | null = null): RollRecord =>
    withHosts(roll, [become(host, state, now, note)]);
  if (record === null) {
    const note = 'It left the cluster.';
    return withRollDeviation(change('skipped', note), now, `${host.host}: ${note}`);
  }
  switch (host.state) {
    case 'waiting':
    case 'pre':
    case 'ready':
      return roll.state === 'aborting' ? change('skipped') : null;
    case 'draining':
      return drainedOf(situation, host, change);
    default:
      if (record.maintenance?.drain !== host.drain)
        return failHost(roll, host, now, 'Somebody took it back into service before its work was done.');
      return workOf(situation, host, change);
  }
}

function drainedOf(
  { roll, drain, now }: RollSituation,
  host: RollHost,
  change: (state: RollHostState, note?: string | null) => RollRecord,
): RollRecord | null {
  const record = host.drain === null ? null : drain(host.drain);
  if (record === null) return failHost(roll, host, now, 'The record of its drain is gone.');
  if (!isDrainOver(record)) return null;
  if (record.state === 'drained') return change(roll.commands.run === null ? 'back' : 'run');
  if (roll.state === 'aborting') return change('skipped', 'Its drain was cancelled; VMs that had moved stay.');
  return failHost(roll, host, now, 'Its drain was cancelled.');
}

function workOf(
  { roll, agent, now }: RollSituation,
  host: RollHost,
  change: (state: RollHostState) => RollRecord,
): RollRecord | null {
  const { commands, backMs } = roll;
  const sinceMs = now - host.since;
  if (host.state === 'back') {
    const isBack = agent(host.host) === 'alive' && sinceMs >= BACK_MS;
    if (isBack && commands.verify !== null) return change('verify');
    if (!isBack && sinceMs > backMs)
      return failHost(roll, host, now, `Its agent did not answer within ${Math.round(backMs / 60_000)} min.`);
    return null;
  }
  if (roll.state !== 'aborting') return null;
  // The runner that would report how the work ended may never come.
  const isLeft = host.work === null ? sinceMs > commands.verifyMs : host.work.until < now;
  const isUntouched = host.state === 'run' && host.work === null && !hasDone(host, 'run');
  if (!isLeft || isUntouched || isVerified(host)) return null;
  return failHost(roll, host, now, `The roll was aborted, and the outcome of "${host.state}" was not reported.`);
}

const hasDone = ({ done }: RollHost, step: string): boolean => done.some((each) => each.step === step);

function isVerified({ state, done }: RollHost): boolean {
  const last = done.at(-1);
  return state === 'verify' && last?.step === 'verify' && last.succeeded;
}

/** A host that is to be taken back now, or null. */
function returnOf({ roll, agent, host: recordOf, now }: RollSituation): RollDecision | null {
  for (const host of roll.hosts) {
    const isSeen = agent(host.host) === 'alive' && recordOf(host.host)?.quarantine === null;
    const isUntouched = host.state === 'run' && host.work === null && !hasDone(host, 'run');
    if (roll.state === 'aborting' && isUntouched) return { do: 'return', host, as: 'skipped' };
    const isBack = host.state === 'back' && roll.commands.verify === null && now - host.since >= BACK_MS;
    if (isSeen && (isBack || isVerified(host))) return { do: 'return', host, as: 'done' };
  }
  return null;
}

function endOf(roll: RollRecord): RollDecision {
  const count = (state: RollHostState): number => roll.hosts.filter((host) => host.state === state).length;
  const failed = roll.hosts.filter(({ state }) => state === 'failed').map(({ host }) => host);
  const parts = [`${count('done')} of ${roll.hosts.length} hosts are done`];
  if (failed.length > 0) parts.push(`failed: ${listed(failed)}`);
  if (count('skipped') > 0) parts.push(`${count('skipped')} were not begun`);
  return { do: 'end', state: roll.state === 'aborting' ? 'aborted' : 'completed', message: `${parts.join('; ')}.` };
}

function decideAborting(situation: RollSituation): RollDecision {
  return drainsTo(situation, 'cancelling') ?? { do: 'wait' };
}

/** The first drain of the roll that is not in the state yet; null: all are. */
function drainsTo({ roll, drain }: RollSituation, state: 'running' | 'paused' | 'cancelling'): RollDecision | null {
  for (const id of new Set(roll.hosts.flatMap((host) => (host.state === 'draining' ? (host.drain ?? []) : [])))) {
    const record = drain(id);
    if (record === null || record.state === state || isDrainOver(record) || record.state === 'cancelling') continue;
    // A drain that paused itself waits for a person: the person resumed the roll, not the drain.
    if (state === 'running' && record.stuck !== HELD_DRAIN) continue;
    return { do: 'drain', drain: record, state };
  }
  return null;
}

function holdFor({ roll }: RollSituation, why: string | null): RollDecision {
  return roll.held === why ? { do: 'wait' } : { do: 'note', roll: { ...roll, held: why } };
}

/** The next hosts of the wave that is due, if they may begin. `until`: when the window closes. */
function begin(situation: RollSituation, until: number | null): RollDecision {
  const { roll, plan, now } = situation;
  const wave = Math.min(...roll.hosts.filter((host) => !isHostOver(host)).map((host) => host.wave));
  const hosts = roll.hosts.filter((host) => host.wave === wave && !isHostOver(host));
  if (hosts.some(({ state }) => state === 'pre')) return holdFor(situation, null);
  const ready = hosts.filter(({ state }) => state === 'ready');
  const next = ready.length > 0 ? ready : hosts.filter(({ state }) => state === 'waiting');
  if (next.length === 0) return holdFor(situation, null);
  const movesMs = plan.waves[wave]?.durationMs ?? 0;
  const why = obstacleOf(situation, next) ?? closing(roll, { wave, movesMs, until, now });
  if (why !== null) return holdFor(situation, why);
  const batch = allowed(situation, next);
  if (batch.length === 0) return holdFor(situation, awayWords(situation));
  const names = batch.map(({ host }) => host);
  const quiet = situation.heldBack(names);
  if (quiet !== null) return holdFor(situation, quiet);
  if (ready.length > 0 || roll.commands.pre === null) return { do: 'begin', wave, hosts: names };
  return {
    do: 'note',
    roll: {
      ...withHosts(
        roll,
        batch.map((host) => become(host, 'pre', now)),
      ),
      held: null,
    },
  };
}

/** Why a wave must not begin now: the opening is over before it is; null: there is time. `until`: null for never. */
export function closing(
  roll: RollRecord,
  { wave, movesMs, until, now }: { wave: number; movesMs: number; until: number | null; now: number },
): string | null {
  const neededMs = waveMs(roll, movesMs);
  if (until === null || now + neededMs <= until) return null;
  const minutes = Math.ceil(neededMs / 60_000);
  const closes = new Date(until).toISOString().replace(/:\d\d\.\d{3}Z$/, 'Z');
  return `Wave ${wave + 1} takes about ${minutes} min, and nothing begins from ${closes} on: it waits.`;
}

/** The reason why no host may begin now: one is unexpectedly down, or one of these is in maintenance already. */
function obstacleOf(situation: RollSituation, next: readonly RollHost[]): string | null {
  const down = downHosts(situation);
  if (down.length > 0) return `Down, and not in maintenance: ${listed(down)}. Nothing begins until that is over.`;
  const taken = next.find(({ host }) => (situation.host(host)?.maintenance ?? null) !== null);
  if (taken === undefined) return null;
  const drain = situation.host(taken.host)?.maintenance?.drain ?? '';
  return `${taken.host} is in maintenance already (${drain}). Take it back, or abort the roll.`;
}

/** Hosts that are down, or not to be used, without anybody having taken them down. */
export function downHosts({ hosts, agent }: Pick<RollSituation, 'hosts' | 'agent'>): HostName[] {
  return [...hosts]
    .filter(({ maintenance = null }) => maintenance === null)
    .filter(({ name, quarantine }) => quarantine !== null || agent(name) !== 'alive')
    .map(({ name }) => name)
    .sort();
}

/** Hosts of the roll that are away now, for any reason. */
function awayHosts({ roll, host }: RollSituation): HostRecord[] {
  return roll.hosts.flatMap(({ host: name }) => {
    const record = host(name);
    return record !== null && (record.maintenance ?? null) !== null ? [record] : [];
  });
}

/** The first of the hosts, as many as may be away besides those that are away already. */
function allowed(situation: RollSituation, next: readonly RollHost[]): RollHost[] {
  const { roll, host } = situation;
  const away = awayHosts(situation);
  const rackOf = (record: HostRecord | null): string => record?.rack ?? `host ${record?.name}`;
  const inRack = new Map<string, number>();
  for (const record of away) inRack.set(rackOf(record), (inRack.get(rackOf(record)) ?? 0) + 1);
  const batch: RollHost[] = [];
  for (const each of next) {
    if (away.length + batch.length >= roll.maxUnavailable) break;
    const rack = rackOf(host(each.host));
    if (roll.perRack !== null && (inRack.get(rack) ?? 0) >= roll.perRack) continue;
    inRack.set(rack, (inRack.get(rack) ?? 0) + 1);
    batch.push(each);
  }
  return batch;
}

function awayWords(situation: RollSituation): string {
  const names = awayHosts(situation).map(({ name }) => name);
  const busy = new Set(situation.roll.hosts.filter(holdsHost).map(({ host }) => host));
  const left = names.filter((name) => !busy.has(name));
  const words = `${listed(names)} ${names.length === 1 ? 'is' : 'are'} away, and no more hosts may be away at once.`;
  return left.length === 0 ? words : `${words} Take back ${listed(left)} (gp host undrain), or abort the roll.`;
}
