/** The part of a maintenance plan that people approve, as the text from which the plan's hash is made. */
import { type ApprovedPlan, approvedText, approvedWave } from '../core/maintenance/approved-text.ts';
import type { MaintenancePlan } from './maintenance-views.ts';

/** The part of a plan that its hash is made of. CodedError 'bad-input' for a text that is no valid name. */
function approvedOf({ maxUnavailable, perRack, parallel, waves }: ApprovedParts): ApprovedPlan {
  return {
    maxUnavailable,
    perRack,
    parallel,
    waves: waves.map(({ hosts, durationMs, moves }) =>
      approvedWave({
        hosts,
        durationMs,
        moves: moves.map(({ vmId, from, to, foretoldPauseMs }) => ({ vm: vmId, from, to, pauseMs: foretoldPauseMs })),
      }),
    ),
  };
}

/** A plan without the fields that can be computed from the others. */
export type ApprovedParts = Pick<MaintenancePlan, 'maxUnavailable' | 'perRack' | 'parallel' | 'waves'>;

/** The text whose SHA-256 is the plan's hash. */
export function approvedTextOf(plan: ApprovedParts): string {
  return approvedText(approvedOf(plan));
}
