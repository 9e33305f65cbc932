/**
 * Whether a member of a guest cluster that was moved is seen healthy again. Pure. Until then it counts as disturbed
 * (guest-cluster-limits.ts), so that the next member waits.
 *
 * Guarantees: nothing is awaited for longer than SETTLE_MS: a member that does not get well holds no maintenance up for
 * ever, and the cluster says so.
 */
import { type Incarnation, settled, sharedDisksOf, type VmRecord } from '../../model/vm.ts';
import { type Decision, type VmSituation, wait } from '../vm/decision.ts';
import type { Verdict } from '../vm/verdict.ts';

/** How long a moved member may take to be seen healthy, in ms by this leader's clock. */
export const SETTLE_MS = 300_000;
const LOOK_MS = 1_000;

/** What comes next for a member that was moved and runs; null: nothing is awaited of it. */
export function decideSettling(situation: VmSituation, { host }: Incarnation, verdict: Verdict): Decision | null {
  const { vm, phaseForMs } = situation;
  if (vm.settling === undefined) return null;
  const missing = verdict === 'running' ? whatIsMissing(situation, vm.settling.registered) : `its guest is ${verdict}`;
  if (missing === null) return settle(vm, 'member-healthy', `${vm.name} is seen healthy on ${host} after its move.`);
  if (phaseForMs >= SETTLE_MS)
    return settle(
      vm,
      'member-not-healthy',
      `${vm.name} was not seen healthy within ${SETTLE_MS / 60_000} minutes of its move: ${missing}. It is not waited for any longer.`,
    );
  // A person who asked for another move of it knows better.
  return vm.migrationRequest === null ? wait(`${vm.name} is not seen healthy yet: ${missing}.`, LOOK_MS) : null;
}

function settle(vm: VmRecord, kind: string, message: string): Decision {
  return { kind: 'commit', vm: settled(vm), event: { kind, message } };
}

/** The reservations' view: a member that lost a key while it moved was fenced by the others. */
function whatIsMissing(
  { vm, cluster }: VmSituation,
  registered: NonNullable<VmRecord['settling']>['registered'],
): string | null {
  const held = new Set(sharedDisksOf(vm).map(({ disk }) => disk));
  const now = new Set(cluster.registeredOn(vm));
  const lost = registered.find((disk) => held.has(disk) && !now.has(disk));
  return lost === undefined ? null : `it has lost its key on ${cluster.index.sharedDisk(lost)?.name ?? lost}`;
}
