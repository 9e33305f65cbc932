/** The record of a machine that joins, for the first time or again: what the cluster knows of it stays, a quarantine above all. */
import { type HostName, parseHostName, parseStorageName } from '../../base/ids.ts';
import type { HostRecord, StorageRecord } from '../../core/model/cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { demandCount } from '../../core/plan/vm-admission.ts';
import type { Write } from '../store/cluster-store.ts';
import type { ChangeContext } from './changes.ts';

/** Who joins, and where it is reached: the storage and overlay addresses are the control address where nothing is said. */
export interface Joining {
  readonly role: 'host' | 'storage';
  readonly name: string;
  readonly addresses: { readonly control: string; readonly storage?: string; readonly overlay?: string };
}

/** The write that makes it a member. A host's capacity is its agent's to say. CodedError 'no-capacity' where the cluster has no place for more. */
export function joinWrite({ store, clock }: ChangeContext, { role, name, addresses }: Joining): Write {
  const { control } = addresses;
  const storage = addresses.storage ?? control;
  if (role === 'storage') {
    const known = store.storage.get(name);
    if (known === undefined) demandCount(store.storage.size, LIMITS.storageNodes);
    const record: StorageRecord = {
      name: parseStorageName(name),
      addresses: { control, storage },
      joinedAt: known?.value.joinedAt ?? clock.wallMs(),
    };
    return { key: keyOf.storage(record.name), value: record, expect: known?.revision ?? 0 };
  }
  const hostName: HostName = parseHostName(name);
  const known = store.hosts.get(hostName);
  if (known === undefined) demandCount(store.hosts.size, LIMITS.hosts);
  const record: HostRecord = {
    name: hostName,
    addresses: { control, storage, overlay: addresses.overlay ?? control },
    capacity: known?.value.capacity ?? { memoryBytes: 0, vcpus: 0, accelerator: 'tcg', cpuModels: [] },
    cordoned: known?.value.cordoned ?? false,
    quarantine: known?.value.quarantine ?? null,
    joinedAt: known?.value.joinedAt ?? clock.wallMs(),
  };
  return { key: keyOf.host(hostName), value: record, expect: known?.revision ?? 0 };
}
