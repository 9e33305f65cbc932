/**
 * A drain: hosts that are emptied for maintenance, the moves that empty them, and what became of each. The record is
 * the whole memory of a drain: a new leader continues from it alone, and it is the evidence afterwards.
 *     running ◄──► paused
 *        │  │         │
 *        │  └─────────┴──► cancelling ──► cancelled
 *        ▼
 *     drained, or returned
 */
import type { DrainId, GuestClusterName, HostName, RollId, TaskId, VmId } from '../../base/ids.ts';
import type { Remedy } from '../maintenance/fast-writers.ts';
import type { PlannedMove } from '../maintenance/plan.ts';
import type { SeenHealthy } from './vm.ts';

/**
 * `drained`: the hosts are empty. `returned`: VMs were brought back (`home`). `cancelled`: somebody ended the drain;
 * what had moved stays where it is.
 */
export type DrainState = 'running' | 'paused' | 'cancelling' | 'drained' | 'returned' | 'cancelled';

/** `gone`: the VM left the host without this move (stopped, deleted, moved by others, restarted elsewhere). */
export type DrainMoveState = 'waiting' | 'moving' | 'moved' | 'gone';

/** A move of the plan, and its outcome. Moves of later plans of the same drain are numbered on. */
export interface DrainMove extends Omit<PlannedMove, 'startsAtMs' | 'converges'> {
  readonly state: DrainMoveState;
  /** The migration's task, once the move has begun. */
  readonly taskId: TaskId | null;
  /** Unix ms. */
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /** How long the guest was paused; null: unknown. */
  readonly measuredPauseMs: number | null;
  /** How often the move began and was undone. */
  readonly failures: number;
  /** A remark that a reader must know; null: none. */
  readonly note: string | null;
  /** How fast its guest wrote to memory when the move was planned, in MiB a second. Absent or null: not measured. */
  readonly dirtyMibPerSecond?: number | null;
  /** The remedy for a guest that writes faster than it is copied. Absent or null: none is needed. */
  readonly remedy?: Remedy | null;
  /** The VM was stopped for this move, and was asked to start again: once. */
  readonly restarted?: true;
  /**
   * How its VM, a member of a guest cluster, was seen healthy after the move. Absent: the drain does not wait for its
   * health.
   */
  readonly health?: 'awaited' | SeenHealthy;
}

/** The reason why the next moves of a drain wait while none is under way. */
export interface DrainWait {
  /** A sentence for people. */
  readonly what: string;
  /** When the wait began, Unix ms. */
  readonly since: number;
  /**
   * It waits for a VM that is arriving, starting or stopping, for a limited time. Otherwise it waits for a guest
   * cluster.
   */
  readonly forVm: boolean;
}

/** Quiet hours of guest clusters hold a drain back unless somebody signs for it. */
export interface QuietOverride {
  readonly owner: string;
  readonly reason: string;
}

/** A guest cluster whose members a drain moved, and how it fared. */
export interface TouchedGuestCluster {
  readonly name: GuestClusterName;
  /** Names of the members that were moved. */
  readonly members: readonly string[];
  /** Members that might be disturbed at once, and that were moving at once at most. */
  readonly maxDisturbed: number;
  readonly movedAtOnce: number;
  /** The longest pause that its heartbeat tolerates, and the longest that a member had; null: none was measured. */
  readonly toleratesMs: number;
  readonly longestPauseMs: number | null;
  /** Names of members that were restarted instead of moved. */
  readonly restarted: readonly string[];
}

export interface DrainRecord {
  readonly id: DrainId;
  readonly hosts: readonly HostName[];
  /** No host is emptied: VMs are brought back to this host. Absent: this is a drain. */
  readonly home?: HostName;
  /** The deadline, Unix ms: no move begins that would end later. Absent or null: there is none. */
  readonly by?: number | null;
  readonly state: DrainState;
  /** Name of the token that asked for it. */
  readonly who: string;
  readonly reason: string | null;
  /** The roll that it is a wave of, or null. */
  readonly roll?: RollId | null;
  /** The change that it belongs to, as the organisation numbers changes. */
  readonly change: string | null;
  /** The person who answers for moves in quiet hours of guest clusters, and why. Absent: none are made. */
  readonly quietOverride?: QuietOverride;
  /** Moves at once from and to one host. */
  readonly parallel: number;
  /** The task that ends with the drain. */
  readonly taskId: TaskId;
  readonly moves: readonly DrainMove[];
  /** Why the rest of the plan cannot go on now; null: it can, or nothing is left. */
  readonly stuck: string | null;
  /** The reason why its next moves wait; absent or null: moves are under way, or nothing is waited for. */
  readonly waits?: DrainWait | null;
  /** The differences from the prediction, oldest first. */
  readonly deviations: readonly { readonly at: number; readonly what: string }[];
  /** Written at its end: what it did to guest clusters. */
  readonly guestClusters?: readonly TouchedGuestCluster[];
  /** Unix ms. */
  readonly createdAt: number;
  readonly endedAt: number | null;
}

/** Memory that a drain was promised on a host, for one VM that has not arrived there. */
export interface Claim {
  readonly host: HostName;
  readonly vm: VmId;
  readonly bytes: number;
}

/** Moves at once from and to one host, unless somebody asks for another number. */
export const PARALLEL_MOVES = 2;

const MIB = 1024 ** 2;

/** Whether a drain is over: it takes no further step. */
export function isDrainOver({ state }: Pick<DrainRecord, 'state'>): boolean {
  return state === 'drained' || state === 'returned' || state === 'cancelled';
}

/** Whether no move that waits would have ended by the drain's deadline. */
export function isTooLate({ by = null, moves }: Pick<DrainRecord, 'by' | 'moves'>, now: number): boolean {
  if (by === null) return false;
  return moves.every(({ state, durationMs }) => state !== 'waiting' || now + durationMs > by);
}

/** Moves that are still to begin, or to end. */
export function openMoves({ moves }: Pick<DrainRecord, 'moves'>): readonly DrainMove[] {
  return moves.filter(({ state }) => state === 'waiting' || state === 'moving');
}

/**
 * The room that the open moves need on their destinations. A VM that has arrived, or is arriving, is counted by its own
 * record: a sum of claims must leave out VMs that are on the host.
 */
export function claimsOf(drain: DrainRecord): readonly Claim[] {
  if (isDrainOver(drain)) return [];
  const open = drain.state === 'cancelling' ? drain.moves.filter(({ state }) => state === 'moving') : openMoves(drain);
  return open.map(({ to, vm, memoryMib }) => ({ host: to, vm, bytes: memoryMib * MIB }));
}
