/**
 * New VMs of the simulator's people: admitted by the code of production (core/request), and then as varied as a
 * long-lived cluster's, where disks of one VM are on several storage nodes and older versions left records without
 * newer fields.
 */
import type { StorageName, VmId } from '../../base/ids.ts';
import type { DiskRecord } from '../../core/model/cluster.ts';
import type { Change } from '../../core/ports/store.ts';
import type { Admitted, Basis, Observed } from '../../core/request/basis.ts';
import { type CreatedVm, type NewVm, plannedVm } from '../../core/request/new-vm.ts';
import { portsFree } from '../../core/request/storage-choice.ts';

/** People ask whichever control node, also such as see nothing; every storage node has room for what they ask. */
const EVERY_NODE: Pick<Observed, 'storageObserver'> = {
  storageObserver: {
    answers: () => true,
    isSilent: () => false,
    report: () => ({ pool: { totalBytes: 2 ** 50, freeBytes: 2 ** 50 }, artifacts: [] }),
  },
};

/** A new VM in the simulator. */
export interface SimVm {
  readonly id: VmId;
  readonly request: NewVm;
  /** The storage node of each of its disks, in their order. */
  readonly nodes: readonly StorageName[];
  /** Whether its machine has a place for shared disks; those of older versions had none. */
  readonly hasSharedDisks: boolean;
}

/** Admits a new VM, whether or not a host has room for it. CodedError where it is refused. */
export function simVm(basis: Basis, { id, request, nodes, hasSharedDisks }: SimVm): Admitted<CreatedVm> {
  const given = { id, seed: null, node: null };
  const admitted = plannedVm(basis, EVERY_NODE, request, given);
  const used = new Map<StorageName, number>();
  const placed = (disk: DiskRecord, node: StorageName): DiskRecord => {
    const before = used.get(node) ?? 0;
    used.set(node, before + 1);
    return { ...disk, node, port: portsFree(basis, node, before + 1).at(-1) ?? disk.port };
  };
  let at = 0;
  const changes = admitted.changes.map((change): Change => {
    if (change.kind === 'disk' && change.value !== null) {
      const node = nodes[at++] ?? change.value.node;
      return { ...change, value: placed(change.value, node) };
    }
    if (change.kind !== 'vm' || change.value === null || hasSharedDisks) return change;
    const { sharedDisks: _place, ...spec } = change.value.spec;
    return { ...change, value: { ...change.value, spec } };
  });
  return { ...admitted, changes };
}
