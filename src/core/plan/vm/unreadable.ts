/**
 * Finds what depends on an etcd value that is not a valid record. Pure. Guarantees: nothing is decided about a VM while
 * any record that its decisions read is unreadable: a disk that seemed not to exist would not be fenced.
 */
import { CodedError } from '../../../base/errors.ts';
import type { GuestClusterRecord } from '../../model/guest-cluster.ts';
import { keyOf, PREFIX } from '../../model/keys.ts';
import { expectedIncarnations, sharedDisksOf, type VmRecord } from '../../model/vm.ts';
import type { Snapshot } from '../../ports/store.ts';

/** The records that are read to find a VM's dependencies. */
export type VmReads = Pick<Snapshot, 'unreadable' | 'sharedDisks' | 'disksOf'>;

const LEFT_ALONE = 'Nothing was changed. See docs/operating/failures.md, "A value in etcd that is no record".';

/** Returns why nothing is done with a VM, naming the key; null if every record that the VM depends on can be read. */
export function unreadableFor(vm: VmRecord, snapshot: VmReads): string | null {
  const { unreadable } = snapshot;
  if (unreadable.size === 0) return null;
  const key = keysOf(vm, snapshot).find((each) => unreadable.has(each));
  return key === undefined ? null : `Nothing is decided: what etcd holds at ${key} ${unreadable.get(key)}.`;
}

/** Returns what of a guest cluster cannot be read, naming the key; null if everything can. */
export function unreadableOfCluster(
  { members, disks }: GuestClusterRecord,
  unreadable: Snapshot['unreadable'],
): string | null {
  if (unreadable.size === 0) return null;
  const key = [...members.map(keyOf.vm), ...disks.map(keyOf.sharedDisk)].find((each) => unreadable.has(each));
  return key === undefined ? null : `what etcd holds at ${key} ${unreadable.get(key)}.`;
}

/**
 * Returns a key of this kind that cannot be read, as a sentence for a user who deletes an object that such a record may
 * name; null: none.
 */
export function unreadableUser(prefix: string, unreadable: Snapshot['unreadable']): string | null {
  for (const [key, finding] of unreadable)
    if (key.startsWith(prefix)) return `What etcd holds at ${key} ${finding}: whether it is in use there is not known.`;
  return null;
}

/** CodedError 'conflict' while the record of a VM cannot be read: that VM may use the object that is to be deleted. */
export function demandUsersKnown(unreadable: Snapshot['unreadable']): void {
  const user = unreadableUser(PREFIX.vm, unreadable);
  if (user !== null) throw new CodedError('conflict', user, { advice: LEFT_ALONE });
}

/**
 * CodedError 'conflict' if one of these records exists and cannot be read: the effect of a change on it is not known.
 */
export function demandReadable(unreadable: Snapshot['unreadable'], keys: Iterable<string>): void {
  if (unreadable.size === 0) return;
  for (const key of keys) {
    const finding = unreadable.get(key);
    if (finding === undefined) continue;
    throw new CodedError('conflict', `What etcd holds at ${key} ${finding}.`, {
      advice: LEFT_ALONE,
    });
  }
}

function keysOf(vm: VmRecord, snapshot: VmReads): readonly string[] {
  const nodes = snapshot.disksOf(vm.id).map(({ node }) => node);
  const shared = sharedDisksOf(vm).map(({ disk }) => disk);
  for (const disk of shared) {
    const node = snapshot.sharedDisks.get(disk)?.value.node;
    if (node !== undefined) nodes.push(node);
  }
  const cluster = vm.spec.guestCluster ?? null;
  return [
    ...vm.spec.disks.map(({ disk }) => keyOf.disk(disk)),
    ...shared.map(keyOf.sharedDisk),
    ...nodes.map(keyOf.storage),
    ...expectedIncarnations(vm.phase).map(({ host }) => keyOf.host(host)),
    ...vm.spec.nics.map(({ network }) => keyOf.network(network)),
    ...(cluster === null ? [] : [keyOf.guestCluster(cluster)]),
  ];
}
