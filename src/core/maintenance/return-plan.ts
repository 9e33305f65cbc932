/**
 * Brings VMs back to a host that is in service again: those that it has room for, largest first, by the constraints of
 * every plan. Pure. No other VM is moved to make room; VMs that stay away are named with the reason.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import { holdOf } from './held.ts';
import { atOnce } from './in-turns.ts';
import type { Journey } from './journey.ts';
import { Layout } from './layout.ts';
import type { Model } from './model.ts';
import type { MaintenancePlan, PlannedWave } from './plan.ts';
import { planOf } from './planner.ts';
import { schedule } from './schedule.ts';

/** A VM that stays where it is, and why. */
export interface Stays {
  readonly vm: VmId;
  readonly why: string;
}

/** Plans to bring those of `vms` back to `home` that can be. A host that is no host of the model is a fault of the caller. */
export function planReturn(
  model: Model,
  home: HostName,
  vms: readonly VmId[],
): { readonly plan: MaintenancePlan; readonly stays: readonly Stays[] } {
  const to = model.host(home);
  if (to < 0) throw new Error(`No host ${home} is in the snapshot.`);
  const layout = new Layout(model);
  const stays: Stays[] = [];
  const journeys: Journey[] = [];
  for (const vm of bySize(model, vms)) {
    const { id } = model.vmAt(vm);
    const from = layout.base[vm] ?? -1;
    if (from === to) continue;
    const why = whyNot(layout, vm, to);
    if (why !== null) {
      stays.push({ vm: id, why });
      continue;
    }
    layout.take(vm);
    layout.put(vm, to);
    journeys.push({ vm, from, to, why: 'return' });
  }
  const inOrder = { firstId: 0, inSequence: true };
  const scheduled = journeys.length === 0 ? null : atOnce(schedule(layout, journeys, inOrder));
  if (scheduled === null && journeys.length > 0)
    stays.push(...journeys.map(({ vm }) => ({ vm: model.vmAt(vm).id, why: 'no order of the moves was found' })));
  const waves: PlannedWave[] = scheduled === null ? [] : [{ hosts: [], ...scheduled, room: null }];
  return { plan: planOf(waves, { after: 'away', releaseAfter: null }), stays };
}

/** VMs that the snapshot has, largest first. */
function bySize(model: Model, vms: readonly VmId[]): number[] {
  const known = [...new Set(vms)].map((id) => model.vm(id)).filter((vm) => vm >= 0);
  return known.toSorted((a, b) => (model.mibOf[b] ?? 0) - (model.mibOf[a] ?? 0) || a - b);
}

function whyNot(layout: Layout, vm: number, to: number): string | null {
  const { model } = layout;
  const { name } = model.hostAt(to);
  const held = holdOf(model, vm);
  if (held !== null) return held.words;
  if (layout.bundle(layout.lead(vm)).length > 1) return 'it stays beside the VMs that it must be together with';
  if (!layout.isOpen(to) || !layout.suits(vm, to)) return `${name} does not suit it`;
  if (!layout.agrees(vm, to)) return `a rule keeps it from ${name}`;
  return layout.holds(vm, to) ? null : `${name} has no room for it`;
}
