/** Decides the next action for a VM that starts (vm-decision.ts). */
import type { Generation } from '../../../base/ids.ts';
import type { Incarnation, VmPhase } from '../../model/vm.ts';
import { missingSharedDisk } from '../disks/sharing-decision.ts';
import { backoffLeft, STEP_RETRY_MS } from './backoff.ts';
import {
  beginStop,
  type Decision,
  hasLostPatience,
  inPhase,
  isFenced,
  judgementOf,
  perform,
  startNext,
  type VmSituation,
  wait,
  wantsStop,
} from './decision.ts';
import { afterRefusal, endRefused, isFinal, refusedDisk } from './refused-start.ts';
import type { StepFailure } from './steps.ts';

/**
 * How often a launch may fail on one host before another host is tried; after a missed deadline, another host is tried
 * at once.
 */
const LAUNCH_ATTEMPTS = 2;
/** How long a QEMU that was launched and never told to run may be silent before another host is used, in ms. */
const QMP_PATIENCE_MS = 10_000;

/** Decides the next thing for a VM in phase starting. */
export function decideStarting(situation: VmSituation, phase: Extract<VmPhase, { kind: 'starting' }>): Decision {
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

/**
 * An earlier leader launched it, and its agent has died since: its answers over QMP count like those of any other QEMU.
 */
function isThereAlready(situation: VmSituation, incarnation: Incarnation): boolean {
  const { qmp } = situation.see(incarnation);
  return qmp.kind === 'answers' && judgementOf(situation, incarnation).verdict !== 'crashed';
}

/**
 * Handles a launch that this leader waited for in vain and whose guest it never told to run: the agent may also give
 * the launch up when it continues, and end a QEMU that answers.
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

/** Whether a step failed with an answer: a host that says that it did not launch a QEMU does not run it. */
function isAnswer({ code }: StepFailure): boolean {
  return code !== null && code !== 'deadline' && code !== 'unavailable';
}

/**
 * Whether no guest of a starting generation can have run: this leader began it and never told it to run, or its process
 * does not exist.
 */
function losesNothing({ acknowledged, see }: VmSituation, incarnation: Incarnation): boolean {
  return acknowledged.neverContinued.has(incarnation.generation) || see(incarnation).qmp.kind === 'refused';
}
