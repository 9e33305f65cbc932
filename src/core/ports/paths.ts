/** Attempts to reach a host's kernel over the paths to it (core/model/paths.ts). */
import type { HostRecord } from '../model/cluster.ts';
import type { Path } from '../model/paths.ts';
import type { ProbeResult } from './probe-result.ts';

export interface Paths {
  /** All paths that exist now. */
  list(): readonly Path[];
  /**
   * One TCP attempt on one path; `no-path` if the relay itself did not answer: then this path is no evidence about the
   * host.
   */
  probe(
    path: Path,
    host: HostRecord,
    deadlineMs: number,
  ): Promise<ProbeResult | { readonly outcome: 'no-path'; readonly lateMs: number }>;
}
