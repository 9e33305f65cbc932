/** Which events somebody wants to see: the same words for the list and for the stream. */
import type { EventFilter } from '../../api/requests.ts';
import type { EventRecord } from '../../core/model/cluster.ts';
import type { ClusterStore } from '../store/cluster-store.ts';

/** Whether an event is wanted. A VM is named by its name or id, as it is called now or was called then. */
export function eventFilterOf(store: ClusterStore, filter: EventFilter): (event: EventRecord) => boolean {
  const { eventKind, vm, host } = filter;
  const kinds = eventKind === undefined ? null : new Set(eventKind);
  const since = filter.since === undefined ? null : Date.parse(filter.since);
  return (event) => {
    if (kinds !== null && !kinds.has(event.kind)) return false;
    if (host !== undefined && event.host !== host) return false;
    if (since !== null && event.at < since) return false;
    if (vm === undefined) return true;
    // Looked up for each event: a stream outlives the VMs that it began with.
    return event.vmName === vm || event.vm === (store.vmNames.get(vm)?.value ?? vm);
  };
}
