/** Checkers of what no record shows: who wrote to a disk, and whether a host that was given up could have been reached. */
import type { DiskId, HostName } from '../../base/ids.ts';
import type { Checker } from './trace.ts';

/** W1: no write of an older generation reaches a disk after one of a newer generation did. */
export function writesFollowGenerations(): Checker {
  const newest = new Map<DiskId, number>();
  return (entry) => {
    if (entry.kind !== 'write') return null;
    const before = newest.get(entry.disk) ?? 0;
    if (entry.generation < before)
      return `${entry.vm}: generation ${entry.generation} wrote to ${entry.disk} after generation ${before}`;
    newest.set(entry.disk, entry.generation);
    return null;
  };
}

/** V1: a host is only given up (quarantined) when the last attempts on every path that works met silence. */
export function lostOnlyWhenUnreached(): Checker {
  const last = new Map<string, { readonly host: HostName; readonly path: string; readonly met: boolean | null }>();
  const quarantined = new Set<HostName>();
  return (entry) => {
    if (entry.kind === 'probe') last.set(`${entry.host}:${entry.path}`, entry);
    if (entry.kind !== 'commit') return null;
    for (const { kind, id, value } of entry.changes) {
      if (kind !== 'host' || value === null) continue;
      if (value.quarantine === null) {
        quarantined.delete(id);
        continue;
      }
      if (quarantined.has(id)) continue;
      quarantined.add(id);
      const tried = [...last.values()].filter(({ host, met }) => host === id && met !== null);
      const reached = tried.find(({ met }) => met === true);
      if (reached !== undefined) return `${id} was given up although ${reached.path} reaches it`;
      if (tried.length === 0) return `${id} was given up and nobody tried to reach it`;
    }
    return null;
  };
}
