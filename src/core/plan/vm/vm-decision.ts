/**
 * Decides the next action for one VM: a pure function of its record, the observations of it, and this leader's
 * acknowledgements.
 * Guarantees: no step is decided that the protocol (docs/specs/protocol.md) does not allow in the record's phase;
 * `cont` of an incarnation only while it is current and everything below it is fenced; `launch` only of a generation
 * that is granted. The caller repeats: decide, carry out one thing, decide again, until `wait`.
 */
import { unreachable } from '../../../base/assert.ts';
import { decideLost } from '../disks/lost-storage.ts';
import { decideSharingStopped, missingSharedDisk } from '../disks/sharing-decision.ts';
import { decideMigrating, decideSwitching, decideUnwinding } from '../migration/migration-decision.ts';
import { backoffLeft, STEP_RETRY_MS } from './backoff.ts';
import { type Decision, perform, startNext, type VmSituation, wait } from './decision.ts';
import { endRefused, refusedDisk } from './refused-start.ts';
import { decideRunning } from './running-decision.ts';
import { decideStarting } from './starting-decision.ts';
import { decideStopping } from './stopping-decision.ts';

const IDLE_MS = 30_000;

/** Decides the next thing for one VM. */
export function decide(situation: VmSituation): Decision {
  const retry = retryPause(situation);
  if (retry !== null) return retry;
  const lost = decideLost(situation);
  if (lost !== null) return lost;
  const { phase } = situation.vm;
  switch (phase.kind) {
    case 'stopped':
      return decideStopped(situation);
    case 'starting':
      return decideStarting(situation, phase);
    case 'running':
      return decideRunning(situation, phase.incarnation);
    case 'stopping':
      return decideStopping(situation, phase);
    case 'migrating':
      return decideMigrating(situation, phase);
    case 'switching':
      return decideSwitching(situation, phase);
    case 'unwinding':
      return decideUnwinding(situation, phase);
    default:
      return unreachable(phase);
  }
}

function retryPause({ acknowledged, monotonicMs }: VmSituation): Decision | null {
  const { failure } = acknowledged;
  if (failure === null || failure.step.do === 'launch' || failure.step.do === 'share') return null;
  const left = Math.ceil(failure.at + STEP_RETRY_MS - monotonicMs);
  return left > 0 ? wait(`${failure.step.do} failed: ${failure.message}`, left) : null;
}

function decideStopped(situation: VmSituation): Decision {
  const { vm, disks, now } = situation;
  if (vm.deleting) {
    const [disk] = disks;
    if (disk !== undefined) return perform({ do: 'delete-disk', disk: disk.id });
    return { kind: 'remove', event: { kind: 'deleted', message: `${vm.name} was deleted.` } };
  }
  if (vm.stopRequest !== null) {
    return {
      kind: 'commit',
      vm: { ...vm, stopRequest: null },
      event: { kind: 'stopped', message: `${vm.name} is stopped already.` },
      tasks: [{ id: vm.stopRequest.taskId, state: 'succeeded', message: 'It was stopped already.' }],
    };
  }
  const settled = decideSharingStopped(situation);
  if (settled !== null) return settled;
  const creating = disks.find((disk) => disk.phase === 'creating');
  const refused = creating === undefined ? null : refusedDisk(situation);
  if (refused !== null)
    return vm.intent === 'stopped' ? wait(refused.message, IDLE_MS) : endRefused(situation, null, refused.message);
  if (creating !== undefined) return perform({ do: 'create-disk', disk: creating.id });
  if (vm.intent === 'stopped') return wait('stopped, as intended', IDLE_MS);
  const missing = missingSharedDisk(situation);
  if (missing !== null) return wait(missing);
  const leftMs = backoffLeft(vm, now);
  if (leftMs > 0)
    return wait(
      `Waiting ${Math.ceil(leftMs / 1000)} s after ${vm.failures?.count ?? 0} failures: ${vm.failures?.message ?? ''}`,
      leftMs,
    );
  return startNext(situation, { reason: 'requested', avoid: [], why: `${vm.name} is to run.` });
}
