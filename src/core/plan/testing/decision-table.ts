/**
 * Decisions as tables: a row says what is recorded, seen and acknowledged, and in a word or two what is decided. For
 * the tests of vm-decision.ts and migration-decision.ts.
 */
import { type Generation, parseGeneration } from '../../../base/ids.ts';
import type { IncarnationObservation, MigrationState } from '../../model/observation.ts';
import type { VmPhase, VmRecord } from '../../model/vm.ts';
import type { Decision } from '../vm/decision.ts';
import type { Acknowledged, Step } from '../vm/steps.ts';
import { decide } from '../vm/vm-decision.ts';
import { acknowledged, answers, incarnation, NOW, type Seen, situation, task, vmRecord } from './sample-records.ts';

export type Row = readonly [
  name: string,
  phase: VmPhase,
  more: Partial<VmRecord>,
  seen: Seen,
  known: Partial<Acknowledged>,
  expected: string,
];

/** The decision in a row's situation, in the notation of its last column. */
export function decided([, phase, more, seen, known]: Row): string {
  return brief(decide(situation(vmRecord(phase, more), seen, { acknowledged: acknowledged(known) })));
}

export const gens = (...list: number[]): ReadonlySet<Generation> => new Set(list as Generation[]);
const ends = { source: incarnation(1, 1), destination: incarnation(2, 2), taskId: task(1) };
export const stopping = (mode: 'acpi' | 'hard'): VmPhase => ({
  kind: 'stopping',
  incarnation: incarnation(1),
  mode,
  deadlineAt: NOW + 5_000,
  reason: 'requested',
});
export const MIGRATING: Extract<VmPhase, { kind: 'migrating' }> = {
  kind: 'migrating',
  deadlineAt: NOW + 60_000,
  ...ends,
};
export const SWITCHING: VmPhase = { kind: 'switching', ...ends };
export const UNWINDING: Extract<VmPhase, { kind: 'unwinding' }> = {
  kind: 'unwinding',
  reason: 'it took too long.',
  ...ends,
};
export const SENT: Partial<Acknowledged> = { granted: gens(2), launched: gens(2), listening: gens(2), sent: gens(2) };
export const STOP: Partial<VmRecord> = {
  intent: 'stopped',
  stopRequest: { mode: 'hard', patienceMs: 0, taskId: task(9) },
};
export const GONE = { process: 'absent' } as const;
export const qmp = (status: string) => ({ qmp: answers(status) });
export const COMPLETED: MigrationState = {
  status: 'completed',
  passes: 1,
  pauseLimitMs: 50,
  downtimeMs: null,
  error: null,
};
/** A source in the pass given. */
export const copying = (
  passes: number,
  { status = 'running', pauseLimitMs = 50 } = {},
): Partial<IncarnationObservation> => ({
  qmp: {
    ...{ kind: 'answers', status, via: 'direct', ageMs: 5 },
    ...{ migration: { ...COMPLETED, status: 'active', passes, pauseLimitMs }, sentTo: parseGeneration(2) },
  },
});

/** A decision in one or two words, short enough for a table. */
export function brief(decision: Decision): string {
  if (decision.kind === 'do') return stepBrief(decision.step);
  if (decision.kind !== 'commit') return decision.kind;
  const { phase, generation } = decision.vm;
  const { quarantine, tasks = [] } = decision;
  const ended = tasks.map(({ id, state }) => `${Number.parseInt(id.slice(5), 16)} ${state}`);
  return [
    `→ ${phase.kind} ${generation}`,
    ...(quarantine === undefined ? [] : [`quarantine ${quarantine.host}`]),
    ...ended,
  ].join(', ');
}

function stepBrief(step: Step): string {
  if ('incarnation' in step)
    return `${step.do} ${step.incarnation.generation}${step.do === 'end' ? ` by ${step.by}` : ''}`;
  if (step.do === 'allow-pause') return `${step.do} ${step.ms}`;
  if ('below' in step) return `fence below ${step.below}`;
  return 'generation' in step ? `${step.do} ${step.generation}` : step.do;
}
