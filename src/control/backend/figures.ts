/**
 * A VM's use of resources now: its host's agent and its QEMU are asked when somebody looks, and the answer is not kept.
 * Guarantees: an answer within little more than ASK_MS; a source that does not answer is named with its reason, and
 * does not delay the other.
 */
import type { VmFigures } from '../../api/figure-views.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import { currentIncarnation } from '../../core/model/vm.ts';
import type { BlockFigures } from '../../core/ports/qmp-link.ts';
import { findVm } from '../../core/request/basis.ts';
import { snapshotOf } from '../store/leader-store.ts';
import type { BackendContext } from './context.ts';

const ASK_MS = 2_000;

/** CodedError 'not-found', 'conflict' for a VM that does not run, 'unavailable' where this node does not lead. */
export async function figuresOf(context: BackendContext, name: string): Promise<VmFigures> {
  const { value: vm } = findVm(snapshotOf(context.store), name);
  const current = currentIncarnation(vm.phase);
  if (current === null)
    throw new CodedError('conflict', `${vm.name} does not run, so it uses nothing.`, { advice: 'Start it first.' });
  const leading = context.leading();
  if (leading === null)
    throw new CodedError('unavailable', 'This control node does not lead.', { advice: 'Try again.' });
  const { host, generation } = current;
  const [machine, disks] = await Promise.allSettled([
    context.hosts.figures(host, `vm=${vm.id}&generation=${generation}`, ASK_MS),
    leading.controller.blockFigures(vm),
  ]);
  const disk = ({ node, ...counters }: BlockFigures) => ({
    // Own disks are named by their place (src/agent/qemu/arguments.ts).
    disk: vm.spec.disks[Number(/^disk(\d+)$/.exec(node)?.[1] ?? Number.NaN)]?.disk ?? null,
    ...counters,
  });
  return {
    at: new Date(context.clock.wallMs()).toISOString(),
    ...{ host, generation },
    machine: machine.status === 'rejected' ? null : copied(machine.value),
    machineMissing: machine.status === 'rejected' ? messageOf(machine.reason) : null,
    disks: disks.status === 'rejected' ? null : disks.value.map(disk),
    disksMissing: disks.status === 'rejected' ? messageOf(disks.reason) : null,
  };
}

/** Copies only the fields that the API has: an agent of a newer version may send more. */
function copied({ cpuMs, residentBytes, nics }: Awaited<ReturnType<BackendContext['hosts']['figures']>>) {
  return {
    ...{ cpuMs, residentBytes },
    nics: nics.map(({ mac, receivedBytes, sentBytes }) => ({ mac, receivedBytes, sentBytes })),
  };
}
