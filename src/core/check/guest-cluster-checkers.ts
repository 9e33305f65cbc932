/** Checker of moves in guest clusters: written anew from docs/specs/guest-clusters.md, like all of this folder. */
import { FollowedRecords } from './followed-records.ts';
import type { Checker } from './trace.ts';

const BUSY: ReadonlySet<string> = new Set(['migrating', 'switching', 'unwinding', 'starting']);

/** GC2: a leader moves no member while as many others as its cluster allows are on their way. */
export function fewMembersMove(): Checker {
  const records = new FollowedRecords();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    const moving = entry.changes.flatMap(({ kind, id, value }) =>
      kind === 'vm' && value?.phase.kind === 'migrating' && records.vms.get(id)?.phase.kind !== 'migrating'
        ? [value]
        : [],
    );
    for (const change of entry.changes) records.note(change, () => undefined);
    if (entry.by === 'people') return null;
    for (const vm of moving) {
      for (const cluster of records.clustersOf(vm.id)) {
        const busy = records.membersOf(cluster).filter(({ id, phase }) => id !== vm.id && BUSY.has(phase.kind));
        if (busy.length >= cluster.maxDisturbed)
          return `${vm.name} of ${cluster.name} is moved beside ${busy.map(({ name }) => name).join(', ')}`;
        const longest = Math.max(0, ...(vm.pausesMs ?? []));
        if (longest > cluster.toleratesMs)
          return `${vm.name} is moved although a move took ${longest} ms and ${cluster.name} bears ${cluster.toleratesMs} ms`;
      }
    }
    return null;
  };
}
