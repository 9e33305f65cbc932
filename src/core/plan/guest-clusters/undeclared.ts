/**
 * Finds guest clusters that nobody declared. Pure. They are VMs that share a disk outside of a guest cluster, or
 * register keys on a shared disk without being a member of any guest cluster. Guarantees: each disk and each VM is in
 * one of them at most; the same records give the same answer in the same order.
 */
import type { DiskId, VmId } from '../../../base/ids.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import type { ReservationRecord, SharedDiskRecord } from '../../model/guest-cluster.ts';
import { vmOfInitiator } from '../../model/shared-disk-identity.ts';

/** VMs that look like a guest cluster. */
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

/** All undeclared guest clusters, by their first VM. */
export function undeclaredClusters({ index, disks, reservationOf }: UndeclaredInput): readonly Undeclared[] {
  const evidence = [...disks].flatMap((disk) => evidenceOf(disk, index, reservationOf(disk.id)) ?? []);
  const groupOf = new Map<VmId, Group>();
  for (const { disk, vms, because } of evidence.sort((a, b) => (a.disk.id < b.disk.id ? -1 : 1))) {
    const touching = [...new Set(vms.flatMap((vm) => groupOf.get(vm) ?? []))];
    // The largest group absorbs the others, so that each VM changes its group only a few times.
    const [into = newGroup(), ...others] = touching.sort((a, b) => b.vms.size - a.vms.size);
    for (const group of others) take(into, group);
    take(into, { disks: new Set([disk.id]), vms: new Set(vms), because: [because] });
    for (const group of [...others, { vms }]) for (const vm of group.vms) groupOf.set(vm, into);
  }
  return [...new Set(groupOf.values())]
    .map((group) => ({ disks: [...group.disks].sort(), vms: [...group.vms].sort(), because: group.because }))
    .sort((a, b) => ((a.vms[0] ?? '') < (b.vms[0] ?? '') ? -1 : 1));
}

interface Group {
  readonly disks: Set<DiskId>;
  readonly vms: Set<VmId>;
  readonly because: string[];
}

const newGroup = (): Group => ({ disks: new Set(), vms: new Set(), because: [] });

function take(into: Group, group: Group): void {
  for (const id of group.disks) into.disks.add(id);
  for (const vm of group.vms) into.vms.add(vm);
  into.because.push(...group.because);
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
  // A key that a former member left behind means nothing: the VM no longer has the disk.
  const strangers = users.filter((vm) => {
    const record = index.vm(vm);
    return registered.includes(vm) && record !== null && index.guestClusterOf(record) === null;
  });
  if (strangers.length === 0) return null;
  const names = strangers.map(nameOf).join(' and ');
  const because = `${names} registered a key on ${disk.name} (${disk.id}) and ${strangers.length === 1 ? 'is' : 'are'} in no guest cluster.`;
  return { disk, vms: strangers, because };
}
