/**
 * What to do about hosts: stale processes are ended, a quarantine ends when nothing stale is left, network plans follow
 * the records. Pure. Guarantees: a process is only ordered to end when no record expects it on that host with that
 * generation, and never while its VM's record cannot be read; a host with such a process stays quarantined.
 */
import type { Generation, HostName, VmId } from '../../../base/ids.ts';
import type { HostRecord } from '../../model/cluster.ts';
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
}

/** The processes on the host that no record expects there. */
function staleIncarnations(situation: HostSituation): ReadonlyMap<VmId, Generation[]> {
  const { host, report, vm: recordOf, isUnreadable } = situation;
  const stale = new Map<VmId, Generation[]>();
  for (const { vm, generation } of report.incarnations) {
    const record = recordOf(vm);
    if (isUnreadable(vm)) continue;
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

/** Steps for one host whose agent answers, in their order. */
export function decideHost(situation: HostSituation): readonly HostStep[] {
  const stale = staleIncarnations(situation);
  const steps: HostStep[] = [...stale].map(([vm, generations]) => ({
    do: 'kill-stale',
    vm,
    generations,
    reason: situation.vm(vm) !== undefined ? 'a newer generation took its place' : 'the VM was deleted',
  }));
  // The tunnel opens again only after a report without anything stale: the kill must have been seen to have worked.
  const isUnclear = situation.report.incarnations.some(({ vm }) => situation.isUnreadable(vm));
  if (steps.length === 0 && !isUnclear && situation.host.quarantine !== null) steps.push({ do: 'lift-quarantine' });
  return steps;
}
