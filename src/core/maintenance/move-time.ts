/** Predicts how long a live migration is going to take. Pure. Safety does not depend on this prediction. */
import type { EstateHost, EstatePolicy, EstateVm } from './estate.ts';

/** A guest that writes faster than this share of what its move gets is not expected to converge. */
const CONVERGES_BELOW = 0.9;

/** The rate of one move while its host has as many moves as it may have, in MiB a second. */
export function copiedMibPerSecond({ hostMibPerSecond, movesPerHost }: EstatePolicy): number {
  return hostMibPerSecond / movesPerHost;
}

/** Whether a guest that writes this fast would be copied for ever without a countermeasure. */
export function outrunsCopy(policy: EstatePolicy, dirtyMibPerSecond: number): boolean {
  return dirtyMibPerSecond / copiedMibPerSecond(policy) >= CONVERGES_BELOW;
}

/**
 * Returns the duration in whole ms. A host's rate is shared by as many moves as it may have at once, and a link's
 * likewise. Each pass copies the memory that was written during the pass before, so a guest that writes at a share `d`
 * of the rate takes 1/(1-d) times as long as one that writes nothing; for a guest whose copy does not converge the
 * largest such share is used.
 */
export function moveTime(
  policy: EstatePolicy,
  { vm, hosts }: { readonly vm: EstateVm; readonly hosts: readonly EstateHost[] },
): { readonly durationMs: number; readonly converges: boolean } {
  const rates = [copiedMibPerSecond(policy)];
  for (const link of policy.links)
    if (hosts.some((host) => host.link === link.name)) rates.push(link.mibPerSecond / link.movesMax);
  const rate = Math.min(...rates);
  const share = (vm.dirtyMibPerSecond ?? 0) / rate;
  const seconds = vm.memoryMib / rate / (1 - Math.min(share, CONVERGES_BELOW));
  return { durationMs: Math.ceil(policy.moveOverheadMs + seconds * 1000), converges: share < CONVERGES_BELOW };
}
