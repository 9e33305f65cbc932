/**
 * Tracks which initiators lost acknowledged writes in a loss of power. A write is acknowledged when it is in the page
 * cache of its node; the cache ends with the node's boot. Pure: the record of one disk and its changes. Guarantees: L1
 * an initiator that wrote in another boot, and still remembers the write, is `lost` until it was told; L2 a generation
 * that starts after all those that wrote were fenced has forgotten those writes with them: it is not `lost`; L3 a
 * generation that is admitted beside one that wrote (a live migration's destination) takes over what that one believes;
 * L4 where the record cannot be read, everybody is `lost` once.
 */

/** An initiator that wrote: which generations may believe it, and since which boot. */
export interface CachedWriter {
  readonly nexus: string;
  readonly generations: readonly number[];
  /** Null: lost in any boot. */
  readonly bootId: string | null;
}

/** A disk's record. At most one writer for each initiator. */
export interface CachedWrites {
  readonly writers: readonly CachedWriter[];
  /** False: there were writers before that are not known any more. */
  readonly isComplete: boolean;
}

/** The generations of an initiator that may exist. */
export interface Admission {
  /** All lower generations are fenced for ever. */
  readonly floor: number;
  /** The generations that may log in. At least one. */
  readonly generations: readonly number[];
}

/** `none`: it has to be entered before a write is acknowledged. `cached`: it is. `lost`: its next flush fails. */
export type Standing = 'none' | 'cached' | 'lost';

export const NOTHING_CACHED: CachedWrites = { writers: [], isComplete: true };
/** The record of a disk whose record cannot be read. */
export const UNKNOWN_CACHED: CachedWrites = { writers: [], isComplete: false };

/** The fate of the next command of an initiator. */
export function standingOf(record: CachedWrites, nexus: string, now: { floor: number; bootId: string }): Standing {
  const writer = writerOf(record, nexus);
  if (writer === undefined) return record.isComplete ? 'none' : 'lost';
  if (isForgotten(writer, now.floor)) return 'none';
  return writer.bootId === now.bootId ? 'cached' : 'lost';
}

/** Whether the initiator may write at once: the record already says that a loss of power would concern it. */
export function isEntered(record: CachedWrites, nexus: string, floor: number): boolean {
  const writer = writerOf(record, nexus);
  return writer !== undefined && !isForgotten(writer, floor);
}

/** The record when these generations are admitted; the same object where nothing changes. */
export function carried(record: CachedWrites, nexus: string, { floor, generations }: Admission): CachedWrites {
  const writer = writerOf(record, nexus);
  if (writer === undefined)
    return record.isComplete ? record : replaced(record, { nexus, generations: [...generations], bootId: null });
  const missing = generations.filter((each) => !writer.generations.includes(each));
  if (isForgotten(writer, floor) || missing.length === 0) return record;
  const left = writer.generations.filter((each) => each >= floor);
  return replaced(record, { ...writer, generations: [...left, ...missing] });
}

/** The record before a write of the initiator is acknowledged. */
export function entered(
  record: CachedWrites,
  nexus: string,
  { bootId, ...admission }: Admission & { bootId: string },
): CachedWrites {
  const noted = carried(record, nexus, admission);
  return isEntered(noted, nexus, admission.floor) ? noted : told(record, nexus, { ...admission, bootId });
}

/**
 * The record when the initiator is told that writes were lost. It may have written again before: it stays recorded,
 * with this boot.
 */
export function told(
  record: CachedWrites,
  nexus: string,
  { generations, bootId }: Admission & { bootId: string },
): CachedWrites {
  return replaced(record, { nexus, generations: [...generations], bootId });
}

const writerOf = ({ writers }: CachedWrites, nexus: string): CachedWriter | undefined =>
  writers.find((each) => each.nexus === nexus);

const isForgotten = ({ generations }: CachedWriter, floor: number): boolean =>
  generations.every((generation) => generation < floor);

function replaced(record: CachedWrites, writer: CachedWriter): CachedWrites {
  return { ...record, writers: [...record.writers.filter(({ nexus }) => nexus !== writer.nexus), writer] };
}
