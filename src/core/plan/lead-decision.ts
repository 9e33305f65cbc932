/**
 * Whether a leader gives the lead away because another control node reaches more: pure functions of what both reached.
 *
 * Guarantees: both sides are measured alike (one TCP attempt per machine and round), and the lead goes only to a strictly better sight, so that
 * two nodes whose sights do not change never hand the lead to and fro; a sight must have been better in SEES_MORE_ROUNDS rounds in a row; sights
 * that change, whoever changes them, move the lead a bounded number of times (`keptMs`).
 */
import type { ReachTarget } from '../ports/reach.ts';

/** Rounds in a row in which the same control node must see more than the leader. */
const SEES_MORE_ROUNDS = 3;
/** Machines of one kind and state that one round tries at most; of more, each round takes the next ones. */
const GROUP_MAX = 50;
/** Names that a sentence holds. */
const NAMES_MAX = 5;
/** Below this a difference is one of rounding. */
const EPSILON = 1e-9;

/** The machines of a cluster, as the leader's own questions to their agents and storage services end. */
export interface Machines {
  readonly silent: readonly ReachTarget[];
  readonly answering: readonly ReachTarget[];
}

/** What one round tries. `weight`: the share of the machines of its kind that each stands for. */
export interface Sample {
  readonly silent: readonly ReachTarget[];
  readonly answering: readonly ReachTarget[];
  readonly weight: ReadonlyMap<ReachTarget, number>;
}

/**
 * The machines of round number `round`. All hosts together weigh as much as all storage nodes together: without either of them nothing can be
 * started.
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

/** Whether `theirs` is a better sight of the sample than `own`. What answers the leader's own questions belongs to `own`. */
export function seesMore({ weight }: Sample, own: ReadonlySet<ReachTarget>, theirs: ReadonlySet<ReachTarget>): boolean {
  let gain = 0;
  for (const [target, share] of weight) {
    if (theirs.has(target) && !own.has(target)) gain += share;
    if (own.has(target) && !theirs.has(target)) gain -= share;
  }
  return gain > EPSILON;
}

/** For how many rounds in a row each control node has seen more than the leader. */
export type Streaks = ReadonlyMap<string, number>;

/** The streaks after a round in which exactly `better` saw more. */
export function streaksAfter(before: Streaks, better: readonly string[]): Streaks {
  return new Map(better.map((name) => [name, (before.get(name) ?? 0) + 1]));
}

/** The control node that has seen more for long enough; null where there is none. */
export function successorOf(streaks: Streaks): string | null {
  for (const [name, rounds] of streaks) if (rounds >= SEES_MORE_ROUNDS) return name;
  return null;
}

/** A node that gave the lead away and leads again keeps it for so long, in ms: links that come and go cost few elections. */
const GIVE_AGAIN_MS = 15_000;
/**
 * One that gave it away so often within OFTEN_WINDOW_MS keeps it for KEPT_LONG_MS: a machine that answers everybody but the leader must not move
 * the lead about without end, since what a phase may last begins anew with each leader.
 */
export const GIVEN_OFTEN = 4;
const OFTEN_WINDOW_MS = 600_000;
const KEPT_LONG_MS = 240_000;

/** For how long from now a node that begins to lead keeps the lead in any case, in ms. `given`: when it gave it away, oldest first, same clock. */
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
