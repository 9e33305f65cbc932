/**
 * Following a prefix: its records once, then every change; when history was compacted meanwhile, its records again.
 * Guarantees: what the handlers were given, applied in order, is the state of the prefix at some revision.
 */
import type { EtcdClient, Listing, ListOptions } from './client.ts';
import { EtcdCompacted, EtcdUnavailable } from './errors.ts';
import { backoffMs, pause } from './waits.ts';
import type { WatchOptions } from './watch.ts';

export interface FollowOptions extends Omit<WatchOptions, 'fromRevision'> {
  /** The records under the prefix: replaces everything that was known. */
  readonly onListing: (listing: Listing) => void | Promise<void>;
  readonly list?: Omit<ListOptions, 'signal' | 'serializable'>;
}

/** Follows `prefix` until the signal aborts (resolves) or a handler throws. While etcd is away it goes on trying. */
export async function follow(client: EtcdClient, prefix: string, options: FollowOptions): Promise<void> {
  const { signal } = options;
  const readOptions = { ...options.list, ...(signal === undefined ? {} : { signal }) };
  for (let failures = 0; !signal?.aborted; ) {
    await pause(backoffMs(failures, 50, 500), signal);
    let listing: Listing;
    try {
      listing = await client.list(prefix, readOptions);
      failures = 0;
    } catch (error) {
      if (signal?.aborted) return;
      if (!(error instanceof EtcdUnavailable) || client.isClosed) throw error;
      failures += 1;
      options.onDisconnected?.(error);
      continue;
    }
    await options.onListing(listing);
    try {
      await client.watch(prefix, { ...options, fromRevision: listing.revision + 1 });
    } catch (error) {
      if (!(error instanceof EtcdCompacted)) throw error;
    }
  }
}
