/**
 * When the record of a host that was declared lost goes. Pure. Guarantees: it stays while a VM's record names the host,
 * and while an earlier incarnation there may not be fenced: what was there runs elsewhere, or is stopped, before the
 * host is forgotten.
 */
import type { HostName, VmId } from '../../../base/ids.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import { PREFIX } from '../../model/keys.ts';
import type { Snapshot } from '../../ports/store.ts';
import { unreadableUser } from '../vm/unreadable.ts';

/** What the removal of a host waits for. */
export interface RemovalWait {
  readonly vms: readonly VmId[];
  /** A record that may name the host and cannot be read, as a sentence; null: there is none. */
  readonly unreadable: string | null;
}

/** Returns what the removal of a lost host waits for; null: its record can go now. */
export function removalWait(
  index: ClusterIndex,
  unreadable: Snapshot['unreadable'],
  host: HostName,
): RemovalWait | null {
  const vms = [...new Set([...index.vmsOn(host), ...index.unfencedOn(host)])];
  const unread = unreadableUser(PREFIX.vm, unreadable);
  return vms.length === 0 && unread === null ? null : { vms, unreadable: unread };
}
