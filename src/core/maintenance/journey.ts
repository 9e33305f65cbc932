/** VMs on their way from host to host, before (Journey) and after (Schedule) they have an order. */
import type { PlannedMove, PlanStep } from './plan.ts';

/** Where a VM goes on to. */
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
  /** Where a VM that goes by way of a third host goes on to. */
  readonly onward?: Leg;
}

export interface Schedule {
  readonly moves: readonly PlannedMove[];
  readonly steps: readonly PlanStep[];
  readonly durationMs: number;
}
