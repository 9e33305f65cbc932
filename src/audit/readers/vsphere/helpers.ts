/** VMs that vCenter makes for its own service on hosts (vCLS): it stops them when their host goes into maintenance. */
import type { Evidence, Tie } from '../../estate/estate.ts';

/** Their names. */
export const HELPER = /^vCLS[- (]/;

/** Says so, and holds nobody. */
export function helperTie(evidence: Evidence): Tie {
  return { kind: 'agent vm', effect: 'informs', subject: '', evidence };
}
