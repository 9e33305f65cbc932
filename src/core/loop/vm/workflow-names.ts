/** The names that crash points have: workflows and steps as in the tables of plan/vm/steps.ts. */
import type { VmRecord } from '../../model/vm.ts';
import type { Step } from '../../plan/vm/steps.ts';
import type { WrittenDecision } from './transaction.ts';

/** Called before each step and each commit; a crash story ends the leader there. */
export type CrashPoint = (workflow: string, step: string) => Promise<void>;

/** The point before a step. */
export function stepPoint(vm: VmRecord, step: Step): Parameters<CrashPoint> {
  return [workflowOf(vm), step.do];
}

/** The point before a commit: a workflow's first transaction belongs to it, not to what went before. */
export function commitPoint(vm: VmRecord, decision: WrittenDecision): Parameters<CrashPoint> {
  if (decision.kind === 'remove') return [workflowOf(vm), 'commit:removed'];
  const { kind } = decision.vm.phase;
  const begins = kind === 'starting' || kind === 'stopping' || kind === 'migrating';
  return [workflowOf(begins ? decision.vm : vm), `commit:${kind}`];
}

/** Which table of WORKFLOWS a phase belongs to; `running` belongs to none. */
function workflowOf({ phase }: VmRecord): string {
  switch (phase.kind) {
    case 'stopped':
      return 'start';
    case 'starting':
      return phase.reason === 'requested' || phase.reason === 'launch-failed' ? 'start' : 'recover';
    case 'running':
      return 'running';
    case 'stopping':
      return 'stop';
    case 'migrating':
    case 'switching':
    case 'unwinding':
      return 'migrate';
  }
}
