/**
 * A leader's observations. They are never stored: a new leader starts with `unknown` everywhere and looks. Ages are in
 * ms of the observer's monotonic clock, already subtracted, so that nothing here depends on a clock's value.
 */
import type { Generation, HostName, StorageName } from '../../base/ids.ts';
import type { Incarnation } from './vm.ts';

/** One host as its leader sees it. */
export interface HostObservation {
  readonly host: HostName;
  /** Its agent: `silent` if no report came within the deadline, `unknown` before the first attempt ended. */
  readonly agent: 'alive' | 'silent' | 'unknown';
  /** Age of the last report, or null if there was none. */
  readonly agentAgeMs: number | null;
  readonly agentError: string | null;
  /**
   * Its kernel: one TCP attempt on each path. `silent` only after the configured number of rounds in which every path
   * was silent.
   */
  readonly kernel: KernelObservation;
  /** Slots its processes occupy, stale ones included. */
  readonly occupiedSlots: readonly number[];
  /**
   * Why it counts as lost whatever is seen, as a sentence: somebody declared that, or it is no member of the cluster.
   * Absent: it does not.
   */
  readonly gone?: string;
}

export type KernelObservation =
  | { readonly kind: 'unknown' }
  /** Some path reached a kernel that answered (accepted or refused). */
  | { readonly kind: 'reachable'; readonly via: string; readonly ageMs: number }
  /** Every path that could try met silence, `rounds` times in a row. `nodes`: the storage nodes among those paths. */
  | {
      readonly kind: 'silent';
      readonly rounds: number;
      readonly paths: readonly string[];
      readonly nodes: readonly StorageName[];
    };

/** A QMP run state (QEMU QAPI RunState), or `unknown-…` for one this version does not know. */
export type RunState = string;

export type QmpObservation =
  | { readonly kind: 'unknown' }
  | {
      readonly kind: 'answers';
      readonly status: RunState;
      readonly via: string;
      readonly ageMs: number;
      readonly migration: MigrationState | null;
      /**
       * The generation to which it was last told to send its memory (QMP query-migrate-parameters); null if it was told
       * of none, or if it was not asked. Asked wherever the status is `postmigrate`: that alone does not say which
       * stream was complete.
       */
      readonly sentTo: Generation | null;
    }
  /** The host's kernel says that no process listens: the QEMU is gone. */
  | { readonly kind: 'refused'; readonly via: string; readonly ageMs: number }
  /** The kernel accepts, QEMU does not speak. */
  | { readonly kind: 'mute'; readonly via: string; readonly ageMs: number }
  | { readonly kind: 'silent'; readonly paths: readonly string[]; readonly ageMs: number };

/** QMP query-migrate at the source. */
export interface MigrationState {
  readonly status: 'none' | 'active' | 'completed' | 'failed' | 'cancelled';
  /** The number of the present pass over the guest's memory, from 1; 0 before the first. */
  readonly passes: number;
  /** The longest pause that it may end with, in ms. */
  readonly pauseLimitMs: number;
  readonly downtimeMs: number | null;
  readonly error: string | null;
}

/**
 * A QEMU's events about its live migration (QMP events STOP and MIGRATION). `ending`: its guest is paused, so that the
 * rest can be sent. `left`: it has sent everything to the generation that this leader named, and will not continue by
 * itself any more. `arrived`: it has loaded everything.
 */
export type MigrationTold =
  | { readonly kind: 'ending' }
  /** `pausedMs`: how long the guest has been paused by then; null if that was not seen. */
  | { readonly kind: 'left'; readonly sentTo: Generation; readonly pausedMs: number | null }
  | { readonly kind: 'arrived' };

/** One incarnation as the leader sees it. */
export interface IncarnationObservation {
  readonly incarnation: Incarnation;
  /** From the host's latest report, if that report is younger than the incarnation's launch; `unknown` otherwise. */
  readonly process: 'present' | 'absent' | 'unknown';
  readonly qmp: QmpObservation;
  /** The event since it was last asked; null: none. */
  readonly told: MigrationTold | null;
  readonly host: HostObservation;
}

/** A storage node's side of a VM. */
export interface StorageObservation {
  readonly node: StorageName;
  readonly state: 'answers' | 'silent' | 'unknown';
  readonly ageMs: number | null;
  /** The number of connections that the generation has, and ms since the last packet on any of them. */
  readonly connections: number;
  readonly idleMs: number | null;
  /** Whether this node's own attempt to reach the VM's host reached a kernel. */
  readonly reachesHost: boolean | null;
}
