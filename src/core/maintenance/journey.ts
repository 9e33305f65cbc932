/** VMs on their way from host to host, before (Journey) and after (Schedule) they have an order. */
import type { PlannedMove, PlanStep } from './plan.ts';

/** The second half of a journey: the host to which a VM continues. */
interface Leg {
  readonly to: number;
  readonly why: PlannedMove['why'];
}

/** A VM's way to its new host. */
export interface Journey {
  readonly vm: number;
  readonly from: number;
  readonly to: number;
  readonly why: PlannedMove['why'];
  /** The destination of a VM that goes by way of a third host. */
  readonly onward?: Leg;
}

export interface Schedule {
  readonly moves: readonly PlannedMove[];
  readonly steps: readonly PlanStep[];
  readonly durationMs: number;
}
