/** Undeclared guest clusters, according to the records of a store. */
import { recordsOf } from '../../core/model/cluster-index.ts';
import { type Undeclared, undeclaredClusters } from '../../core/plan/guest-clusters/undeclared.ts';
import type { ClusterStore } from '../store/cluster-store.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { indexOfStore } from './records-index.ts';

/** All undeclared ties. */
export function undeclaredOf(store: ClusterStore): readonly Undeclared[] {
  const { sharedDisks, reservations } = snapshotOf(store);
  return undeclaredClusters({
    index: indexOfStore(store),
    disks: recordsOf(sharedDisks),
    reservationOf: (id) => reservations.get(id)?.value ?? null,
  });
}
