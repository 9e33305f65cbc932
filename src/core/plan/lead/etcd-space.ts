/**
 * Decides how to keep etcd from filling up: the next step for its history, its free pages and its alarm. Pure.
 * etcd keeps every revision until it is compacted, reuses free pages only itself (its file never shrinks without
 * defragmentation), and refuses every write, leases included, once the file has reached the quota: then nobody can
 * lead. So history is compacted by bytes, members are defragmented when it pays, and new objects are refused while
 * there is still room for fences, recoveries and deletions.
 * Guarantees: a member is defragmented only while every member answers and all name one leader, etcd's leader after all
 * others; nothing newer than HISTORY_KEPT_MS is compacted unless etcd fills.
 */

/** The state of one etcd member, or why it is unknown. */
export type EtcdMember =
  | {
      readonly endpoint: string;
      readonly isLeader: boolean;
      /** Size of the database file, which the quota bounds. */
      readonly sizeBytes: number;
      /** Bytes of the file that are in use by live records and history. */
      readonly inUseBytes: number;
      readonly isFull: boolean;
      readonly isCorrupt: boolean;
      readonly version: string;
      readonly revision: number;
    }
  | { readonly endpoint: string; readonly unreachable: string };

export type AnsweringMember = Exclude<EtcdMember, { unreachable: string }>;

export interface EtcdSituation {
  readonly members: readonly EtcdMember[];
  readonly quotaBytes: number;
  /** Revisions with the times at which each was seen as the newest (monotonic ms), oldest first. */
  readonly seen: readonly { readonly revision: number; readonly at: number }[];
  /** Bytes in use after the last compaction, and its revision; null before this process's first compaction. */
  readonly compacted: { readonly revision: number; readonly inUseBytes: number } | null;
  /** The present time, in monotonic ms. */
  readonly now: number;
}

export type EtcdStep =
  | { readonly do: 'compact'; readonly revision: number }
  | { readonly do: 'defragment'; readonly endpoint: string }
  /** Disarms the alarm that makes etcd refuse every write. */
  | { readonly do: 'disarm' };

/**
 * How much history is kept, in ms: a watch that was interrupted for a shorter time can resume. The second value applies
 * while etcd fills.
 */
const HISTORY_KEPT_MS = 60_000;
const HISTORY_KEPT_FILLING_MS = 3_000;
/** From this share of the quota on, the alarm is raised, and history is compacted at every check. */
const ALARM_SHARE = 0.6;
/**
 * From this share of the quota on, new objects are refused: the rest is reserved for fences, recoveries and deletions.
 */
export const RESERVE_SHARE = 0.8;
/** History that takes this share of the quota is compacted. */
const HISTORY_SHARE = 1 / 16;
/** Defragmentation pays when this share of the file is free, and the free part is this share of the quota. */
const FREE_SHARE = 0.3;
const FREE_QUOTA_SHARE = 1 / 32;
/** Above this share the alarm is not disarmed, since the next write would raise it again. */
const DISARM_SHARE = 0.95;

/** Returns the members that answer. */
export function answering(members: readonly EtcdMember[]): readonly AnsweringMember[] {
  return members.filter((member): member is AnsweringMember => !('unreachable' in member));
}

/** Returns the share of the quota that the fullest member's file takes: 0 to 1, or slightly more. */
export function filledShare({ members, quotaBytes }: Pick<EtcdSituation, 'members' | 'quotaBytes'>): number {
  return Math.max(0, ...answering(members).map(({ sizeBytes }) => sizeBytes)) / quotaBytes;
}

/** Returns the next step, or null. */
export function decideEtcdSpace(situation: EtcdSituation): EtcdStep | null {
  const members = answering(situation.members);
  const isFull = members.some((member) => member.isFull);
  const revision = compactionOf(situation, members, isFull);
  if (revision !== null) return { do: 'compact', revision };
  const endpoint = defragmentationOf(situation, members, isFull);
  if (endpoint !== null) return { do: 'defragment', endpoint };
  return isFull && filledShare(situation) < DISARM_SHARE ? { do: 'disarm' } : null;
}

/** Returns the revision up to which history is compacted now, or null. */
function compactionOf(
  { quotaBytes, seen, compacted, now, members: all }: EtcdSituation,
  members: readonly AnsweringMember[],
  isFull: boolean,
): number | null {
  const newest = Math.max(0, ...members.map(({ revision }) => revision));
  const isFilling = filledShare({ members: all, quotaBytes }) >= ALARM_SHARE;
  const keptMs = isFilling ? HISTORY_KEPT_FILLING_MS : HISTORY_KEPT_MS;
  const old = seen.findLast(({ at }) => now - at >= keptMs)?.revision ?? 0;
  // An alarm without cause is disarmed and needs no compaction.
  const revision = isFull && isFilling ? newest : old;
  if (revision <= (compacted?.revision ?? 0)) return null;
  const inUseBytes = Math.max(0, ...members.map((member) => member.inUseBytes));
  const grownBytes = inUseBytes - (compacted?.inUseBytes ?? 0);
  return isFilling || grownBytes >= quotaBytes * HISTORY_SHARE ? revision : null;
}

/** Returns the member to defragment now, or null. */
function defragmentationOf(
  { members: all, quotaBytes }: EtcdSituation,
  members: readonly AnsweringMember[],
  isFull: boolean,
): string | null {
  const isComplete = members.length === all.length && members.filter(({ isLeader }) => isLeader).length === 1;
  if (!isComplete) return null;
  const freeBytes = (member: AnsweringMember): number => member.sizeBytes - member.inUseBytes;
  const pays = (member: AnsweringMember): boolean => {
    const enough = isFull
      ? member.sizeBytes >= quotaBytes * DISARM_SHARE
      : freeBytes(member) >= member.sizeBytes * FREE_SHARE;
    return enough && freeBytes(member) >= quotaBytes * FREE_QUOTA_SHARE;
  };
  const paying = members
    .filter(pays)
    .sort((a, b) => Number(a.isLeader) - Number(b.isLeader) || freeBytes(b) - freeBytes(a));
  return paying[0]?.endpoint ?? null;
}

const MIB = 1024 * 1024;
const mib = (sizeBytes: number): string => `${Math.round(sizeBytes / MIB)} MiB`;

/** Returns the problems of etcd, each as a kind, a member and a sentence. */
export function etcdAlarms(
  situation: Pick<EtcdSituation, 'members' | 'quotaBytes'>,
): readonly { readonly kind: string; readonly about: string; readonly message: string }[] {
  const { members, quotaBytes } = situation;
  const alarms: { kind: string; about: string; message: string }[] = [];
  for (const member of members) {
    const about = member.endpoint;
    if ('unreachable' in member) {
      alarms.push({ kind: 'etcd-member', about, message: `etcd at ${about} does not answer: ${member.unreachable}` });
      continue;
    }
    if (member.isCorrupt)
      alarms.push({
        kind: 'etcd-corrupt',
        about,
        message: `etcd at ${about} says that its data differ from the others’. Replace this member (etcd's documents say how).`,
      });
    const said = `etcd at ${about} has ${mib(member.sizeBytes)} of its quota of ${mib(quotaBytes)}, ${mib(member.inUseBytes)} of it in use`;
    if (member.isFull)
      alarms.push({
        kind: 'etcd-full',
        about,
        message: `${said}, and refuses every write. The cluster compacts history, defragments members and takes the alarm back by itself.`,
      });
    else if (member.sizeBytes >= quotaBytes * ALARM_SHARE)
      alarms.push({
        kind: 'etcd-space',
        about,
        message: `${said}. From ${Math.round(RESERVE_SHARE * 100)} % on nothing new is created. Delete what is not needed, or raise the quota.`,
      });
  }
  return alarms;
}
