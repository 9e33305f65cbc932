/**
 * Decides whether a leader gives the lead away because another control node reaches more machines. Pure functions of
 * both nodes' results.
 * Guarantees: both sides are measured in the same way (one TCP attempt per machine and round), and the lead goes only
 * to a node that reaches strictly more, so that two nodes with constant reach never hand the lead back and forth; the
 * other node must have reached more in SEES_MORE_ROUNDS rounds in a row; changing reach, whatever its cause, moves the
 * lead a bounded number of times (`keptMs`).
 */
import type { ReachTarget } from '../../ports/reach.ts';

/** How many rounds in a row the same control node must reach more machines than the leader. */
const SEES_MORE_ROUNDS = 3;
/** The most machines of one kind and state in one round; if there are more, successive rounds take turns. */
const GROUP_MAX = 50;
/** The most names in a sentence. */
const NAMES_MAX = 5;
/** Smaller differences are rounding errors. */
const EPSILON = 1e-9;

/** The cluster's machines, by the outcome of the leader's own requests to their agents and storage services. */
export interface Machines {
  readonly silent: readonly ReachTarget[];
  readonly answering: readonly ReachTarget[];
}

/** The machines that one round tries. `weight`: the share of the machines of its kind that each one stands for. */
export interface Sample {
  readonly silent: readonly ReachTarget[];
  readonly answering: readonly ReachTarget[];
  readonly weight: ReadonlyMap<ReachTarget, number>;
}

/**
 * Chooses the machines of round number `round`. All hosts together weigh as much as all storage nodes together: nothing
 * can be started without either.
 */
export function sampleOf(machines: Machines, round: number): Sample {
  const weight = new Map<ReachTarget, number>();
  const pick = (group: readonly ReachTarget[], kind: ReachTarget['kind'], kindTotal: number): ReachTarget[] => {
    const all = group.filter((target) => target.kind === kind);
    const count = Math.min(GROUP_MAX, all.length);
    const first = all.length > GROUP_MAX ? (round * GROUP_MAX) % all.length : 0;
    const picked = [...all.slice(first), ...all.slice(0, first)].slice(0, count);
    for (const target of picked) weight.set(target, all.length / count / kindTotal);
    return picked;
  };
  const all = [...machines.silent, ...machines.answering];
  const totals = (kind: ReachTarget['kind']): number => all.filter((target) => target.kind === kind).length;
  const both = (group: readonly ReachTarget[]): ReachTarget[] => [
    ...pick(group, 'storage', totals('storage')),
    ...pick(group, 'host', totals('host')),
  ];
  return { silent: both(machines.silent), answering: both(machines.answering), weight };
}

/**
 * Returns true if `theirs` reaches more of the sample than `own`. A machine that answers the leader's own requests
 * counts as reached in `own`.
 */
export function seesMore({ weight }: Sample, own: ReadonlySet<ReachTarget>, theirs: ReadonlySet<ReachTarget>): boolean {
  let gain = 0;
  for (const [target, share] of weight) {
    if (theirs.has(target) && !own.has(target)) gain += share;
    if (own.has(target) && !theirs.has(target)) gain -= share;
  }
  return gain > EPSILON;
}

/** For each control node, the number of rounds in a row in which it reached more than the leader. */
export type Streaks = ReadonlyMap<string, number>;

/** Returns the streaks after a round in which exactly the nodes in `better` reached more. */
export function streaksAfter(before: Streaks, better: readonly string[]): Streaks {
  return new Map(better.map((name) => [name, (before.get(name) ?? 0) + 1]));
}

/** Returns the control node that has reached more for long enough; null if there is none. */
export function successorOf(streaks: Streaks): string | null {
  for (const [name, rounds] of streaks) if (rounds >= SEES_MORE_ROUNDS) return name;
  return null;
}

/**
 * How long a node that gave the lead away and leads again keeps the lead, in ms: unstable links cause few elections.
 */
const GIVE_AGAIN_MS = 15_000;
/**
 * A node that gave the lead away this often within OFTEN_WINDOW_MS keeps it for KEPT_LONG_MS: a machine that answers
 * every node but the leader must not move the lead without end, since each leader restarts the deadline of a phase.
 */
export const GIVEN_OFTEN = 4;
const OFTEN_WINDOW_MS = 600_000;
export const KEPT_LONG_MS = 240_000;

/**
 * Returns how long from now a node that begins to lead keeps the lead in any case, in ms. `given`: when the node gave
 * the lead away, oldest first, on the clock of `now`.
 */
export function keptMs(given: readonly number[], now: number): number {
  const last = given.at(-1);
  if (last === undefined) return 0;
  const isOften = (given.at(-GIVEN_OFTEN) ?? Number.NEGATIVE_INFINITY) > last - OFTEN_WINDOW_MS;
  return Math.max(0, last + (isOften ? KEPT_LONG_MS : GIVE_AGAIN_MS) - now);
}

/** Why the lead is given away, for people. */
export function whyGivenAway(
  self: string,
  successor: string,
  own: ReadonlySet<ReachTarget>,
  theirs: ReadonlySet<ReachTarget>,
): string {
  const names = [...theirs].filter((target) => !own.has(target)).map(({ name }) => name);
  const shown = names.slice(0, NAMES_MAX).join(', ');
  const more = names.length > NAMES_MAX ? ` and ${names.length - NAMES_MAX} more` : '';
  return `${self} gives the lead away: ${successor} reaches ${shown}${more}, which ${self} does not reach itself.`;
}
