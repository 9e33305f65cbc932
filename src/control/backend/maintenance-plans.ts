/**
 * Plans for maintenance of many hosts through the API. Guarantees: one is made at a time, in turns between which this
 * node does everything else; it ends early when its caller is gone.
 */
import { createHash } from 'node:crypto';
import { type ApprovedParts, approvedTextOf } from '../../api/approved.ts';
import type { MaintenancePlan } from '../../api/maintenance-views.ts';
import type { PlanMaintenance } from '../../api/requests.ts';
import { CodedError } from '../../base/errors.ts';
import type { VmId } from '../../base/ids.ts';
import { inTurns } from '../../core/maintenance/in-turns.ts';
import { type PlannedMaintenance, planMaintenance } from '../../core/request/maintenance-plans.ts';
import { basisOf } from './changes.ts';
import { type BackendContext, observedByLeader } from './context.ts';
import { moveView } from './drains.ts';
import { explainingDrain } from './explanations.ts';

const MIB = 1024 ** 2;

/** See the module's comment. */
export class MaintenancePlans {
  readonly #context: BackendContext;
  #isBusy = false;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** Plans and changes nothing. The errors of `planMaintenance`; 'unavailable' while another plan is made. */
  async plan(asked: PlanMaintenance, signal: AbortSignal): Promise<MaintenancePlan> {
    if (this.#isBusy)
      throw new CodedError('unavailable', 'Another plan for many hosts is being made.', {
        advice: 'Nothing was changed. Try again in some seconds.',
      });
    this.#isBusy = true;
    try {
      const { parallel } = asked;
      return await explainingDrain(this.#context, { parallel, signal }, () => this.#planned(asked, signal));
    } finally {
      this.#isBusy = false;
    }
  }

  async #planned(asked: PlanMaintenance, signal: AbortSignal): Promise<MaintenancePlan> {
    const { clock } = this.#context;
    const planning = planMaintenance(basisOf(this.#context), observedByLeader(this.#context), asked);
    const planned = await inTurns(planning, clock, () => signal.aborted);
    signal.throwIfAborted();
    if (planned === null) throw new CodedError('unavailable', 'The plan was given up.');
    const guestClusterOf = (vm: VmId): string | null =>
      this.#context.store.vms.get(vm)?.value.spec.guestCluster ?? null;
    return planView(planned, { now: clock.wallMs(), guestClusterOf });
  }
}

/** SHA-256 of what is approved with a plan. */
export function planHash(approvedText: string): string {
  return createHash('sha256').update(approvedText).digest('hex');
}

function planView(
  { plan, maxUnavailable, perRack, parallel }: PlannedMaintenance,
  { now, guestClusterOf }: { readonly now: number; readonly guestClusterOf: (vm: VmId) => string | null },
): MaintenancePlan {
  const parts: ApprovedParts = {
    maxUnavailable,
    perRack,
    parallel,
    waves: plan.waves.map(({ hosts, durationMs, moves }) => ({
      hosts: [...hosts],
      durationMs,
      moves: moves.map((move) => ({
        ...moveView(move),
        vmId: move.vm,
        guestCluster: guestClusterOf(move.vm),
        startsAtMs: move.startsAtMs,
        converges: move.converges,
      })),
    })),
  };
  return {
    hash: planHash(approvedTextOf(parts)),
    madeAt: new Date(now).toISOString(),
    ...parts,
    durationMs: parts.waves.reduce((sum, { durationMs }) => sum + durationMs, 0),
    movedBytes: plan.movedMib * MIB,
  };
}
