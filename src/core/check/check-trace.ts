/** All checkers together, over a trace as it grows. */
import type { Term } from '../../base/ids.ts';
import { claimsAreKept, drainsKeepTheirPlan, nothingComesIntoMaintenance } from './drain-checkers.ts';
import {
  contOnlyCurrentAndFenced,
  generationsGrow,
  grantsAreAdmitted,
  nothingElseGranted,
  oneCurrentIncarnation,
  removedHostsAreFenced,
} from './generation-checkers.ts';
import { fewMembersMove } from './guest-cluster-checkers.ts';
import { noticeBeforeMove, readyBeforeSettled } from './notice-checkers.ts';
import {
  nothingIsForgotten,
  onlyLeadersDecide,
  stopsLast,
  switchOnlyWhenBothPaused,
  tasksEndOnce,
  whatRunsIsNotReplaced,
  wishesAreKept,
} from './record-checkers.ts';
import { addressesOnce, namesOnce, portsOnce } from './request-checkers.ts';
import {
  fewHostsAreAway,
  hostsAreDoneWhenTheyAre,
  nothingBeginsOutsideWindows,
  nothingBeginsWhileAHostIsLost,
  oneRollHasAHost,
  rollsGoForward,
  wavesFollowEachOther,
} from './roll-checkers.ts';
import { STATE_RULES, stateChecker } from './state-rules.ts';
import type { Checker, TraceEntry, Violation } from './trace.ts';
import {
  acknowledgedWritesSurvive,
  lostOnlyWhenOutOfReach,
  lostOnlyWhenUnreached,
  lostTunnelsAreDropped,
  noOrderAbortsAQemu,
  oneWriter,
  writesFollowGenerations,
} from './world-checkers.ts';

/**
 * The rules that commits keep, by who writes them and the records before and after: a leader in production is judged by
 * them too.
 */
export const COMMIT_CHECKERS: Readonly<Record<string, () => Checker>> = {
  'GC2-few-members-move': fewMembersMove,
  'E1-only-leaders-decide': onlyLeadersDecide,
  'T1-tasks-end-once': tasksEndOnce,
  'T2-stops-last': stopsLast,
  'T3-wishes-kept': wishesAreKept,
  'T4-nothing-forgotten': nothingIsForgotten,
  'MN2-none-into-maintenance': nothingComesIntoMaintenance,
  'MN3-drains-keep-their-plan': drainsKeepTheirPlan,
  'MN4-claims-kept': claimsAreKept,
  'MR1-one-roll-has-a-host': oneRollHasAHost,
  'MR2-inside-windows': nothingBeginsOutsideWindows,
  'MR4-few-hosts-away': fewHostsAreAway,
  'MR5-no-other-host-lost': nothingBeginsWhileAHostIsLost,
  'MR6-done-when-done': hostsAreDoneWhenTheyAre,
  'MR10-each-host-once': rollsGoForward,
  'MR10-waves-in-order': wavesFollowEachOther,
};

/**
 * Each rule of docs/specs/generations.md, guest-clusters.md and maintenance.md that a trace can show to be broken, with what makes its
 * checker.
 */
export const CHECKERS: Readonly<Record<string, () => Checker>> = {
  'G1-generations-grow': generationsGrow,
  'G3-one-current': oneCurrentIncarnation,
  'G4-grants-admitted': grantsAreAdmitted,
  'G5-cont-current-and-fenced': contOnlyCurrentAndFenced,
  'G6-nothing-else-granted': nothingElseGranted,
  'G10-removed-hosts-are-fenced': removedHostsAreFenced,
  'GC10-notice-before-move': noticeBeforeMove,
  'GC14-ready-before-settled': readyBeforeSettled,
  'M1-switch-when-both-paused': switchOnlyWhenBothPaused,
  'M3-no-order-aborts-a-qemu': noOrderAbortsAQemu,
  ...COMMIT_CHECKERS,
  ...Object.fromEntries(STATE_RULES.map(({ rule }) => [rule, () => stateChecker(rule)])),
  'R1-names-once': namesOnce,
  'R2-ports-once': portsOnce,
  'R3-addresses-once': addressesOnce,
  'V1-lost-when-unreached': lostOnlyWhenUnreached,
  'V2-lost-when-out-of-reach': lostOnlyWhenOutOfReach,
  'V3-what-runs-stays': whatRunsIsNotReplaced,
  'P1-lost-tunnels-dropped': lostTunnelsAreDropped,
  'W1-writes-follow-generations': writesFollowGenerations,
  'W2-one-writer': oneWriter,
  'D1-acknowledged-writes-survive': acknowledgedWritesSurvive,
};

/**
 * Rules about things that outlive the records: their checkers handle a restore. All other checkers begin anew with the
 * records.
 */
const OUTLIVES_RECORDS: ReadonlySet<string> = new Set([
  'G1-generations-grow',
  'G3-one-current',
  'G4-grants-admitted',
  'G5-cont-current-and-fenced',
  'G6-nothing-else-granted',
  'G10-removed-hosts-are-fenced',
  'M3-no-order-aborts-a-qemu',
  'W1-writes-follow-generations',
  'W2-one-writer',
  'D1-acknowledged-writes-survive',
]);

/** A judge of one trace: give it every entry in order; it answers with what each breaks. */
export function traceJudge(): (entry: TraceEntry) => readonly Violation[] {
  const checkers = Object.entries(CHECKERS).map(([rule, make]) => ({ rule, check: make(), make }));
  return (entry) => {
    let broken: Violation[] | null = null;
    for (const checker of checkers) {
      const { rule, make } = checker;
      const isNew = entry.kind === 'restored' && !OUTLIVES_RECORDS.has(rule);
      if (isNew) checker.check = make();
      const what = checker.check(isNew ? { at: entry.at, kind: 'commit', by: NOBODY, changes: entry.changes } : entry);
      if (what !== null) broken = [...(broken ?? []), { rule, at: entry.at, what }];
    }
    return broken ?? NONE;
  };
}

/** The writer of records that a restore brought back. */
const NOBODY = 0 as Term;
const NONE: readonly Violation[] = [];
