/** Which VMs cannot be moved now, and why. Pure. The reason holds for the whole plan. */

import type { Constraint } from './constraint.ts';
import type { Model } from './model.ts';

/** Why a VM stays where it is. */
export interface Hold {
  readonly constraint: Constraint;
  readonly words: string;
}

/**
 * Returns why the VM cannot be moved now; null: it can, as far as the VM itself is concerned. `isArriving`: its next move
 * begins when the one that is under way has ended.
 */
export function holdOf(model: Model, index: number, isArriving = false): Hold | null {
  const vm = model.vmAt(index);
  if (vm.movingTo !== null && !isArriving)
    return { constraint: { kind: 'moving', name: vm.name }, words: `${vm.name} is moving to ${vm.movingTo} now` };
  if (vm.unsettled !== null) return { constraint: { kind: 'unsettled', name: vm.name }, words: vm.unsettled };
  const cluster = model.clusters[model.groups.clusterOf.get(index) ?? -1];
  if (cluster === undefined) return null;
  const { name, maxDisturbed, toleratesMs, disturbed } = cluster;
  if (vm.pauseMs > toleratesMs) {
    const words = `the move would pause ${vm.name} for about ${vm.pauseMs} ms, and guest cluster ${name} tolerates ${toleratesMs} ms`;
    return { constraint: { kind: 'pause', name }, words };
  }
  const others = disturbed.filter((id) => id !== vm.id).length;
  if (others < maxDisturbed) return null;
  const words = `${others} other members of guest cluster ${name} are stopped or paused, and it allows ${maxDisturbed} disturbed at once`;
  return { constraint: { kind: 'disturbed', name }, words };
}
