/** Mistakes of drains, made on purpose: what a leader does who reads records wrongly. */
import type { HostRecord } from '../../core/model/cluster.ts';
import type { DrainRecord } from '../../core/model/drain.ts';
import type { PlantedBug } from './planted-bug.ts';
import { misreading } from './planting.ts';

/** In no order. */
export const DRAIN_BUGS: readonly PlantedBug[] = [
  {
    name: 'all-moves-at-once',
    says: 'a drain begins every move at once, and looks at its limits when it ends',
    rules: ['MN3-drains-keep-their-plan'],
    plantStore: (store) =>
      misreading<DrainRecord>(store.drains, (drain) => ({
        ...drain,
        parallel: 8,
        moves: drain.moves.map((move) => ({ ...move, after: [] })),
      })),
  },
  {
    name: 'resume-moves-again',
    says: 'a drain that somebody resumed begins again with its first move',
    rules: ['MN3-drains-keep-their-plan'],
    plantStore: (store) => {
      const wasPaused = new Set<string>();
      misreading<DrainRecord>(store.drains, (drain) => {
        if (drain.state === 'paused') wasPaused.add(drain.id);
        if (drain.state !== 'running' || !wasPaused.has(drain.id)) return drain;
        const moves = drain.moves.map((move) =>
          move.state === 'moved' ? { ...move, state: 'waiting' as const } : move,
        );
        return { ...drain, moves };
      });
    },
  },
  {
    name: 'targets-in-maintenance',
    says: 'a host in maintenance is taken for one that is in service',
    rules: ['MN2-none-into-maintenance', 'MN5-drained-is-empty'],
    plantStore: (store) => misreading<HostRecord>(store.hosts, ({ maintenance: _, ...host }) => host),
  },
];
