/** Mistakes of drains, made on purpose: what a leader does who reads, or a person who writes, their records wrongly. */
import type { ClusterStore } from '../../control/store/cluster-store.ts';
import type { Table } from '../../control/store/table.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import type { DrainMove, DrainRecord } from '../../core/model/drain.ts';
import { PREFIX } from '../../core/model/keys.ts';
import type { PlantedBug } from './planted-bug.ts';
import { rewriting } from './planting.ts';

/** What a cluster that does not converge is called. */
const STUCK = 'L1-converges';

/** In no order. */
export const DRAIN_BUGS: readonly PlantedBug[] = [
  {
    name: 'no-claims',
    says: 'a drain claims next to no memory for its moves',
    rules: ['MN4-claims-kept', STUCK],
    plantStore: (store) =>
      rewritingDrains(store, (drain) => ({ ...drain, moves: drain.moves.map((move) => ({ ...move, memoryMib: 1 })) })),
  },
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
    name: 'targets-in-maintenance',
    says: 'a host in maintenance is taken for one that is in service',
    rules: ['MN2-none-into-maintenance', 'MN5-drained-is-empty'],
    plantStore: (store) => misreading<HostRecord>(store.hosts, ({ maintenance: _, ...host }) => host),
  },
  {
    name: 'resume-moves-twice',
    says: 'a drain that is resumed makes its moves once more',
    rules: ['MN3-drains-keep-their-plan'],
    plantStore: (store) => {
      const before = new Map<string, string>();
      rewritingDrains(store, (drain) => {
        const isResumed = before.get(drain.id) === 'paused' && drain.state === 'running';
        before.set(drain.id, drain.state);
        return isResumed ? { ...drain, moves: drain.moves.map(again) } : drain;
      });
    },
  },
];

function again(move: DrainMove): DrainMove {
  return move.state === 'moved' ? { ...move, state: 'waiting' } : move;
}

function rewritingDrains(store: ClusterStore, change: (drain: DrainRecord) => DrainRecord): void {
  rewriting(store, (write) =>
    write.key.startsWith(PREFIX.drain) && write.value !== null
      ? { ...write, value: change(write.value as DrainRecord) }
      : write,
  );
}

/** A control node takes in other values than etcd holds. */
function misreading<T>(table: Table<T>, change: (value: T) => T): void {
  const note = table.note.bind(table);
  table.note = (key, value, revision) => note(key, value === null ? null : change(value as T), revision);
}
