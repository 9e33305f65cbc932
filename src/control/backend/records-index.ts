/** The index of the present records (core/model/cluster-index.ts), for views and admission. */
import type { DiskId, DrainId, GuestClusterName, HostName, VmId } from '../../base/ids.ts';
import { ClusterIndex } from '../../core/model/cluster-index.ts';
import { type ObjectKind, objectOf } from '../../core/model/keys.ts';
import type { Snapshot } from '../../core/ports/store.ts';
import type { ClusterStore } from '../store/cluster-store.ts';
import { snapshotOf } from '../store/leader-store.ts';

const KEPT = new WeakMap<ClusterStore, ClusterIndex>();

type Take = (index: ClusterIndex, records: Snapshot, id: string) => unknown;

/** How the index takes in a changed object of each kind that it holds. */
const TAKEN: { readonly [Kind in ObjectKind]?: Take } = {
  vm: (index, { vms }, id) => index.setVm(id as VmId, vms.get(id as VmId)?.value ?? null),
  host: (index, { hosts }, id) => index.setHost(id as HostName, hosts.get(id as HostName)?.value ?? null),
  disk: (index, { disks }, id) => index.setDisk(id as DiskId, disks.get(id as DiskId)?.value ?? null),
  'shared-disk': (index, { sharedDisks }, id) =>
    index.setSharedDisk(id as DiskId, sharedDisks.get(id as DiskId)?.value ?? null),
  'guest-cluster': (index, { guestClusters }, id) =>
    index.setGuestCluster(id as GuestClusterName, guestClusters.get(id as GuestClusterName)?.value ?? null),
  drain: (index, { drains }, id) => index.setDrain(id as DrainId, drains.get(id as DrainId)?.value ?? null),
};

/**
 * The index of the store's records, kept up to date with each change. A backend asks for it before its store reads etcd
 * (backend.ts): so the index takes the records in as they are read, some milliseconds at a time, and no request waits
 * for that. A caller that adds something tentatively must remove it in the same turn of the event loop.
 */
export function indexOfStore(store: ClusterStore): ClusterIndex {
  const kept = KEPT.get(store);
  if (kept !== undefined) return kept;
  const index = new ClusterIndex();
  const records = snapshotOf(store);
  index.load(records);
  index.byFreeMemory();
  store.onChange((changes) => {
    for (const { key } of changes) {
      // An unreadable record counts as it was last read: its guest may still run, and promises that were made still
      // hold.
      if (records.unreadable.has(key)) continue;
      const changed = objectOf(key);
      if (changed !== null) TAKEN[changed.kind]?.(index, records, changed.id);
    }
    // Hosts find their places as changes come, not when the next request reads the ranking.
    index.byFreeMemory();
  });
  KEPT.set(store, index);
  return index;
}
