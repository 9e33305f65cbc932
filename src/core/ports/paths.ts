/** The independent ways to a host's kernel. */
import type { StorageName } from '../../base/ids.ts';
import type { HostRecord } from '../model/cluster.ts';
import type { ProbeResult } from './probe-result.ts';

export interface Path {
  /** For people: `direct`, `via s1`. */
  readonly name: string;
  /** The storage node it leads through, or null. */
  readonly storage: StorageName | null;
}

export interface Paths {
  /** All paths that exist now. */
  list(): readonly Path[];
  /** One TCP attempt on one path; `no-path` when the relay itself did not answer: then this path says nothing about the host. */
  probe(
    path: Path,
    host: HostRecord,
    deadlineMs: number,
  ): Promise<ProbeResult | { readonly outcome: 'no-path'; readonly lateMs: number }>;
}
