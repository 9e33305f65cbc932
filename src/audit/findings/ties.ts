/** Lists ties of VMs to hosts, VM by VM, including stopped VMs and VMs without a known host. */

import type { Vm } from '../estate/estate.ts';
import { compare } from '../estate/estate-builder.ts';
import type { TargetCache } from './drain.ts';
import type { EstateIndex } from './estate-index.ts';
import type { Reason } from './reasons.ts';

export interface TieFinding {
  /** `blocks`: the VM runs, or may run, and cannot move. `informs`: the tie would block if the VM ran. */
  readonly level: 'blocks' | 'warns' | 'informs';
  readonly vm: Vm;
  readonly reason: Reason;
}

const LEVELS = ['blocks', 'warns', 'informs'] as const;

/** Returns all ties, the blocking ones first. */
export function findTies(index: EstateIndex, targets: TargetCache): readonly TieFinding[] {
  const found: TieFinding[] = [];
  for (const vm of index.estate.vms.values()) {
    if (vm.isTemplate) continue;
    const runs = vm.power === 'running' || vm.power === 'unknown';
    for (const reason of targets.of(vm).reasons) found.push({ level: runs ? 'blocks' : 'informs', vm, reason });
    for (const tie of vm.ties) {
      const reason: Reason = { kind: 'tie', vm, tie };
      if (tie.effect === 'warns') found.push({ level: runs ? 'warns' : 'informs', vm, reason });
      if (tie.effect === 'informs') found.push({ level: 'informs', vm, reason });
      // The VM still has possible hosts: it can be drained, with fewer choices.
      if (tie.effect === 'limits' && !targets.of(vm).reasons.some((one) => one.kind === 'tie' && one.tie === tie))
        found.push({ level: runs ? 'warns' : 'informs', vm, reason });
    }
  }
  const hostOf = ({ vm }: TieFinding): string => index.estate.hosts.get(vm.host ?? '')?.name ?? vm.hostSaid;
  return found.toSorted(
    (a, b) =>
      LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level) ||
      compare(hostOf(a), hostOf(b)) ||
      compare(a.vm.name, b.vm.name),
  );
}
