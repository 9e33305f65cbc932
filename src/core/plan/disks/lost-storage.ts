/**
 * Decides about a VM with a disk of its own that is lost: on a storage node that was declared lost, or missing after a
 * restore. Pure.
 *
 * Guarantees: such a VM is ended and never started again; it can be deleted. (A lost shared disk ends no VM: its VMs
 * have other disks.)
 */
import { listed } from '../../../base/listed.ts';
import { type Decision, inPhase, type VmSituation, wait, wantsStop } from '../vm/decision.ts';

const IDLE_MS = 30_000;

/**
 * Returns the next step because of a lost disk; null if there is no lost disk, or if an action in progress ends the VM
 * anyway.
 */
export function decideLost(situation: VmSituation): Decision | null {
  const { vm, now } = situation;
  if (vm.deleting) return null;
  const why = whyLost(situation);
  if (why === null) return null;
  const { phase } = vm;
  if (phase.kind === 'stopped') {
    if (vm.stopRequest !== null) return null;
    if (vm.intent === 'stopped') return wait(why, IDLE_MS);
    const { startTask } = vm;
    return {
      kind: 'commit',
      vm: { ...vm, intent: 'stopped', startTask: null },
      event: { kind: 'disk-lost', message: why },
      tasks: startTask === null ? [] : [{ id: startTask, state: 'failed', message: why }],
    };
  }
  if ((phase.kind !== 'starting' && phase.kind !== 'running') || wantsStop(vm)) return null;
  const { incarnation } = phase;
  return {
    kind: 'commit',
    vm: inPhase(vm, { kind: 'stopping', incarnation, mode: 'hard', deadlineAt: now, reason: 'failed' }, now, {
      intent: 'stopped',
    }),
    event: { kind: 'disk-lost', message: why },
  };
}

function whyLost({ vm, disks, cluster }: VmSituation): string | null {
  const missing = disks.filter((disk) => disk.missing === true);
  if (missing.length > 0)
    return `${listed(missing.map(({ id }) => id))} of ${vm.name} is not there: it was deleted after the snapshot that the cluster was restored from. ${vm.name} never starts. Delete it (gp vm delete ${vm.name}).`;
  const lost = disks.filter(({ node }) => cluster.isLost(node));
  if (lost.length === 0) return null;
  const nodes = [...new Set(lost.map(({ node }) => node))];
  const what = `${listed(lost.map(({ id }) => id))} of ${vm.name} was on storage node ${nodes.join(', ')}, which is lost`;
  return `${what}: ${vm.name} never starts with it again. Delete it (gp vm delete ${vm.name}); its name is free after that.`;
}
