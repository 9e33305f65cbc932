/**
 * Guest clusters that nobody declared. Pure: VMs that share a disk outside of a guest cluster, or register keys on one without being a
 * member of any. Guarantees: each disk and each VM is in one of them at most; the same records give the same answer in the same order.
 */
import type { DiskId, VmId } from '../../base/ids.ts';
import type { ClusterIndex } from '../model/cluster-index.ts';
import type { ReservationRecord, SharedDiskRecord } from '../model/guest-cluster.ts';
import { vmOfInitiator } from '../model/shared-disk-identity.ts';

/** What looks like a guest cluster. */
export interface Undeclared {
  /** Sorted. */
  readonly disks: readonly DiskId[];
  /** Sorted. */
  readonly vms: readonly VmId[];
  /** One sentence for each disk. */
  readonly because: readonly string[];
}

interface Evidence {
  readonly disk: SharedDiskRecord;
  readonly vms: readonly VmId[];
  readonly because: string;
}

export interface UndeclaredInput {
  readonly index: ClusterIndex;
  readonly disks: Iterable<SharedDiskRecord>;
  readonly reservationOf: (disk: DiskId) => ReservationRecord | null;
}

/** All of them, by their first VM. */
export function undeclaredClusters({ index, disks, reservationOf }: UndeclaredInput): readonly Undeclared[] {
  const evidence = [...disks].flatMap((disk) => evidenceOf(disk, index, reservationOf(disk.id)) ?? []);
  const groups: { disks: Set<DiskId>; vms: Set<VmId>; because: string[] }[] = [];
  for (const { disk, vms, because } of evidence.sort((a, b) => (a.disk.id < b.disk.id ? -1 : 1))) {
    const touching = groups.filter((group) => vms.some((vm) => group.vms.has(vm)));
    const merged = { disks: new Set([disk.id]), vms: new Set(vms), because: [] as string[] };
    for (const group of touching) {
      for (const id of group.disks) merged.disks.add(id);
      for (const vm of group.vms) merged.vms.add(vm);
      merged.because.push(...group.because);
      groups.splice(groups.indexOf(group), 1);
    }
    merged.because.push(because);
    groups.push(merged);
  }
  return groups
    .map((group) => ({ disks: [...group.disks].sort(), vms: [...group.vms].sort(), because: group.because }))
    .sort((a, b) => ((a.vms[0] ?? '') < (b.vms[0] ?? '') ? -1 : 1));
}

function evidenceOf(
  disk: SharedDiskRecord,
  index: ClusterIndex,
  reservation: ReservationRecord | null,
): Evidence | null {
  const users = [...index.usersOf(disk.id)].sort();
  const nameOf = (vm: VmId): string => index.vm(vm)?.name ?? vm;
  if (disk.guestCluster === null && users.length > 1) {
    const names = users.map(nameOf).join(' and ');
    return { disk, vms: users, because: `${names} share ${disk.name} (${disk.id}).` };
  }
  const registered = (reservation?.state.registrations ?? []).flatMap(({ nexus }) => vmOfInitiator(nexus) ?? []);
  // A key that a former member left behind says nothing: it has the disk no more.
  const strangers = users.filter((vm) => {
    const record = index.vm(vm);
    return registered.includes(vm) && record !== null && index.guestClusterOf(record) === null;
  });
  if (strangers.length === 0) return null;
  const names = strangers.map(nameOf).join(' and ');
  const because = `${names} registered a key on ${disk.name} (${disk.id}) and ${strangers.length === 1 ? 'is' : 'are'} in no guest cluster.`;
  return { disk, vms: strangers, because };
}
