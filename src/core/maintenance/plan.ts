/**
 * A plan for maintenance as data: fit for JSON, for a hash, and for a person who must approve it. Moves name each other
 * by number, hosts and VMs by name. docs/specs/maintenance-plan.md says what a plan guarantees.
 */
import type { HostName, VmId } from '../../base/ids.ts';

export interface PlannedMove {
  /** From 0, in an order in which the moves can be carried out. Numbers continue from wave to wave. */
  readonly id: number;
  readonly vm: VmId;
  readonly name: string;
  readonly from: HostName;
  readonly to: HostName;
  /** Moves of the same wave that must have ended before this one begins. */
  readonly after: readonly number[];
  /**
   * `evacuate`: off a host of the wave; `make-room`: off a destination; `by-way`: to a host where it does not stay;
   * `return`: back to a host that is in service again.
   */
  readonly why: 'evacuate' | 'make-room' | 'by-way' | 'return';
  readonly memoryMib: number;
  /** Foretold, from the beginning of the wave. */
  readonly startsAtMs: number;
  readonly durationMs: number;
  readonly pauseMs: number;
  /** False where the guest writes faster than the link copies: named before the first move. */
  readonly converges: boolean;
}

/** The state from one moment of a wave, as predicted, until a later step changes it. */
export interface PlanStep {
  readonly atMs: number;
  readonly begins: readonly number[];
  readonly ends: readonly number[];
  /**
   * Memory that VMs hold on the hosts of those moves from this moment on, claims left out: the peak until their next
   * step.
   */
  readonly memory: readonly { readonly host: HostName; readonly heldMib: number }[];
}

/** Where every VM of a lost host restarts. */
export interface LossWitness {
  readonly host: HostName;
  readonly restarts: readonly { readonly vm: VmId; readonly to: HostName }[];
  /** VMs of the host that are tied to it: they are lost with it, and were signed for. */
  readonly tied: readonly VmId[];
}

export interface PlannedWave {
  /** Emptied by this wave, in maintenance after it. */
  readonly hosts: readonly HostName[];
  readonly moves: readonly PlannedMove[];
  readonly steps: readonly PlanStep[];
  readonly durationMs: number;
  /** Proves the room that is kept while the hosts are away; null if the policy keeps none. */
  readonly room: LossWitness | null;
}

export interface MaintenancePlan {
  readonly kind: 'plan';
  /**
   * Hosts come back into service after their wave, with this release; null: they stay in maintenance, or come back as
   * they were.
   */
  readonly releaseAfter: number | null;
  /** `away`: hosts stay in maintenance after their wave; `back`: they are in service again before the next wave. */
  readonly after: 'away' | 'back';
  readonly waves: readonly PlannedWave[];
  readonly movedMib: number;
}

export interface Refusal {
  readonly kind: 'refused';
  /** The VMs for which no place was found. */
  readonly vms: readonly VmId[];
  /** The constraint that no plan met when every VM had a place: room for a loss, or an order of the moves. */
  readonly obstacle: 'no-place' | 'no-room-for-loss' | 'no-order';
  /** True where it is proven that there is no plan; false if the search ended without one. */
  readonly proven: boolean;
  /** The waves that were planned before. */
  readonly wavesDone: number;
}
