/**
 * Following a prefix: its records once, then every change; when history was compacted in the meantime, its records
 * again. Guarantees: what the handlers were given, applied in order, is the state of the prefix at some revision.
 */

import { sleep } from '../base/sleep.ts';
import type { Etcd, Listing, ListOptions, WatchOptions } from './api.ts';
import { backoffMs } from './backoff.ts';
import { EtcdCompacted, EtcdUnavailable } from './errors.ts';

export interface FollowOptions extends Omit<WatchOptions, 'fromRevision'> {
  /** The records under the prefix: replaces everything that was known. */
  readonly onListing: (listing: Listing) => void | Promise<void>;
  readonly list?: Omit<ListOptions, 'signal'>;
}

/** Follows `prefix` until the signal aborts (resolves) or a handler throws. While etcd is away it goes on trying. */
export async function follow(etcd: Etcd, prefix: string, options: FollowOptions): Promise<void> {
  const { signal } = options;
  const readOptions = { ...options.list, ...(signal === undefined ? {} : { signal }) };
  for (let failures = 0; !signal?.aborted; ) {
    await sleep(etcd.clock, backoffMs(failures, 50, 500), { signal });
    if (signal?.aborted) return;
    let listing: Listing;
    try {
      listing = await etcd.list(prefix, readOptions);
      failures = 0;
    } catch (error) {
      if (signal?.aborted) return;
      if (!(error instanceof EtcdUnavailable) || etcd.isClosed) throw error;
      failures += 1;
      options.onDisconnected?.(error);
      continue;
    }
    await options.onListing(listing);
    try {
      await etcd.watch(prefix, { ...options, fromRevision: listing.revision + 1 });
    } catch (error) {
      if (!(error instanceof EtcdCompacted)) throw error;
    }
  }
}
