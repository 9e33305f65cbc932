/** Decides the next action for a VM that runs, or is meant to run (vm-decision.ts). */
import type { Incarnation } from '../../model/vm.ts';
import { decideDiskError } from '../disks/disk-error-decision.ts';
import { decideSharing } from '../disks/sharing-decision.ts';
import { decideSettling } from '../guest-clusters/settling-decision.ts';
import { beginMigration, withdrawNotice } from '../migration/migration-request.ts';
import { backoffLeft } from './backoff.ts';
import {
  beginStop,
  type Decision,
  inPhase,
  judgementOf,
  perform,
  STABLE_RUN_MS,
  settlePause,
  startNext,
  type VmSituation,
  wait,
  wantsStop,
} from './decision.ts';
import type { Judgement } from './verdict.ts';

const IDLE_MS = 30_000;

/** Decides the next thing for a VM in phase running. */
export function decideRunning(situation: VmSituation, incarnation: Incarnation): Decision {
  const { vm, acknowledged, phaseForMs } = situation;
  const judgement = judgementOf(situation, incarnation);
  if (wantsStop(vm)) return beginStop(situation, vm.deleting ? 'hard' : (vm.stopRequest?.mode ?? 'hard'));
  const ended = decideEnded(situation, incarnation, judgement);
  if (ended !== null) return ended;
  if (vm.resetRequest !== null) {
    if (acknowledged.reset !== vm.resetRequest.taskId) return perform({ do: 'reset', incarnation });
    return {
      kind: 'commit',
      vm: { ...vm, resetRequest: null },
      event: { kind: 'reset', message: `${vm.name} was reset.` },
      tasks: [{ id: vm.resetRequest.taskId, state: 'succeeded', message: 'Reset.' }],
    };
  }
  // A guest that is to be paused is paused already.
  if (judgement.verdict === 'disk-error' && vm.intent === 'running') return decideDiskError(situation, incarnation);
  // The migration was undone while QMP did not answer: QEMU refuses `cont` at the end of a stream that was not
  // cancelled.
  const { qmp } = situation.see(incarnation);
  if (qmp.kind === 'answers' && qmp.status === 'finish-migrate')
    return perform({ do: 'cancel-send', source: incarnation });
  // A migration that was undone leaves its source in postmigrate; only a record in phase running may continue it.
  const halted = judgement.verdict === 'paused' || judgement.verdict === 'moved-out';
  if (vm.intent === 'running' && halted) return perform({ do: 'cont', incarnation });
  if (vm.intent === 'suspended' && judgement.verdict === 'running') return perform({ do: 'halt', incarnation });
  const settled = settlePause(situation, incarnation, judgement.verdict);
  if (settled !== null) return settled;
  if (vm.failures !== null && judgement.verdict === 'running' && phaseForMs > STABLE_RUN_MS) {
    return {
      kind: 'commit',
      vm: { ...vm, failures: null },
      event: { kind: 'stable', message: `${vm.name} has run for a minute.` },
    };
  }
  const sharing = decideSharing(situation, incarnation);
  if (sharing !== null) return sharing;
  const settling = decideSettling(situation, incarnation, judgement.verdict);
  if (settling !== null) return settling;
  if (vm.migrationRequest !== null) return beginMigration(situation, incarnation, vm.migrationRequest);
  const withdrawn = withdrawNotice(situation);
  if (withdrawn !== null) return withdrawn;
  // Why, is the judgement's to say, to those who ask.
  return wait(judgement.verdict, IDLE_MS);
}

/** The decision after the incarnation ended, for any reason; null while it has not ended. */
function decideEnded(situation: VmSituation, incarnation: Incarnation, judgement: Judgement): Decision | null {
  const { vm } = situation;
  const { host } = incarnation;
  const { verdict } = judgement;
  switch (verdict) {
    case 'lost':
      if (vm.spec.restartPolicy === 'never')
        return endFor(situation, incarnation, 'failed', `${host} was lost and ${vm.name} is never restarted.`, host);
      return startNext(situation, {
        reason: 'lost',
        avoid: [host],
        why: `${host} was lost: ${judgement.because.at(-1) ?? ''}`,
        quarantine: { host, reason: `lost with ${vm.name}` },
      });
    case 'crashed':
    case 'incoming':
    case 'panicked': {
      // A QEMU that waits for a stream runs no guest: a late order launched it anew, and no source sends to it.
      const what =
        verdict !== 'panicked' ? `QEMU of ${vm.name} ended on ${host}` : `The guest of ${vm.name} panicked on ${host}`;
      if (vm.spec.restartPolicy === 'never')
        return endFor(situation, incarnation, 'failed', `${what}; it is never restarted.`, null);
      return afterCrash(situation, what);
    }
    case 'guest-shutdown':
      if (vm.spec.restartPolicy === 'always')
        return afterCrash(situation, `${vm.name} was shut down from inside and is to run always`);
      return endFor(situation, incarnation, 'guest-shutdown', `${vm.name} was shut down from inside.`, null);
    default:
      return null;
  }
}

function afterCrash(situation: VmSituation, what: string): Decision {
  const leftMs = backoffLeft(situation.vm, situation.now);
  if (leftMs > 0) return wait(`${what}; starting again in ${Math.ceil(leftMs / 1000)} s.`, leftMs);
  return startNext(situation, {
    reason: 'crashed',
    avoid: [],
    why: `${what}.`,
    failure: what,
  });
}

function endFor(
  situation: VmSituation,
  incarnation: Incarnation,
  reason: 'guest-shutdown' | 'failed',
  message: string,
  lost: Incarnation['host'] | null,
): Decision {
  const { vm, now } = situation;
  return {
    kind: 'commit',
    vm: inPhase(vm, { kind: 'stopping', incarnation, mode: 'hard', deadlineAt: now, reason }, now, {
      intent: 'stopped',
    }),
    event: { kind: reason, message },
    ...(lost === null ? {} : { quarantine: { host: lost, reason: `lost with ${vm.name}` } }),
  };
}
