/**
 * What to do next for one VM: a pure function of its record, what is seen of it, and what this leader had acknowledged.
 *
 * Guarantees: no step is decided that the protocol (docs/specs/protocol.md) does not allow in the record's phase;
 * `cont` of an incarnation only while it is current and everything below it is fenced; `launch` only of a generation
 * that is granted. The caller repeats: decide, carry out one thing, decide again, until `wait`.
 */
import { unreachable } from '../../../base/assert.ts';
import type { Generation, HostName } from '../../../base/ids.ts';
import { nextGeneration } from '../../../base/ids.ts';
import type { Incarnation, VmPhase, VmRecord } from '../../model/vm.ts';
import { diskErrorCause, diskErrorWords } from '../disks/disk-error.ts';
import { decideLost } from '../disks/lost-storage.ts';
import { decideSharing, decideSharingStopped, missingSharedDisk } from '../disks/sharing-decision.ts';
import { decideSettling } from '../guest-clusters/settling-decision.ts';
import { decideMigrating, decideSwitching, decideUnwinding } from '../migration/migration-decision.ts';
import { beginMigration, withdrawNotice } from '../migration/migration-request.ts';
import {
  beginStop,
  type Decision,
  hasLastedEnough,
  hasLostPatience,
  inPhase,
  isFenced,
  judgementOf,
  perform,
  STABLE_RUN_MS,
  settlePause,
  startNext,
  type TaskOutcome,
  type VmSituation,
  wait,
  wantsStop,
} from './decision.ts';
import { afterRefusal, endRefused, isFinal, refusedDisk } from './refused-start.ts';
import type { StepFailure } from './steps.ts';
import type { Judgement, Verdict } from './verdict.ts';

/** Back-off between attempts to start after failures: 1 s, doubling, at most 60 s. */
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 60_000;
/** A step that failed is tried again after this. */
const STEP_RETRY_MS = 500;
/**
 * How often a launch may fail on one host before another host is tried; after a missed deadline, another host is tried
 * at once.
 */
const LAUNCH_ATTEMPTS = 2;
/** How long a QEMU that was launched and never told to run may be silent before another host is used, in ms. */
const QMP_PATIENCE_MS = 10_000;
/** A guest paused by a disk error whose host alone has lost the storage is restarted elsewhere after this. */
const DISK_ERROR_RESTART_MS = 3_000;
/** A guest whose disk error came back is continued again after this. */
const DISK_ERROR_RETRY_MS = 5_000;
/** Pause before the power button is pressed again, in ms, until the guest has ended or its time is over. */
const POWER_BUTTON_MS = 2_000;
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

/** The time left before the next attempt, in ms; the clock going backwards ends it. */
function backoffLeft(vm: VmRecord, now: number): number {
  if (vm.failures === null || vm.failures.count === 0) return 0;
  const backoffMs = Math.min(BACKOFF_FIRST_MS * 2 ** (vm.failures.count - 1), BACKOFF_MAX_MS);
  const left = vm.failures.lastAt + backoffMs - now;
  return left > backoffMs ? 0 : Math.max(0, left);
}

function decideStarting(situation: VmSituation, phase: Extract<VmPhase, { kind: 'starting' }>): Decision {
  const { vm, disks, acknowledged, now, monotonicMs } = situation;
  const { incarnation } = phase;
  const { generation, host } = incarnation;
  if (wantsStop(vm)) return beginStop(situation, 'hard');
  const judgement = judgementOf(situation, incarnation);
  const { verdict } = judgement;
  if (verdict === 'lost') {
    return startNext(situation, {
      reason: 'lost',
      avoid: [...phase.avoid, host],
      why: `${host} was lost while ${vm.name} started there: ${judgement.because.at(-1) ?? ''}`,
      quarantine: { host, reason: `lost with ${vm.name}` },
    });
  }
  const creating = disks.find((disk) => disk.phase === 'creating');
  const refused = creating === undefined ? null : refusedDisk(situation);
  if (refused !== null) return endRefused(situation, incarnation, refused.message);
  if (creating !== undefined) return perform({ do: 'create-disk', disk: creating.id });
  const missing = missingSharedDisk(situation);
  if (missing !== null) return wait(missing);
  if (!isFenced(situation, generation)) return perform({ do: 'fence', below: generation });
  if (!acknowledged.granted.has(generation)) return perform({ do: 'grant', generation });
  const isThere = isThereAlready(situation, incarnation);
  if (!acknowledged.launched.has(generation) && (!isThere || isLaunchLate(situation, generation))) {
    const next = decideLaunch(situation, phase);
    // If no other host can run the VM, the present QEMU is kept.
    const isLeft = hasLostPatience(situation.see(incarnation).host, situation.phaseForMs);
    if (!isThere || next.kind !== 'wait' || !isLeft) return next;
  }
  if (verdict === 'crashed') {
    return startNext(situation, {
      reason: 'launch-failed',
      avoid: [],
      why: `QEMU of ${vm.name} ended on ${host} while it started.`,
      failure: 'QEMU ended while it started',
    });
  }
  if (verdict === 'running' || (verdict === 'paused' && vm.intent === 'suspended')) {
    return {
      kind: 'commit',
      vm: inPhase(vm, { kind: 'running', incarnation }, now, { startTask: null }),
      event: { kind: 'running', message: `${vm.name} runs on ${host}, generation ${generation}.` },
      ...(vm.startTask === null
        ? {}
        : { tasks: [{ id: vm.startTask, state: 'succeeded', message: `${vm.name} runs on ${host}.` }] }),
    };
  }
  if (verdict === 'paused' || verdict === 'disk-error') return perform({ do: 'cont', incarnation });
  if (verdict === 'guest-shutdown' || verdict === 'panicked') {
    return {
      kind: 'commit',
      vm: inPhase(vm, { kind: 'running', incarnation }, now),
      event: { kind: 'running', message: `${vm.name} ran on ${host} and ended.` },
    };
  }
  const launchedAt = acknowledged.neverContinued.get(generation) ?? null;
  if (launchedAt !== null && monotonicMs - launchedAt >= QMP_PATIENCE_MS) {
    const leftMs = backoffLeft(vm, now);
    const failure = `QEMU of ${vm.name} was launched on ${host} and does not answer`;
    if (leftMs > 0) return wait(`${failure}.`, leftMs);
    const avoid = [...phase.avoid, host];
    return startNext(situation, { reason: 'launch-failed', avoid, why: `${failure}.`, failure });
  }
  return wait(`Waiting for QMP of ${vm.name} on ${host}.`);
}

/** The leader before launched it, and its agent has died since: what QMP says of it counts as it does of any other. */
function isThereAlready(situation: VmSituation, incarnation: Incarnation): boolean {
  const { qmp } = situation.see(incarnation);
  return qmp.kind === 'answers' && judgementOf(situation, incarnation).verdict !== 'crashed';
}

/**
 * Handles a launch that this leader waited for in vain and never told to run: the agent may also give the launch up
 * when it continues, and end a QEMU that answers.
 */
function isLaunchLate({ acknowledged }: VmSituation, generation: Generation): boolean {
  const { failure, neverContinued } = acknowledged;
  return failure?.step.do === 'launch' && failure.code === 'deadline' && neverContinued.has(generation);
}

function decideLaunch(situation: VmSituation, phase: Extract<VmPhase, { kind: 'starting' }>): Decision {
  const { vm, acknowledged, now, monotonicMs, see } = situation;
  const { incarnation } = phase;
  const { failure } = acknowledged;
  const failedHere =
    failure?.step.do === 'launch' && failure.step.incarnation.generation === incarnation.generation ? failure : null;
  const isRefused = failedHere !== null && isFinal(failedHere);
  if (isRefused) {
    const next = afterRefusal(situation, incarnation, phase.avoid);
    if (next === 'end') return endRefused(situation, incarnation, failedHere.message);
    if (next === 'wait') return wait(`${incarnation.host} refused ${vm.name}, and not every host was asked yet.`);
  }
  // A host that did not answer may run it since an earlier leader continued it.
  if (failedHere !== null && (isAnswer(failedHere) || losesNothing(situation, incarnation))) {
    const isOver = isRefused || failedHere.count >= LAUNCH_ATTEMPTS;
    const leftMs = isRefused ? 0 : backoffLeft(vm, now);
    if (isOver && leftMs > 0) return wait(`Launch failed: ${failedHere.message}`, leftMs);
    const next = startNext(situation, {
      reason: 'launch-failed',
      avoid: [...phase.avoid, incarnation.host],
      why: `QEMU of ${vm.name} could not be launched on ${incarnation.host}: ${failedHere.message}`,
      failure: failedHere.message,
      ...(isRefused ? { refusedBy: incarnation.host } : {}),
      ...(isOver ? {} : { strict: true }),
    });
    if (isOver) return next;
    // Another host is used, if there is one, instead of waiting for a second deadline.
    if (failedHere.code === 'deadline' && leftMs === 0 && next.kind === 'commit') return next;
  }
  const left = failedHere === null ? 0 : Math.ceil(failedHere.at + STEP_RETRY_MS - monotonicMs);
  if (left > 0) return wait(`Launch on ${incarnation.host} failed: ${failedHere?.message ?? ''}`, left);
  const { host } = see(incarnation);
  if (host.agent !== 'silent') return perform({ do: 'launch', incarnation, incoming: false });
  const why = `The agent of ${incarnation.host} is silent, so nothing can be launched there`;
  const isLeft = hasLostPatience(host, situation.phaseForMs) && losesNothing(situation, incarnation);
  const avoid = [...phase.avoid, incarnation.host];
  const elsewhere = isLeft ? startNext(situation, { reason: 'launch-failed', avoid, why: `${why}.` }) : null;
  // If no other host can run the VM, the agent may still come back.
  return elsewhere?.kind === 'commit' ? elsewhere : wait(`${why} yet.`);
}

/** Whether a step failed by an answer: a host that says that it did not launch a QEMU does not run it. */
function isAnswer({ code }: StepFailure): boolean {
  return code !== null && code !== 'deadline' && code !== 'unavailable';
}

/**
 * Whether no guest of a generation that is starting can have run: this leader began it and never told it to, or its
 * process is not there.
 */
function losesNothing({ acknowledged, see }: VmSituation, incarnation: Incarnation): boolean {
  return acknowledged.neverContinued.has(incarnation.generation) || see(incarnation).qmp.kind === 'refused';
}

function decideRunning(situation: VmSituation, incarnation: Incarnation): Decision {
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
  // A guest that is to stand still does so already.
  if (judgement.verdict === 'disk-error' && vm.intent === 'running') return decideDiskError(situation, incarnation);
  // The migration was undone while QMP did not answer: QEMU refuses `cont` at the end of a stream that nobody
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

/** What follows when the incarnation ended, whatever made it end; null while it has not. */
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
      // One that waits for a stream is no incarnation that runs: it was launched anew by an order that came late, and
      // nobody sends to it.
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

/**
 * A current incarnation paused by a disk error: continue it when storage is there again; move it when its host alone is
 * cut off.
 */
function decideDiskError(situation: VmSituation, incarnation: Incarnation): Decision {
  const { vm, cluster, acknowledged, monotonicMs } = situation;
  const cause = diskErrorCause(situation, incarnation);
  const why = diskErrorWords(situation, incarnation, cause);
  if (cause.kind === 'down') return wait(why);
  if (cause.kind === 'closed') return decideClosed(situation, incarnation, { why, reaching: cause.reaching });
  const { diskError } = acknowledged;
  if (cause.kind !== 'cut') {
    // What is broken may stay broken (a full pool): continuing again and again would keep everybody busy and mend
    // nothing.
    const again = diskError?.continuedAt == null ? 0 : diskError.continuedAt + DISK_ERROR_RETRY_MS;
    const left = Math.ceil(again - monotonicMs);
    if (left > 0) return wait(why, left);
    // A storage service that restarted while it could not read the record serves none of the VM's disks until it is
    // ordered to.
    if (!acknowledged.granted.has(incarnation.generation))
      return perform({ do: 'grant', generation: incarnation.generation });
    return perform({ do: 'cont', incarnation });
  }
  const cutHosts = new Set([incarnation.host, ...cluster.hostsWithStorageCut()]);
  const elsewhere = cluster.index.byFreeMemory().some(({ host }) => !cutHosts.has(host));
  if (
    !elsewhere ||
    monotonicMs - (diskError?.since ?? monotonicMs) < DISK_ERROR_RESTART_MS ||
    vm.spec.restartPolicy === 'never'
  ) {
    return wait(why);
  }
  return startNext(situation, {
    reason: 'lost',
    avoid: [...cutHosts],
    strict: true,
    why: `${incarnation.host} lost its storage (${cause.nodes.join(', ')}) and ${vm.name} was paused by it.`,
  });
}

/**
 * Starts the VM on a host that can connect to its disks, if only the VM's own host cannot although the storage nodes
 * answer.
 */
function decideClosed(
  situation: VmSituation,
  incarnation: Incarnation,
  { why, reaching }: { readonly why: string; readonly reaching: readonly HostName[] },
): Decision {
  const { vm, cluster, acknowledged, monotonicMs } = situation;
  const lasts = monotonicMs - (acknowledged.diskError?.since ?? monotonicMs);
  if (lasts < DISK_ERROR_RESTART_MS || vm.spec.restartPolicy === 'never') return wait(why);
  const others = cluster.index.byFreeMemory().map(({ host }) => host);
  const avoid = [incarnation.host, ...others.filter((host) => !reaching.includes(host))];
  return startNext(situation, { reason: 'lost', avoid: [...new Set(avoid)], strict: true, why });
}

function decideStopping(situation: VmSituation, phase: Extract<VmPhase, { kind: 'stopping' }>): Decision {
  const { vm, acknowledged, now } = situation;
  const { incarnation } = phase;
  const { verdict } = judgementOf(situation, incarnation);
  const seen = situation.see(incarnation);
  const { ended, resisted } = acknowledged;
  // A process that does not end is fenced all the same, and ended later, when no record names it.
  const isOut = ended.has(incarnation.generation) || resisted.has(incarnation.generation);
  const over = isOut || verdict === 'crashed' || verdict === 'lost';
  if (!over && phase.mode === 'acpi' && verdict !== 'guest-shutdown' && verdict !== 'panicked') {
    const hardNow = vm.deleting || (vm.stopRequest?.mode === 'hard' && vm.stopRequest.patienceMs === 0);
    if (hasLastedEnough(situation, phase) || hardNow) {
      return {
        kind: 'commit',
        vm: inPhase(vm, { ...phase, mode: 'hard' }, now),
        event: {
          kind: 'stopping',
          message: hardNow
            ? `${vm.name} is powered off.`
            : `The guest of ${vm.name} did not shut down in time: it is powered off.`,
        },
      };
    }
    // A migration that was undone because of this stop has left its guest halted.
    if (verdict === 'paused' || verdict === 'moved-out') return perform({ do: 'cont', incarnation });
    // A booting guest does not react to the power button yet, and forgets earlier presses.
    const pressedAt = acknowledged.poweredDown.get(incarnation.generation);
    const untilPressMs = pressedAt === undefined ? 0 : pressedAt + POWER_BUTTON_MS - situation.monotonicMs;
    if (untilPressMs <= 0) return perform({ do: 'power-down', incarnation });
    const leftMs = phase.deadlineAt - vm.phaseSince - situation.phaseForMs;
    return wait(
      `Waiting for the guest of ${vm.name} to shut down.`,
      Math.max(50, Math.ceil(Math.min(untilPressMs, leftMs))),
    );
  }
  if (phase.mode === 'acpi') {
    // Only a record in mode `hard` admits no generation: it stands before the fence, so that no restarted storage
    // service grants anew.
    return {
      kind: 'commit',
      vm: inPhase(vm, { ...phase, mode: 'hard' }, now),
      event: { kind: 'stopping', message: `The guest of ${vm.name} has ended.` },
    };
  }
  if (!over && seen.host.agent === 'alive') return perform({ do: 'end', incarnation, by: 'agent' });
  if (!over && seen.qmp.kind === 'answers') return perform({ do: 'end', incarnation, by: 'qmp' });
  // Neither way reaches it: the fence is what ends it. Whatever still computes there reaches no disk and is killed when
  // its host is seen again.
  const below = nextGeneration(vm.generation);
  if (!isFenced(situation, below)) return perform({ do: 'fence', below });
  return {
    kind: 'commit',
    vm: inPhase(vm, { kind: 'stopped' }, now, {
      stopRequest: null,
      resetRequest: null,
      migrationRequest: null,
      pauseTask: null,
      ...(startAgain(vm) ? {} : { startTask: null }),
      ...(phase.reason === 'requested' ? { failures: null } : {}),
    }),
    event: { kind: 'stopped', message: stoppedWords(situation, incarnation, verdict) },
    // It may still compute there, and speak to its networks.
    ...(verdict === 'lost' ? { quarantine: { host: incarnation.host, reason: `lost with ${vm.name}` } } : {}),
    tasks: tasksOfStop(vm),
  };
}

/**
 * A process that nobody saw end may still compute, without its disks. Its host is not quarantined for it: the host is
 * there, and other guests on it would lose their networks.
 */
function stoppedWords({ vm, acknowledged }: VmSituation, { generation, host }: Incarnation, verdict: Verdict): string {
  if (acknowledged.ended.has(generation) || verdict === 'crashed' || verdict === 'lost')
    return `${vm.name} is stopped.`;
  return (
    `${vm.name} is stopped: its disks are cut off from it. Its process on ${host} did not end, and may still speak to its networks; ` +
    `it is ended as soon as the agent of ${host} can.`
  );
}

/** How the tasks end that the stop answers. A start that was asked for since then is still to be carried out. */
function tasksOfStop(vm: VmRecord): TaskOutcome[] {
  const failed = [
    vm.migrationRequest?.taskId,
    vm.resetRequest?.taskId,
    vm.pauseTask,
    startAgain(vm) ? null : vm.startTask,
  ];
  return [
    ...(vm.stopRequest === null
      ? []
      : [{ id: vm.stopRequest.taskId, state: 'succeeded', message: 'Stopped.' } as const]),
    ...failed.flatMap((id): TaskOutcome[] =>
      id === null || id === undefined ? [] : [{ id, state: 'failed', message: `${vm.name} was stopped.` }],
    ),
  ];
}

function startAgain(vm: VmRecord): boolean {
  return vm.intent !== 'stopped' && !vm.deleting;
}
