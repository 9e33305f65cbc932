/**
 * Checkers of notices to members of guest clusters, and of their ready-checks: written anew from
 * docs/specs/guest-clusters.md.
 */
import type { Generation, GuestClusterName, VmId } from '../../base/ids.ts';
import { FollowedRecords } from './followed-records.ts';
import type { Checker } from './trace.ts';

/** A transaction that was decided before its leader saw a change is written within 2 s, or never. */
const UNSEEN_MS = 4_000;
/** How fast the clock of a control node may run, relative to simulated time. */
const CLOCK_RATE_MAX = 1.01;

/** GC10: a member whose guest cluster declared a notice moves once its guest acknowledged it, or its time is over. */
export function noticeBeforeMove(): Checker {
  const records = new FollowedRecords();
  const declaredAt = new Map<GuestClusterName, number>();
  const givenAt = new Map<VmId, { readonly number: number; readonly at: number }>();
  const acknowledged = new Set<string>();
  return (entry) => {
    if (entry.kind === 'notice-acknowledged') acknowledged.add(`${entry.vm} ${entry.number}`);
    if (entry.kind !== 'commit') return null;
    let found: string | null = null;
    for (const change of entry.changes) {
      const before = change.kind === 'vm' ? records.vms.get(change.id) : undefined;
      if (change.kind === 'guest-cluster') declaredAt.set(change.id, entry.at);
      records.note(change, () => undefined);
      if (change.kind !== 'vm' || change.value === null) continue;
      const { id, name, phase, notice } = change.value;
      if (notice?.state === 'scheduled' && givenAt.get(id)?.number !== notice.number)
        givenAt.set(id, { number: notice.number, at: entry.at });
      if (phase.kind !== 'migrating' || before?.phase.kind === 'migrating' || entry.by === 'people') continue;
      const declaring = records
        .clustersOf(id)
        .find((each) => each.noticeMs !== undefined && entry.at - (declaredAt.get(each.name) ?? 0) > UNSEEN_MS);
      if (declaring === undefined) continue;
      const given = givenAt.get(id);
      if (notice?.state !== 'started' || given?.number !== notice.number) {
        found = `${name} of ${declaring.name} is moved and its guest was not told`;
        continue;
      }
      const waited = entry.at - given.at;
      const isOver = waited * CLOCK_RATE_MAX >= Math.min(notice.forMs, declaring.noticeMs ?? 0);
      if (!isOver && !acknowledged.has(`${id} ${notice.number}`))
        found = `${name} of ${declaring.name} is moved ${Math.round(waited)} ms after its guest was told, which did not acknowledge`;
    }
    return found;
  };
}

/**
 * GC14: a member counts as ready by its ready-check only after that succeeded in the guest where it runs now; one that is
 * still awaited keeps the cluster from moving another where that would be too many.
 */
export function readyBeforeSettled(): Checker {
  const records = new FollowedRecords();
  const ready = new Map<VmId, Generation>();
  const changedAt = new Map<GuestClusterName, number>();
  return (entry) => {
    if (entry.kind === 'ready') ready.set(entry.vm, entry.generation);
    if (entry.kind !== 'commit') return null;
    let found: string | null = null;
    for (const change of entry.changes) {
      const before = change.kind === 'vm' ? records.vms.get(change.id) : undefined;
      if (change.kind === 'guest-cluster') changedAt.set(change.id, entry.at);
      records.note(change, () => undefined);
      if (change.kind !== 'vm' || change.value === null) continue;
      const { id, name, phase, settling, seenHealthy } = change.value;
      const isSettled = before?.settling !== undefined && settling === undefined && phase.kind === 'running';
      if (isSettled && seenHealthy === 'by-check' && ready.get(id) !== phase.incarnation.generation)
        found = `${name} counts as ready by a check that did not succeed in its guest`;
      if (phase.kind !== 'migrating' || before?.phase.kind !== 'running' || entry.by === 'people') continue;
      for (const { name: cluster, members, maxDisturbed } of records.clustersOf(id)) {
        if (entry.at - (changedAt.get(cluster) ?? 0) <= UNSEEN_MS) continue;
        const awaited = members.filter((member) => member !== id && records.vms.get(member)?.settling !== undefined);
        if (awaited.length >= maxDisturbed)
          found = `${name} of ${cluster} is moved while ${awaited.length} members are not seen healthy yet`;
      }
    }
    return found;
  };
}
