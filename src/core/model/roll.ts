/**
 * A roll: maintenance of many hosts, one wave after the other, as a plan was approved. Two records: what was approved
 * (RollPlanRecord, written once) and how far it is (RollRecord). Together with the drains of its waves they are the
 * whole memory of a roll: a new leader continues from them alone, and they are the evidence afterwards.
 *     running ◄──► paused               a host:  waiting ─► pre ─► ready ─► draining ─► run ─► back ─► verify ─► done
 *        │  │         │                                      │               │           │       │        │
 *        │  └─────────┴──► aborting ──► aborted              └───────────────┴───────────┴───────┴────────┴──► failed
 *        ▼
 *     completed
 * `pre`, `run` and `verify` are work that people's commands do, on the machine where `gp` runs: the record says which
 * work a host waits for, whoever does it says when it begins and how it ended. Steps without a command are skipped.
 */
import type { DrainId, HostName, RollId, TaskId } from '../../base/ids.ts';
import type { QuietOverride } from './drain.ts';

/** The limits that a roll is planned and carried out with. */
export interface RollLimits {
  /** Hosts of the roll that may be away at once. */
  readonly maxUnavailable: number;
  /** Hosts of one rack that may be away at once; null: as many as may be away. */
  readonly perRack: number | null;
  /** Moves at once from and to one host. */
  readonly parallel: number;
}

/** `completed`: every host is done or has failed. `aborted`: somebody ended it; hosts that were not begun stay as they are. */
export type RollState = 'running' | 'paused' | 'aborting' | 'completed' | 'aborted';

/** `skipped`: the roll ended before the host's turn. */
export type RollHostState =
  | 'waiting'
  | 'pre'
  | 'ready'
  | 'draining'
  | 'run'
  | 'back'
  | 'verify'
  | 'done'
  | 'failed'
  | 'skipped';

/** Work that a command does. */
export type RollStep = 'pre' | 'run' | 'verify';

/** Work that somebody does now. */
export interface RollWork {
  readonly step: RollStep;
  /** Names one run of `gp maintenance roll`. */
  readonly by: string;
  readonly startedAt: number;
  /** The end of the claim, Unix ms: its holder renews it before then; afterwards another caller may take the work over. */
  readonly until: number;
}

/** Work that ended. */
export interface RollWorkDone {
  readonly step: RollStep;
  readonly by: string;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly succeeded: boolean;
  /** The outcome of the command, and the last part of its output. */
  readonly message: string;
}

export interface RollHost {
  readonly host: HostName;
  /** From 0. */
  readonly wave: number;
  readonly state: RollHostState;
  /** When it entered this state, Unix ms. */
  readonly since: number;
  /** The drain that empties it, once that has begun. */
  readonly drain: DrainId | null;
  readonly work: RollWork | null;
  readonly done: readonly RollWorkDone[];
  /** The stage at which it failed; null: it did not fail. */
  readonly failedAt: RollHostState | null;
  readonly note: string | null;
}

/** The command for each kind of work; `{host}` stands for the host's name. Null: none. */
export interface RollCommands {
  readonly pre: string | null;
  readonly run: string | null;
  readonly verify: string | null;
  /** A command is ended after this time, in ms. */
  readonly preMs: number;
  readonly runMs: number;
  /** `verify` is tried again until then. */
  readonly verifyMs: number;
}

/** A time in which nothing begins. */
export interface RollFreeze {
  /** Unix ms. */
  readonly from: number;
  readonly until: number;
  readonly reason: string;
}

export interface RollRecord extends RollLimits {
  readonly id: RollId;
  /** SHA-256 of the approved plan's text. */
  readonly hash: string;
  readonly state: RollState;
  /** Why nothing begins now; null: it may, or nothing is left. */
  readonly held: string | null;
  readonly who: string;
  readonly reason: string | null;
  readonly change: string | null;
  /** The person who answers for moves in quiet hours of guest clusters, and why. Absent: none are made. */
  readonly quietOverride?: QuietOverride;
  /** The windows in which something may begin, as people write them; empty: at any time. */
  readonly windows: readonly string[];
  readonly freezes: readonly RollFreeze[];
  readonly onFailure: 'stop' | 'continue';
  readonly commands: RollCommands;
  /** The expected duration of the work on one host, with its way back, in ms. */
  readonly workMs: number;
  /** How long after its work a host's agent may take to answer, in ms. */
  readonly backMs: number;
  readonly hosts: readonly RollHost[];
  readonly taskId: TaskId;
  /** The differences from the approved plan, oldest first. */
  readonly deviations: readonly { readonly at: number; readonly what: string }[];
  readonly createdAt: number;
  readonly endedAt: number | null;
}

export interface RollPlanRecord {
  readonly id: RollId;
  /** The text that `approvedText` writes. */
  readonly text: string;
}

/** Deviations that a record keeps: the newest. */
const DEVIATIONS_MAX = 200;
/** Work that a host's record keeps: the newest. */
const DONE_MAX = 8;

/** Whether a roll is over: it takes no further step. */
export function isRollOver({ state }: Pick<RollRecord, 'state'>): boolean {
  return state === 'completed' || state === 'aborted';
}

/** Whether a host has no stage left. */
export function isHostOver({ state }: Pick<RollHost, 'state'>): boolean {
  return state === 'done' || state === 'failed' || state === 'skipped';
}

/** Whether a roll has a host out of service now, and will take it back. */
export function holdsHost({ state }: Pick<RollHost, 'state'>): boolean {
  return state === 'draining' || state === 'run' || state === 'back' || state === 'verify';
}

/** A roll with one more deviation. */
export function withRollDeviation(roll: RollRecord, at: number, what: string): RollRecord {
  if (roll.deviations.at(-1)?.what === what) return roll;
  return { ...roll, deviations: [...roll.deviations, { at, what }].slice(-DEVIATIONS_MAX) };
}

/** A host with one more work that ended. */
export function withWorkDone(host: RollHost, done: RollWorkDone): RollHost {
  return { ...host, work: null, done: [...host.done, done].slice(-DONE_MAX) };
}

/** The roll with some hosts replaced. */
export function withHosts(roll: RollRecord, changed: readonly RollHost[]): RollRecord {
  const byName = new Map(changed.map((host) => [host.host, host]));
  return { ...roll, hosts: roll.hosts.map((host) => byName.get(host.host) ?? host) };
}
