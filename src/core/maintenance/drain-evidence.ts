/** The effects of a drain on guest clusters, from its record and theirs at its end. Pure. */
import type { GuestClusterName, VmId } from '../../base/ids.ts';
import type { ClusterIndex } from '../model/cluster-index.ts';
import type { DrainMove, DrainRecord, TouchedGuestCluster } from '../model/drain.ts';

/** The guest clusters whose members the drain moved, and how they fared. */
export function guestClustersOf({ moves }: DrainRecord, index: ClusterIndex): readonly TouchedGuestCluster[] {
  const byCluster = new Map<GuestClusterName, DrainMove[]>();
  for (const move of moves) {
    const vm = move.startedAt === null ? null : index.vm(move.vm);
    const cluster = vm === null ? null : index.guestClusterOf(vm);
    if (cluster === null) continue;
    byCluster.set(cluster.name, [...(byCluster.get(cluster.name) ?? []), move]);
  }
  return [...byCluster].flatMap(([name, own]): TouchedGuestCluster[] => {
    const vm = index.vm(own[0]?.vm as VmId);
    const cluster = vm === null ? null : index.guestClusterOf(vm);
    if (cluster === null) return [];
    const pauses = own.flatMap(({ measuredPauseMs }) => measuredPauseMs ?? []);
    return [
      {
        name,
        members: [...new Set(own.map((move) => move.name))],
        maxDisturbed: cluster.maxDisturbed,
        toleratesMs: cluster.toleratesMs,
        longestPauseMs: pauses.length === 0 ? null : Math.max(...pauses),
        movedAtOnce: mostAtOnce(own),
        restarted: [...new Set(own.flatMap((move) => (isRestart(move) ? [move.name] : [])))],
      },
    ];
  });
}

const isRestart = ({ state, note }: DrainMove): boolean =>
  state === 'gone' && note?.startsWith('It was restarted') === true;

/** The largest number of moves that were under way at one moment. */
function mostAtOnce(moves: readonly DrainMove[]): number {
  return Math.max(
    0,
    ...moves.map(
      ({ startedAt: at }) =>
        moves.filter(
          ({ startedAt, endedAt }) =>
            at !== null && startedAt !== null && startedAt <= at && at < (endedAt ?? Infinity),
        ).length,
    ),
  );
}
