/**
 * The part of vm-decision.ts about a live migration that has begun (migration-request.ts begins it).
 * Guarantees: the commit (phase switching) is decided only when the destination is paused with the guest's whole state
 * and the source says that it has sent that state and is paused; the source is continued only in phase unwinding or
 * running, after the destination's grant was revoked; the destination is continued only in phase switching, after
 * everything below it was fenced.
 */
import type { QmpObservation } from '../../model/observation.ts';
import { pauseAllowedMs } from '../../model/pause-allowance.ts';
import { type Incarnation, migrationPolicyOf, type VmPhase, type VmRecord } from '../../model/vm.ts';
import {
  beginStop,
  type Decision,
  hasLastedEnough,
  inPhase,
  isFenced,
  judgementOf,
  perform,
  settlePause,
  startNext,
  type TaskOutcome,
  type VmSituation,
  wait,
  wantsStop,
} from '../vm/decision.ts';
import type { Verdict } from '../vm/verdict.ts';
import { withPause } from './pause-prediction.ts';

/** The time until a source whose run state is about to change is asked again, in ms. */
const ENDING_MS = 2;
/** How long a silent source keeps a destination waiting that has loaded everything, in ms. */
const SOURCE_SILENT_MS = 5_000;

/** A guest that is paused for the end of its migration for longer than this continues on its source, in ms. */
const STANDING_MS = 10_000;

type Migrating = Extract<VmPhase, { kind: 'migrating' }>;
type Switching = Extract<VmPhase, { kind: 'switching' }>;
type Unwinding = Extract<VmPhase, { kind: 'unwinding' }>;

function outcome(
  taskId: TaskOutcome['id'] | null,
  state: TaskOutcome['state'],
  message: string,
): { tasks: readonly TaskOutcome[] } {
  return { tasks: taskId === null ? [] : [{ id: taskId, state, message }] };
}

function unwind(vm: VmRecord, phase: Migrating, reason: string, now: number): Decision {
  const { source, destination, taskId } = phase;
  const cancelled = isCancelled(vm, phase) ? ({ cancelled: true } as const) : {};
  return {
    kind: 'commit',
    vm: inPhase(vm, { kind: 'unwinding', source, destination, taskId, reason, ...cancelled }, now),
    event: {
      kind: 'migration-undone',
      message: `The migration of ${vm.name} to ${destination.host} is undone: ${reason}`,
    },
  };
}

/** Returns true if a user cancelled this migration. */
function isCancelled({ cancelRequest }: VmRecord, { taskId }: Migrating): boolean {
  return taskId !== null && cancelRequest?.taskId === taskId;
}

/**
 * The run states of a destination that has loaded everything; QEMU leaves `inmigrate` only after a complete stream. If
 * the source did not run, the destination gets the source's run state: one paused by a disk error arrives as
 * `io-error`, one never continued as `prelaunch` (migration.c, 7.2).
 */
const COMPLETE: ReadonlySet<string> = new Set([
  'paused',
  'prelaunch',
  'io-error',
  'shutdown',
  'guest-panicked',
  'internal-error',
  'watchdog',
]);

/** Phase migrating: grant, launch so that it listens, send, then the commit. */
export function decideMigrating(situation: VmSituation, phase: Migrating): Decision {
  const { vm, acknowledged, see, now } = situation;
  const { source, destination } = phase;
  const from = judgementOf(situation, source);
  const to = see(destination);
  const sent = acknowledged.sent.has(destination.generation);
  const complete = to.told?.kind === 'arrived' || (to.qmp.kind === 'answers' && COMPLETE.has(to.qmp.status));
  // Only the source's own answer is proof: a source whose stream broke at the very end continues by itself (QEMU does
  // so), so that a complete destination beside a silent source may hold memory that is older than the disk.
  const { qmp: left, told } = see(source);
  const hasToldSo = told?.kind === 'left' && told.sentTo === destination.generation;
  if (complete && hasToldSo) return switchOver(situation, phase, told.pausedMs);
  if (complete && hasLeftFor(left, destination)) return switchOver(situation, phase, downtimeOf(left));
  if (from.verdict === 'lost' || from.verdict === 'crashed')
    return sourceEnded(situation, phase, from.verdict, from.because.at(-1) ?? '');
  if (from.verdict === 'guest-shutdown' || from.verdict === 'panicked')
    return unwind(vm, phase, 'the guest ended.', now);
  if (wantsStop(vm)) return unwind(vm, phase, 'it is to be stopped.', now);
  if (isCancelled(vm, phase)) return unwind(vm, phase, 'it was cancelled.', now);
  if (hasLastedEnough(situation, phase)) return unwind(vm, phase, 'it took too long.', now);
  if (standsTooLong(situation)) return unwind(vm, phase, `its end did not reach ${destination.host} in time.`, now);
  const failure = failureOf(situation, phase);
  if (failure !== null) return unwind(vm, phase, failure, now);
  const hasLeft = left.kind === 'answers' && left.status === 'postmigrate';
  if (hasLeft && (isLeftNowhere(situation, destination) || !hasLeftFor(left, destination)))
    return unwind(vm, phase, `the memory that ${source.host} has sent is not on ${destination.host}.`, now);
  const paused = decidePause(situation, phase, from.verdict);
  if (paused !== null) return paused;
  const generation = destination.generation;
  if (!acknowledged.granted.has(generation)) return perform({ do: 'grant', generation });
  if (!acknowledged.launched.has(generation)) {
    return to.host.agent === 'silent'
      ? unwind(vm, phase, `the agent of ${destination.host} is silent.`, now)
      : perform({ do: 'launch', incarnation: destination, incoming: true });
  }
  if (judgementOf(situation, destination).verdict === 'crashed')
    return unwind(vm, phase, `QEMU ended on ${destination.host}.`, now);
  if (judgementOf(situation, destination).verdict === 'lost')
    return unwind(vm, phase, `${destination.host} was lost.`, now);
  if (!acknowledged.listening.has(generation)) return perform({ do: 'listen', destination });
  if (!sent && mayHoldUnusedDisks(from.verdict) && !acknowledged.activated.has(generation))
    return perform({ do: 'activate', source, destination });
  if (!sent) return perform({ do: 'send', source, destination });
  const ms = longerPauseOf(left, longestPauseMs(situation));
  if (ms !== null) return perform({ do: 'allow-pause', source, ms });
  return wait(`${vm.name} migrates to ${destination.host}.`, isEnding(left) ? ENDING_MS : 250);
}

/**
 * Returns true if a guest that should run has been paused for the end of its migration for longer than any migration
 * needs: a host or a path hangs.
 */
function standsTooLong({ vm, acknowledged, monotonicMs }: VmSituation): boolean {
  const { standingSince } = acknowledged;
  return vm.intent === 'running' && standingSince !== null && monotonicMs - standingSince >= STANDING_MS;
}

/**
 * Returns true if a source has sent everything to a receiver that no longer exists. The destination may still load what
 * this leader had sent; a leader since then has forgotten who sent it, and its order to send counts as done (found by
 * the simulator).
 */
function isLeftNowhere(situation: VmSituation, destination: Incarnation): boolean {
  const { acknowledged, monotonicMs } = situation;
  if (!hasNothing(situation, destination)) return false;
  const { standingSince } = acknowledged;
  const mayLoad = standingSince === null || monotonicMs - standingSince < STANDING_MS;
  return !acknowledged.sent.has(destination.generation) || !mayLoad;
}

/**
 * Halts a guest that should be paused where it runs: its migration goes on, and the guest arrives halted. A guest that
 * should run again is continued only on its destination, or after the migration was undone (M2).
 */
function decidePause(situation: VmSituation, { source }: Migrating, verdict: Verdict): Decision | null {
  if (situation.vm.intent !== 'suspended') return null;
  if (verdict === 'running') return perform({ do: 'halt', incarnation: source });
  return settlePause(situation, source, verdict === 'moved-out' ? 'unknown' : verdict);
}

/**
 * Returns true if a source that has sent nothing yet may have arrived halted and was never continued: QEMU 7.2 aborts
 * when such a source sends (docs/specs/generations.md, M3). A running source uses its disks; a source whose state is
 * unknown is not assumed to run.
 */
function mayHoldUnusedDisks(verdict: Verdict): boolean {
  return verdict !== 'running' && verdict !== 'moved-out';
}

/** The longest pause in ms that the owner and the VM's guest cluster both allow. */
function longestPauseMs({ vm, cluster }: VmSituation): number {
  const { pauseMsMax } = migrationPolicyOf(vm);
  const toleratesMs = cluster.index.guestClusterOf(vm)?.toleratesMs ?? Number.POSITIVE_INFINITY;
  return Math.min(pauseMsMax ?? 0, toleratesMs);
}

/**
 * The pause that a source which copies may end with by now, in ms; null if that is no longer than it knows, or where it
 * does not copy.
 */
function longerPauseOf(source: QmpObservation, longestMs: number): number | null {
  if (source.kind !== 'answers' || source.status === 'finish-migrate' || source.migration?.status !== 'active')
    return null;
  const ms = pauseAllowedMs(source.migration.passes, longestMs);
  return ms > source.migration.pauseLimitMs ? ms : null;
}

/**
 * The source's migration is complete, and its run state is about to follow: QEMU sends an event for the completion and
 * none for the run state, a moment later (7.2, migration_iteration_finish). The guest is paused in the meantime.
 */
export function isEnding(source: QmpObservation): boolean {
  return source.kind === 'answers' && source.status === 'finish-migrate' && source.migration?.status === 'completed';
}

/**
 * Whether the source has sent its whole memory to this very destination and has been paused since. A deposed leader may
 * have sent it to the destination of a migration that was given up (found by the model in formal/,
 * WITHOUT_KNOWING_THE_RECEIVER).
 */
function hasLeftFor(source: QmpObservation, destination: Incarnation): boolean {
  return source.kind === 'answers' && source.status === 'postmigrate' && source.sentTo === destination.generation;
}

/**
 * The destination ended, or waits for a stream anew. A source that has sent everything does not send again: the
 * destination that had received it ended, and a later leader does not know that (found by the simulator, seed 81).
 */
function hasNothing(situation: VmSituation, destination: Incarnation): boolean {
  const { qmp } = situation.see(destination);
  const isWaiting = qmp.kind === 'answers' && qmp.status === 'inmigrate';
  return isWaiting || judgementOf(situation, destination).verdict === 'crashed';
}

/** A reason to give up, seen in the source's own report or in steps that failed again and again. */
function failureOf({ acknowledged, see }: VmSituation, { source, destination }: Migrating): string | null {
  const { failure } = acknowledged;
  // A failure to lengthen the pause, or to halt the guest, does not stop the copying, so the migration goes on.
  const matters = failure !== null && failure.step.do !== 'allow-pause' && failure.step.do !== 'halt';
  if (matters && failure.count >= 3) return `${failure.step.do} failed: ${failure.message}`;
  if (failure !== null && failure.step.do === 'launch')
    return `QEMU could not be launched on ${destination.host}: ${failure.message}`;
  const { qmp } = see(source);
  if (qmp.kind !== 'answers' || qmp.migration === null || !acknowledged.sent.has(destination.generation)) return null;
  // A leader that was deposed and did not know it yet continued it: what the destination holds is older than the disk.
  if (qmp.migration.status === 'completed' && qmp.status === 'running')
    return `QEMU on ${source.host} continues although it has sent everything.`;
  if (qmp.migration.status === 'failed' || qmp.migration.status === 'cancelled')
    return `QEMU on ${source.host} reports: ${qmp.migration.error ?? qmp.migration.status}.`;
  return null;
}

function downtimeOf(source: QmpObservation): number | null {
  return source.kind === 'answers' ? (source.migration?.downtimeMs ?? null) : null;
}

function switchOver({ vm, now }: VmSituation, phase: Migrating, pausedMs: number | null): Decision {
  const { source, destination, taskId } = phase;
  const told = pausedMs === null ? {} : { pausedMs };
  return {
    kind: 'commit',
    vm: inPhase(vm, { kind: 'switching', source, destination, taskId, ...told }, now),
    event: { kind: 'switched', message: `${vm.name} is on ${destination.host}, generation ${destination.generation}.` },
  };
}

/**
 * The record with the pause of the guest in this move: until the source was complete, and from there until the
 * destination was continued.
 */
function withMeasuredPause({ vm, acknowledged }: VmSituation, { destination, pausedMs }: Switching): Partial<VmRecord> {
  const { continued } = acknowledged;
  // A leader that did not see the whole pause measures nothing.
  if (pausedMs === undefined || continued?.generation !== destination.generation) return {};
  return { pausesMs: withPause(vm.pausesMs ?? [], pausedMs + continued.afterMs) };
}

/** The source is gone and the destination is not complete: the guest's memory is lost, the next generation starts. */
function sourceEnded(
  situation: VmSituation,
  { source, destination, taskId }: Migrating,
  verdict: 'lost' | 'crashed',
  because: string,
): Decision {
  const { vm } = situation;
  if (wantsStop(vm)) return beginStop(situation, 'hard', outcome(taskId, 'failed', `${vm.name} was stopped.`).tasks);
  const why =
    verdict === 'lost'
      ? `${source.host} was lost during a migration to ${destination.host}: ${because}`
      : `QEMU of ${vm.name} ended on ${source.host} during a migration.`;
  return startNext(situation, {
    reason: verdict,
    avoid: verdict === 'lost' ? [source.host] : [],
    why,
    failure: why,
    ...(verdict === 'lost' ? { quarantine: { host: source.host, reason: `lost with ${vm.name}` } } : {}),
    ...outcome(taskId, 'failed', why),
  });
}

/** Phase switching: fence the source, continue the destination, end the source. Only forward. */
export function decideSwitching(situation: VmSituation, phase: Switching): Decision {
  const { vm, acknowledged, see, now } = situation;
  const { source, destination, taskId } = phase;
  const at = judgementOf(situation, destination);
  if (!isFenced(situation, destination.generation)) return perform({ do: 'fence', below: destination.generation });
  // A QEMU that waits for a stream was launched again by a late order: its guest is gone.
  const isGone = at.verdict === 'lost' || at.verdict === 'crashed' || at.verdict === 'incoming';
  if (isGone && wantsStop(vm))
    return beginStop(situation, 'hard', outcome(taskId, 'failed', `${vm.name} was stopped.`).tasks);
  if (isGone) {
    const why = `${destination.host} ${at.verdict === 'lost' ? 'was lost' : `lost QEMU of ${vm.name}`} right after its migration.`;
    return startNext(situation, {
      reason: at.verdict === 'lost' ? 'lost' : 'crashed',
      avoid: at.verdict === 'lost' ? [destination.host] : [],
      why,
      failure: why,
      ...(at.verdict === 'lost' ? { quarantine: { host: destination.host, reason: `lost with ${vm.name}` } } : {}),
      ...outcome(taskId, 'failed', why),
    });
  }
  // A VM that was paused on its owner's wish arrives paused; any other is continued.
  const halted = at.verdict === 'paused' || at.verdict === 'disk-error';
  // The source was asked after the fence, so its answer is final, whatever it reported before; and it was ended only
  // after it had been asked.
  const isAsked = acknowledged.ended.has(source.generation);
  if (halted && !isAsked && !hasLeftFor(see(source).qmp, destination)) return doubtMemory(situation, phase);
  if (halted && vm.intent === 'running') return perform({ do: 'cont', incarnation: destination });
  const arrived =
    at.verdict === 'running' ||
    at.verdict === 'guest-shutdown' ||
    at.verdict === 'panicked' ||
    (halted && vm.intent !== 'running');
  if (!arrived) return wait(`Waiting for QMP of ${vm.name} on ${destination.host}.`);
  const end = endIncarnation(situation, source);
  if (end !== null) return end;
  return {
    kind: 'commit',
    vm: inPhase(vm, { kind: 'running', incarnation: destination }, now, withMeasuredPause(situation, phase)),
    event: {
      kind: 'migrated',
      message: `${vm.name} runs on ${destination.host}, generation ${destination.generation}; it came from ${source.host}.`,
    },
    ...outcome(
      taskId,
      'succeeded',
      `${vm.name} is on ${destination.host}.${see(source).host.agent === 'silent' ? ` ${source.host} has no agent.` : ''}`,
    ),
  };
}

/**
 * The source does not confirm that it is still paused where it sent its memory: a deposed leader may have continued it
 * before the fence, so that it has written since, and only the disk is up to date. A silent source is waited for until
 * its end is known, and not for long.
 */
function doubtMemory(situation: VmSituation, { source, destination, taskId }: Switching): Decision {
  const { vm, see, phaseForMs } = situation;
  const { verdict } = judgementOf(situation, source);
  const { qmp } = see(source);
  // The fence may be quicker than the run state that follows a complete stream: such an answer proves nothing yet.
  const ends = isEnding(qmp);
  const isOver = (qmp.kind === 'answers' && !ends) || verdict === 'lost' || verdict === 'crashed';
  if (!isOver && phaseForMs < SOURCE_SILENT_MS)
    return wait(`It is not known yet whether ${vm.name} is still paused on ${source.host}.`, ends ? ENDING_MS : 50);
  const why = `That ${vm.name} stood still on ${source.host} since its memory was sent to ${destination.host} is not certain.`;
  if (wantsStop(vm)) return beginStop(situation, 'hard', outcome(taskId, 'failed', `${vm.name} was stopped.`).tasks);
  return startNext(situation, { reason: 'crashed', avoid: [], why, ...outcome(taskId, 'failed', why) });
}

/** Phase unwinding: revoke and end the destination, then the source goes on. */
export function decideUnwinding(situation: VmSituation, phase: Unwinding): Decision {
  const { vm, acknowledged, now } = situation;
  const { source, destination, taskId, reason } = phase;
  if (!acknowledged.revoked.has(destination.generation))
    return perform({ do: 'revoke', generation: destination.generation });
  const from = situation.see(source);
  const active = from.qmp.kind === 'answers' && from.qmp.migration?.status === 'active';
  if (active) return perform({ do: 'cancel-send', source });
  const end = endIncarnation(situation, destination);
  if (end !== null) return end;
  return {
    kind: 'commit',
    // Phase running continues a source in postmigrate, restarts one that crashed, and stops one that is to be stopped.
    vm: inPhase(vm, { kind: 'running', incarnation: source }, now),
    event: {
      kind: 'migration-undone',
      message: `${vm.name} stays on ${source.host}, generation ${source.generation}.`,
    },
    ...outcome(
      taskId,
      phase.cancelled === true ? 'cancelled' : 'failed',
      `The move was undone: ${reason} ${vm.name} stays on ${source.host}.`,
    ),
  };
}

/**
 * Returns the step that ends a process that is no longer needed, or null if it has ended, is out of reach or does not
 * end (it is fenced in any case).
 */
function endIncarnation(situation: VmSituation, incarnation: Incarnation): Decision | null {
  const { acknowledged, see } = situation;
  const { generation } = incarnation;
  if (acknowledged.ended.has(generation) || acknowledged.resisted.has(generation)) return null;
  const seen = see(incarnation);
  if (seen.host.agent === 'alive') return perform({ do: 'end', incarnation, by: 'agent' });
  if (seen.qmp.kind === 'answers') return perform({ do: 'end', incarnation, by: 'qmp' });
  return null;
}
