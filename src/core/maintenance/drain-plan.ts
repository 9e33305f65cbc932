/** A plan as the moves of a drain's record, and the rest of a record as a plan for the checker. Pure. */
import type { HostName, VmId } from '../../base/ids.ts';
import type { ClusterIndex } from '../model/cluster-index.ts';
import type { DrainMove, DrainRecord } from '../model/drain.ts';
import { openMoves } from '../model/drain.ts';
import { currentIncarnation } from '../model/vm.ts';
import type { MaintenancePlan, PlannedMove } from './plan.ts';

/** The measured rate at which a guest writes to memory, and the remedy for it. */
export type Writing = Required<Pick<DrainMove, 'dirtyMibPerSecond' | 'remedy'>>;

export const NOTHING_WRITTEN: Writing = { dirtyMibPerSecond: null, remedy: null };

/** How moves are recorded. */
export interface MoveOptions {
  /** The number of the first. */
  readonly firstId: number;
  readonly writingOf: (vm: VmId) => Writing;
}

const REMEDIES = {
  'slow-down': 'Its guest writes faster than it is copied: it is slowed down (auto-converge).',
  'longer-pause': 'Its guest writes faster than it is copied: it is paused for longer at the end.',
  stop: 'Its guest writes faster than it is copied: it is stopped, and starts on its new host.',
} as const;

/** The hosts and VMs that a plan names: what it is judged by. */
export function touchedBy({ waves }: MaintenancePlan): {
  readonly hosts: ReadonlySet<HostName>;
  readonly vms: ReadonlySet<VmId>;
} {
  const hosts = new Set(waves.flatMap((wave) => [...wave.hosts, ...wave.moves.flatMap(({ from, to }) => [from, to])]));
  return { hosts, vms: new Set(waves.flatMap(({ moves }) => moves.map(({ vm }) => vm))) };
}

/** VMs that a plan moves on once they have arrived: a sentence for each. */
export function awaitedBy({ waves }: MaintenancePlan, index: ClusterIndex): readonly string[] {
  const seen = new Set<VmId>();
  return waves.flatMap(({ moves }) =>
    moves.flatMap(({ vm: id, name, from }) => {
      const at = currentIncarnation(index.vm(id)?.phase ?? { kind: 'stopped' })?.host;
      if (seen.has(id) || at === undefined || at === from) return [];
      seen.add(id);
      return [`${name} is arriving from ${at}: its move waits until it is on ${from}.`];
    }),
  );
}

/** The moves of a plan that nothing has been done of. */
export function movesOfPlan(plan: MaintenancePlan, { firstId, writingOf }: MoveOptions): readonly DrainMove[] {
  return plan.waves.flatMap(({ moves }) =>
    moves.map(({ startsAtMs: _, converges: __, ...move }) => ({
      ...move,
      ...writingOf(move.vm),
      id: firstId + move.id,
      after: move.after.map((each) => firstId + each),
      state: 'waiting',
      taskId: null,
      startedAt: null,
      endedAt: null,
      measuredPauseMs: null,
      failures: 0,
      note: noteOf(writingOf(move.vm)),
    })),
  );
}

/** The remark that a reader must know of a move before it begins; null: none. */
export function noteOf({ remedy }: Pick<DrainMove, 'remedy'>): string | null {
  return remedy === null || remedy === undefined ? null : REMEDIES[remedy];
}

/** The record with the rest of its plan replaced. */
export function replanned(drain: DrainRecord, plan: MaintenancePlan, writingOf: MoveOptions['writingOf']): DrainRecord {
  const kept = drain.moves.filter(({ state }) => state !== 'waiting');
  const firstId = Math.max(-1, ...drain.moves.map(({ id }) => id)) + 1;
  return { ...drain, moves: [...kept, ...movesOfPlan(plan, { firstId, writingOf })], stuck: null, waits: null };
}

/** The remainder of a drain as a plan of one wave, and which of its moves are under way. */
export function restOf(drain: DrainRecord): { readonly plan: MaintenancePlan; readonly begun: ReadonlySet<number> } {
  const open = openMoves(drain);
  const numberOf = new Map(open.map(({ id }, number) => [id, number]));
  const moves = open.map(
    (move, id): PlannedMove => ({
      id,
      vm: move.vm,
      name: move.name,
      from: move.from,
      to: move.to,
      after: move.after.flatMap((each) => numberOf.get(each) ?? []),
      why: move.why,
      memoryMib: move.memoryMib,
      startsAtMs: 0,
      durationMs: move.durationMs,
      pauseMs: move.pauseMs,
      converges: true,
    }),
  );
  const begun = new Set(open.flatMap(({ state }, number) => (state === 'moving' ? [number] : [])));
  const wave = { hosts: drain.hosts, moves, steps: [], durationMs: 0, room: null };
  const movedMib = moves.reduce((sum, { memoryMib }) => sum + memoryMib, 0);
  return { plan: { kind: 'plan', releaseAfter: null, after: 'away', waves: [wave], movedMib }, begun };
}
