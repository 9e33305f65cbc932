/**
 * Decides the next actions for hosts: stale processes are ended, a quarantine ends when nothing stale is left, network
 * plans follow the records. Pure. Guarantees: a process is only ordered to end when no record expects it on that host
 * with that generation, and never while its VM's record cannot be read or is restored and not settled; nor, where no
 * record names its VM, if its generation is from before the epoch: it was made after the snapshot that the cluster was
 * restored from. A host with such a process stays quarantined.
 */
import type { Generation, HostName, VmId } from '../../../base/ids.ts';
import type { HostRecord } from '../../model/cluster.ts';
import { type Epoch, isForgotten } from '../../model/record-shapes.ts';
import { expectedIncarnations, type VmRecord } from '../../model/vm.ts';
import type { HostReport } from '../../ports/host-link.ts';

export type HostStep =
  | {
      readonly do: 'kill-stale';
      readonly vm: VmId;
      readonly generations: readonly Generation[];
      readonly reason: string;
    }
  | { readonly do: 'lift-quarantine' };

export interface HostSituation {
  readonly host: HostRecord;
  /** The latest report, made after every commit about a VM that names this host. */
  readonly report: HostReport;
  readonly vm: (id: VmId) => VmRecord | undefined;
  /** Returns true if etcd holds a value for the VM that is not a valid record. */
  readonly isUnreadable: (id: VmId) => boolean;
  readonly epoch: Epoch;
}

/** Returns true if only a person may decide about a process. */
function isUnclear(
  { vm: recordOf, isUnreadable, epoch }: HostSituation,
  { vm, generation }: HostReport['incarnations'][number],
): boolean {
  if (isUnreadable(vm)) return true;
  const record = recordOf(vm);
  return record === undefined ? isForgotten(epoch, vm, generation) : record.restored !== undefined;
}

/** The processes on the host that no record expects there. */
function staleIncarnations(situation: HostSituation): ReadonlyMap<VmId, Generation[]> {
  const { host, report, vm: recordOf } = situation;
  const stale = new Map<VmId, Generation[]>();
  for (const process of report.incarnations) {
    const { vm, generation } = process;
    const record = recordOf(vm);
    if (isUnclear(situation, process)) continue;
    if (record !== undefined && isExpected(record, host.name, generation)) continue;
    stale.set(vm, [...(stale.get(vm) ?? []), generation]);
  }
  return stale;
}

function isExpected(record: VmRecord, host: HostName, generation: Generation): boolean {
  return expectedIncarnations(record.phase).some(
    (incarnation) => incarnation.host === host && incarnation.generation === generation,
  );
}

/** Returns true while an incarnation runs on the host whose fate is not decided. */
export function hasUnclear(situation: HostSituation): boolean {
  return situation.report.incarnations.some((process) => isUnclear(situation, process));
}

/** Steps for one host whose agent answers, in their order. None for one that was declared lost: it is no member. */
export function decideHost(situation: HostSituation): readonly HostStep[] {
  if (situation.host.lost !== undefined) return [];
  const stale = staleIncarnations(situation);
  const steps: HostStep[] = [...stale].map(([vm, generations]) => ({
    do: 'kill-stale',
    vm,
    generations,
    reason: situation.vm(vm) !== undefined ? 'a newer generation took its place' : 'the VM was deleted',
  }));
  // The tunnel opens again only after a report without anything stale: the kill must have been seen to have worked.
  if (steps.length === 0 && !hasUnclear(situation) && situation.host.quarantine !== null)
    steps.push({ do: 'lift-quarantine' });
  return steps;
}
