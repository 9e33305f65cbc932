/** VMs that vCenter creates on hosts for its own services (vCLS) and stops when their host goes into maintenance. */
import type { Evidence, Tie } from '../../estate/estate.ts';

/** Matches the names of vCLS VMs. */
export const HELPER = /^vCLS[- (]/;

/** A tie that informs and holds no VM. */
export function helperTie(evidence: Evidence): Tie {
  return { kind: 'agent vm', effect: 'informs', subject: '', evidence };
}
