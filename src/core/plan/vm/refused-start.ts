/**
 * Handles a start that a host or storage node refuses for a permanent reason: a disk that no pool of that node can
 * hold, an order that no agent accepts, a kernel that QEMU cannot boot. Pure.
 *
 * Guarantees: such a start is not repeated: the request ends with the reason, in its task, in an event and in the VM's
 * record. While another host can be asked, one host's refusal is not enough: a host that refuses everything keeps no VM
 * from starting elsewhere.
 */
import type { ErrorCode } from '../../../base/errors.ts';
import type { HostName } from '../../../base/ids.ts';
import type { Incarnation } from '../../model/vm.ts';
import { place } from '../placement/placement.ts';
import { type Decision, inPhase, type TaskOutcome, type VmSituation } from './decision.ts';
import type { StepFailure } from './steps.ts';

/**
 * Error codes that mean the order itself is wrong. Every other error (no room, no answer, an older version) may not
 * occur the next time, or elsewhere.
 */
const FINAL: readonly (ErrorCode | null)[] = ['bad-input', 'bad-image'];
/** How long a refusal is remembered before the order is repeated, in ms. */
const STANDS_MS = 30_000;

/** Returns true if an order was refused for a reason in the order itself. */
export function isFinal({ step, code }: Pick<StepFailure, 'step' | 'code'>): boolean {
  // An order to launch is too large by its host's network plan, which is other VMs' too.
  return FINAL.includes(code) || (code === 'too-large' && step.do === 'create-disk');
}

/** Returns the remembered refusal of a disk of the VM, or null. */
export function refusedDisk({ acknowledged, monotonicMs }: VmSituation): StepFailure | null {
  const { failure } = acknowledged;
  if (failure === null || failure.step.do !== 'create-disk' || !isFinal(failure)) return null;
  return monotonicMs - failure.at < STANDS_MS ? failure : null;
}

/**
 * Returns the consequence: `end` if another host refused too or no other host is left, `elsewhere`, or `wait` while
 * hosts have not reported yet.
 */
export function afterRefusal(
  { vm, cluster }: VmSituation,
  { host }: Incarnation,
  avoid: readonly HostName[],
): 'end' | 'elsewhere' | 'wait' {
  const first = vm.failures?.refusedBy;
  if (first !== undefined && first !== host) return 'end';
  const request = { vm, index: cluster.index, seeHost: cluster.seeHost, only: null, isOver: true };
  if (place({ ...request, exclude: [...avoid, host] }).kind === 'placed') return 'elsewhere';
  // A new leader has not received every host's report yet.
  return cluster.areAllHostsAsked() ? 'end' : 'wait';
}

/** Ends the request to run with the reason: it is not tried again until a user asks again. */
export function endRefused({ vm, now }: VmSituation, incarnation: Incarnation | null, reason: string): Decision {
  const message = `${vm.name} cannot start, and trying again would not help: ${reason}`;
  const failures = { count: (vm.failures?.count ?? 0) + 1, lastAt: now, message: reason };
  const ended = { intent: 'stopped', startTask: null, failures } as const;
  const tasks: TaskOutcome[] = vm.startTask === null ? [] : [{ id: vm.startTask, state: 'failed', message }];
  return {
    kind: 'commit',
    vm:
      incarnation === null
        ? { ...vm, ...ended }
        : inPhase(vm, { kind: 'stopping', incarnation, mode: 'hard', deadlineAt: now, reason: 'failed' }, now, ended),
    event: { kind: 'start-refused', message },
    tasks,
  };
}
