/**
 * Whether a refusal is a proof that no plan exists: a VM that no host suits or that cannot be moved, or more memory
 * than there is. Pure.
 */
import { holdOf } from './held.ts';
import type { Layout } from './layout.ts';
import type { Refusal } from './plan.ts';

/** Why there is no plan. `stuck`: a VM cannot be moved, or no host suits it; more room changes nothing. */
export type Proof = 'stuck' | 'too-full';

/**
 * Returns why no plan exists, independent of the search; null: there is no proof. The layout is as before the wave,
 * with its hosts closed.
 */
export function proofOf(
  layout: Layout,
  hosts: readonly number[],
  { obstacle, vms }: { readonly obstacle: Refusal['obstacle']; readonly vms: readonly number[] },
): Proof | null {
  if (obstacle === 'no-order') return null;
  if (obstacle === 'no-room-for-loss') return isTooFullForLoss(layout, hosts) ? 'too-full' : null;
  const isStuck = (vm: number): boolean =>
    holdOf(layout.model, vm, layout.countsAsArrived(vm)) !== null || layout.choices(layout.lead(vm)) === 0;
  return vms.some(isStuck) ? 'stuck' : isTooFull(layout, hosts) ? 'too-full' : null;
}

/** Returns true if the VMs of the hosts need more memory than all other hosts have free. */
export function isTooFull(layout: Layout, hosts: readonly number[]): boolean {
  return toGo(layout, hosts) > freeMib(layout);
}

function toGo(layout: Layout, hosts: readonly number[]): number {
  return hosts.flatMap((host) => [...layout.residents(host)]).reduce((sum, lead) => sum + (layout.mib[lead] ?? 0), 0);
}

function openHosts(layout: Layout): number[] {
  return [...layout.model.hosts.keys()].filter((host) => layout.isOpen(host));
}

/** Free memory of all hosts that take VMs: displacing changes who has it, not how much there is. */
function freeMib(layout: Layout): number {
  return openHosts(layout).reduce((sum, host) => sum + Math.max(0, layout.free[host] ?? 0), 0);
}

/** After the wave a host is lost: at best the smallest. VMs that are tied to that host need not restart. */
function isTooFullForLoss(layout: Layout, hosts: readonly number[]): boolean {
  const { model } = layout;
  let needed = toGo(layout, hosts);
  const sizes = openHosts(layout).map((host) => {
    let held = 0;
    for (const lead of layout.residents(host)) held += layout.mib[lead] ?? 0;
    needed += held;
    return held + Math.max(0, layout.free[host] ?? 0);
  });
  for (const vm of model.vms) if (vm?.tie?.hosts.length === 1) needed -= vm.memoryMib;
  return needed > sizes.reduce((a, b) => a + b, 0) - Math.min(...sizes);
}
