/**
 * Whether a member of a guest cluster that was moved is seen healthy again. Pure. Until then it counts as disturbed
 * (guest-cluster-limits.ts), so that the next member waits.
 * Guarantees: no wait is longer than SETTLE_MS, or than the guest cluster declared for its ready-check: a member that
 * does not become healthy does not delay maintenance for ever, and the cluster reports it. A guest without an agent is
 * judged by its keys.
 */
import type { ReadyCheck } from '../../model/guest-cluster.ts';
import { type Incarnation, type SeenHealthy, settled, sharedDisksOf, type VmRecord } from '../../model/vm.ts';
import { type Decision, type Readiness, type VmSituation, wait } from '../vm/decision.ts';
import type { Verdict } from '../vm/verdict.ts';

/**
 * How long a moved member may take to be seen healthy unless its ready-check has another limit, in ms by this leader's
 * clock.
 */
export const SETTLE_MS = 300_000;
/** A guest's agent that was silent for so long since the move is none, in ms. */
export const NO_AGENT_MS = 20_000;
const LOOK_MS = 1_000;

/** Decides the next action for a member that was moved and runs; null: its health is not awaited. */
export function decideSettling(situation: VmSituation, { host }: Incarnation, verdict: Verdict): Decision | null {
  const { vm, phaseForMs, cluster, readiness } = situation;
  if (vm.settling === undefined) return null;
  const check = cluster.index.guestClusterOf(vm)?.readyCheck;
  const missing =
    verdict !== 'running'
      ? `its guest is ${verdict}`
      : (whatIsMissing(situation, vm.settling.registered) ?? whatIsNotReady(check, readiness));
  if (missing === null) {
    const how = check !== undefined && readiness.kind === 'ready' ? 'by-check' : 'by-keys';
    const message = `${vm.name} is seen healthy on ${host} after its move${because(check, how)}.`;
    return settle(vm, { how, kind: 'member-healthy', message });
  }
  const limitMs = check?.withinMs ?? SETTLE_MS;
  if (phaseForMs >= limitMs) {
    const message = `${vm.name} was not seen healthy within ${limitMs / 1_000} s of its move: ${missing}. The cluster no longer waits for it.`;
    return settle(vm, { how: 'no', kind: 'member-not-healthy', message });
  }
  // A person who asked for another move of it knows better.
  return vm.migrationRequest === null ? wait(`${vm.name} has not been seen healthy yet: ${missing}.`, LOOK_MS) : null;
}

interface Settled {
  readonly how: SeenHealthy;
  readonly kind: string;
  readonly message: string;
}

function settle(vm: VmRecord, { how, kind, message }: Settled): Decision {
  return { kind: 'commit', vm: { ...settled(vm), seenHealthy: how }, event: { kind, message } };
}

function because(check: ReadyCheck | undefined, how: SeenHealthy): string {
  if (how === 'by-check') return ': its ready-check succeeded';
  return check === undefined ? '' : ' by its keys: no agent answers in its guest, so its ready-check was not run';
}

/** Null: the check succeeded, or there is none, or the guest has no agent that would run it. */
function whatIsNotReady(check: ReadyCheck | undefined, readiness: Readiness): string | null {
  if (check === undefined) return null;
  switch (readiness.kind) {
    case 'ready':
      return null;
    case 'not-ready':
      return `its ready-check ${readiness.why}`;
    case 'unasked':
      return 'its ready-check was not run yet';
    case 'silent':
      return readiness.forMs >= NO_AGENT_MS ? null : 'the agent in its guest does not answer yet';
  }
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
