/**
 * What hosts and storage nodes have that no record knows, after a restore from a snapshot that is older: processes of VMs
 * that were made since, and their disks. Pure.
 *
 * Guarantees: nothing counts that a record names, or may name because it cannot be read; a disk counts only if it was seen
 * twice, in two reports of its node, since a disk that is deleted loses its record a moment after its file.
 */
import type { DiskId, Generation, HostName, StorageName, VmId } from '../../../base/ids.ts';
import { keyOf } from '../../model/keys.ts';
import { isForgotten } from '../../model/record-shapes.ts';
import type { HostReport } from '../../ports/host-link.ts';
import type { DiskFacts, DiskReport } from '../../ports/storage-link.ts';
import type { Snapshot } from '../../ports/store.ts';

/** A process of an unknown VM. */
export interface UnknownProcess {
  readonly host: HostName;
  readonly generation: Generation;
  readonly slot: number;
}

/** A disk of an unknown VM. */
export interface UnknownDisk {
  readonly disk: DiskId;
  readonly node: StorageName;
  /** Where it is served; null: it is not. */
  readonly port: number | null;
  readonly sizeBytes: number;
  /** The generations that are granted. */
  readonly generations: readonly Generation[];
}

/** A VM that no record knows, as it is seen. */
export interface UnknownVm {
  readonly vm: VmId;
  readonly processes: readonly UnknownProcess[];
  readonly disks: readonly UnknownDisk[];
  /** Storage nodes that have not said in this epoch what they hold, or not all of it: they may have disks of it. */
  readonly unheard: readonly StorageName[];
}

type Records = Pick<Snapshot, 'vms' | 'disks' | 'unreadable' | 'epoch'>;

/** The processes of a report that no record knows. */
export function unknownProcesses(
  { vms, unreadable, epoch }: Records,
  host: HostName,
  { incarnations }: Pick<HostReport, 'incarnations'>,
): readonly (UnknownProcess & { readonly vm: VmId })[] {
  return incarnations.flatMap(({ vm, generation, slot }) =>
    vms.has(vm) || unreadable.has(keyOf.vm(vm)) || !isForgotten(epoch, vm, generation)
      ? []
      : [{ vm, host, generation, slot }],
  );
}

/** The disks of a report that no record knows. */
export function unknownDisks({ disks, unreadable }: Records, reported: readonly DiskReport[]): readonly DiskReport[] {
  return reported.filter(({ disk }) => !disks.has(disk) && !unreadable.has(keyOf.disk(disk)));
}

/**
 * Puts together what belongs to one VM, in pieces, since after a restore all VMs may be unknown. Disks of VMs that a
 * record knows are left out: their VM tells of them.
 */
export function* unknownVms(
  { vms, unreadable }: Pick<Records, 'vms' | 'unreadable'>,
  processes: readonly (UnknownProcess & { readonly vm: VmId })[],
  disks: Iterable<{ readonly node: StorageName; readonly report: DiskReport; readonly facts: DiskFacts }>,
  unheard: readonly StorageName[],
): Generator<void, readonly UnknownVm[]> {
  const found = new Map<VmId, { readonly processes: UnknownProcess[]; readonly disks: UnknownDisk[] }>();
  const of = (vm: VmId) => {
    const one = found.get(vm) ?? { processes: [], disks: [] };
    found.set(vm, one);
    return one;
  };
  for (const { vm, ...process } of processes) {
    of(vm).processes.push(process);
    yield;
  }
  for (const { node, report, facts } of disks) {
    yield;
    if (vms.has(facts.vm) || unreadable.has(keyOf.vm(facts.vm))) continue;
    const { disk, port = null, grants } = report;
    const generations = grants.map(({ generation }) => generation);
    of(facts.vm).disks.push({ disk, node, port, sizeBytes: facts.sizeBytes, generations });
  }
  const all: UnknownVm[] = [];
  for (const vm of [...found.keys()].sort()) {
    all.push({ vm, ...of(vm), unheard });
    yield;
  }
  return all;
}
