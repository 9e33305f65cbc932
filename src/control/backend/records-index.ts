/** What follows from the records as they are now (core/model/cluster-index.ts), for views and admission. */
import { ClusterIndex } from '../../core/model/cluster-index.ts';
import type { ClusterStore } from '../store/cluster-store.ts';
import { snapshotOf } from '../store/leader-store.ts';

const KEPT = new WeakMap<ClusterStore, { readonly revision: number; readonly index: ClusterIndex }>();

/** The index of the store's present revision: one for all who ask while nothing changes. Whoever tries something in it takes it back. */
export function indexOfStore(store: ClusterStore): ClusterIndex {
  const kept = KEPT.get(store);
  if (kept !== undefined && kept.revision === store.revision) return kept.index;
  const index = new ClusterIndex();
  index.load(snapshotOf(store));
  KEPT.set(store, { revision: store.revision, index });
  return index;
}
