/**
 * Whether a member of a guest cluster may be moved now. Pure. Groundplane itself disturbs a member only by moving it:
 * it cannot prevent that people stop members or that members fail, but it counts those.
 * Guarantees: no move begins that would make more than `maxDisturbed` members move, start or not run at once; no move
 * begins whose predicted pause is longer than the guest cluster tolerates. A member that was moved counts until it is
 * seen running and healthy again, and a member whose guest was given notice of its move counts from then on.
 */
import type { GuestClusterRecord } from '../../model/guest-cluster.ts';
import type { VmRecord } from '../../model/vm.ts';
import { predictPause } from '../migration/pause-prediction.ts';
import type { ClusterSituation } from '../vm/decision.ts';

/** Why not. `passes`: it goes away without anybody doing anything, as far as can be known. */
export interface Obstacle {
  readonly why: string;
  readonly passes: boolean;
}

type Seen = Pick<ClusterSituation, 'index' | 'seesRunning'>;

/** The obstacle to moving `vm`, or null: it is in no guest cluster, or its cluster allows the move. */
export function moveObstacle(vm: VmRecord, seen: Seen): Obstacle | null {
  const cluster = seen.index.guestClusterOf(vm);
  if (cluster === null) return null;
  const { ms, because } = predictPause({ measuredMs: vm.pausesMs ?? [], memoryBytes: vm.spec.memoryBytes });
  if (ms > cluster.toleratesMs) {
    const why = `The move would pause ${vm.name} for about ${ms} ms (${because}), and guest cluster ${cluster.name} tolerates ${cluster.toleratesMs} ms.`;
    return { why, passes: false };
  }
  const disturbed = disturbedMembers(cluster, seen, vm);
  if (disturbed.length < cluster.maxDisturbed) return null;
  const bears = cluster.maxDisturbed === 1 ? '1 disturbed member' : `${cluster.maxDisturbed} disturbed members`;
  return {
    why: `Guest cluster ${cluster.name} allows ${bears} at once: ${disturbed.map(({ why }) => why).join(', ')}.`,
    passes: disturbed.filter(({ passes }) => !passes).length < cluster.maxDisturbed,
  };
}

/** The members that are disturbed now, `except` left out, each with how. */
export function disturbedMembers(cluster: GuestClusterRecord, seen: Seen, except: VmRecord | null = null): Obstacle[] {
  return cluster.members.flatMap((id) => {
    const member = id === except?.id ? null : seen.index.vm(id);
    return member === null ? [] : (disturbanceOf(member, seen.seesRunning, isTold(except)) ?? []);
  });
}

/** A guest that was given notice of its move may be moving its services away. */
const isTold = (vm: VmRecord | null): boolean => vm?.notice?.state === 'scheduled';

/** `ignoresTold`: if two members have been given notice of their moves, one of them must go first. */
function disturbanceOf(vm: VmRecord, seesRunning: Seen['seesRunning'], ignoresTold: boolean): Obstacle | null {
  const { name, phase, intent, deleting } = vm;
  if (deleting || intent === 'stopped') return { why: `${name} is stopped`, passes: false };
  if (intent === 'suspended') return { why: `${name} is paused`, passes: false };
  switch (phase.kind) {
    case 'migrating':
    case 'switching':
      return { why: `${name} moves from ${phase.source.host} to ${phase.destination.host}`, passes: true };
    case 'unwinding':
      return { why: `the move of ${name} to ${phase.destination.host} is being undone`, passes: true };
    case 'starting':
      return { why: `${name} starts on ${phase.incarnation.host}`, passes: true };
    case 'stopped':
    case 'stopping':
      return { why: `${name} does not run yet`, passes: true };
    case 'running':
      if (!seesRunning(vm)) return { why: `${name} has not been seen running yet`, passes: true };
      if (vm.settling !== undefined)
        return { why: `${name} has not been seen healthy yet after its move`, passes: true };
      if (isTold(vm) && !ignoresTold) return { why: `${name} has been told that it is about to move`, passes: true };
      return null;
  }
}
