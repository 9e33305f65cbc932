/** The event filter of the list and of the stream. */
import type { EventFilter } from '../../api/requests.ts';
import type { EventRecord } from '../../core/model/cluster.ts';
import type { ClusterStore } from '../store/cluster-store.ts';

/**
 * Returns a predicate for the wanted events. A VM is given by ID or name, either its present name or its name at the
 * time of the event.
 */
export function eventFilterOf(store: ClusterStore, filter: EventFilter): (event: EventRecord) => boolean {
  const { eventKind, vm, host } = filter;
  const kinds = eventKind === undefined ? null : new Set(eventKind);
  const since = filter.since === undefined ? null : Date.parse(filter.since);
  return (event) => {
    if (kinds !== null && !kinds.has(event.kind)) return false;
    if (host !== undefined && event.host !== host) return false;
    if (since !== null && event.at < since) return false;
    if (vm === undefined) return true;
    // Looked up for each event: a stream may outlive the VMs that existed when it began.
    return event.vmName === vm || event.vm === (store.vmNames.get(vm)?.value ?? vm);
  };
}
