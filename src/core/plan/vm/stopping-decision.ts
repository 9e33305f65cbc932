/** Decides the next action for a VM that stops (vm-decision.ts). */
import { nextGeneration } from '../../../base/ids.ts';
import type { Incarnation, VmPhase, VmRecord } from '../../model/vm.ts';
import {
  type Decision,
  hasLastedEnough,
  inPhase,
  isFenced,
  judgementOf,
  perform,
  type TaskOutcome,
  type VmSituation,
  wait,
} from './decision.ts';
import type { Verdict } from './verdict.ts';

/** Pause before the power button is pressed again, in ms, until the guest has ended or its time is over. */
const POWER_BUTTON_MS = 2_000;

/** Decides the next thing for a VM in phase stopping. */
export function decideStopping(situation: VmSituation, phase: Extract<VmPhase, { kind: 'stopping' }>): Decision {
  const { vm, acknowledged, now } = situation;
  const { incarnation } = phase;
  const { verdict } = judgementOf(situation, incarnation);
  const seen = situation.see(incarnation);
  const { ended, resisted } = acknowledged;
  // A process that does not end is fenced nevertheless, and ended later, when no record names it.
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
    // Only a record in mode `hard` admits no generation: it is written before the fence, so that no restarted storage
    // service grants anew.
    return {
      kind: 'commit',
      vm: inPhase(vm, { ...phase, mode: 'hard' }, now),
      event: { kind: 'stopping', message: `The guest of ${vm.name} has ended.` },
    };
  }
  if (!over && seen.host.agent === 'alive') return perform({ do: 'end', incarnation, by: 'agent' });
  if (!over && seen.qmp.kind === 'answers') return perform({ do: 'end', incarnation, by: 'qmp' });
  // Neither agent nor QMP reaches it: the fence ends it. A guest that still computes there reaches no disk and is
  // killed when its host is seen again.
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
    // The guest may still compute there, and use its networks.
    ...(verdict === 'lost' ? { quarantine: { host: incarnation.host, reason: `lost with ${vm.name}` } } : {}),
    tasks: tasksOfStop(vm),
  };
}

/**
 * A process whose end was not seen may still compute, without its disks. Its host is not quarantined because of it: the
 * host is there, and other guests on it would lose their networks.
 */
function stoppedWords({ vm, acknowledged }: VmSituation, { generation, host }: Incarnation, verdict: Verdict): string {
  if (acknowledged.ended.has(generation) || verdict === 'crashed' || verdict === 'lost')
    return `${vm.name} is stopped.`;
  return (
    `${vm.name} is stopped: its disks are cut off from it. Its process on ${host} did not end, and may still speak to its networks; ` +
    `it is ended as soon as the agent of ${host} can.`
  );
}

/** How the tasks end that the stop answers. A start that was requested since then is still to be carried out. */
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
