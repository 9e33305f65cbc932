/**
 * Makes a plan from a snapshot that empties hosts: one, a rack, or any others at once (roll.ts: one group after the
 * other). Pure and deterministic: no clock, no randomness, a budget counted in attempts. docs/specs/maintenance-plan.md
 * says what a plan guarantees; check/maintenance-plan.ts verifies it without this code.
 */
import type { HostName } from '../../base/ids.ts';
import { atOnce } from './in-turns.ts';
import { Layout } from './layout.ts';
import type { Model } from './model.ts';
import type { MaintenancePlan, PlannedWave, Refusal } from './plan.ts';
import type { Budget } from './search.ts';
import { planWave, type WaveOutcome } from './wave.ts';

/** Attempts at displacing VMs that one wave may take. */
export const WAVE_STEPS = 20_000;

/** Plans to empty the hosts at once; they stay in maintenance. A name that is no host is a fault of the caller. */
export function planEvacuation(
  model: Model,
  hosts: readonly HostName[],
  budget: Budget = { steps: WAVE_STEPS },
): MaintenancePlan | Refusal {
  return atOnce(planEvacuationInTurns(model, hosts, budget));
}

/** As `planEvacuation`, in pieces. Nothing may change the model before the end. */
export function* planEvacuationInTurns(
  model: Model,
  hosts: readonly HostName[],
  budget: Budget = { steps: WAVE_STEPS },
): Generator<void, MaintenancePlan | Refusal> {
  const layout = new Layout(model);
  const outcome = yield* planWave(layout, indexesOf(model, hosts), { firstId: 0, budget });
  if (outcome.kind === 'none') return refusalOf(model, outcome, 0);
  return planOf([outcome.wave], { after: 'away', releaseAfter: null });
}

/** The host numbers of names, each once. */
export function indexesOf(model: Model, names: readonly HostName[]): number[] {
  return [...new Set(names)].map((name) => {
    const host = model.host(name);
    if (host < 0) throw new Error(`No host ${name} is in the snapshot.`);
    return host;
  });
}

/** The plan that waves make. */
export function planOf(
  waves: readonly PlannedWave[],
  rest: Pick<MaintenancePlan, 'after' | 'releaseAfter'>,
): MaintenancePlan {
  const movedMib = waves.flatMap(({ moves }) => moves).reduce((sum, { memoryMib }) => sum + memoryMib, 0);
  return { kind: 'plan', ...rest, waves, movedMib };
}

/** The refusal of a wave that has no plan. */
export function refusalOf(model: Model, outcome: Extract<WaveOutcome, { kind: 'none' }>, wavesDone: number): Refusal {
  const vms = outcome.vms.map((vm) => model.vmAt(vm).id);
  return { kind: 'refused', vms, obstacle: outcome.obstacle, proven: outcome.proof !== null, wavesDone };
}
