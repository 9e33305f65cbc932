/**
 * Holds the disk of the sequence workload (guest/tiny) against what the guest acknowledged on its serial console.
 * Pure: the disk is read through `readAt`. Shares no code with the guest's writer.
 *
 * Sector n (512 bytes, n >= 1) must hold "<n> <generation> <boot-id>\n" and zeros, without a hole, with generations
 * that never go down; every line `seq <n> <generation>` on a console must be found in sector n under that very
 * generation.
 */

/** The faults that the format shows. Each list is cut at 100 entries; the counts are complete. */
export interface SequenceReport {
  /** The highest sector that holds its own number; 0 when there is none. */
  readonly lastSequence: number;
  /** Sectors up to lastSequence that do not hold their own number: empty, torn or overwritten. */
  readonly gaps: readonly { readonly sequence: number; readonly found: string }[];
  /** Sectors of an older generation after a newer one: an old incarnation wrote after it was fenced. */
  readonly generationRegressions: readonly {
    readonly sequence: number;
    readonly generation: bigint;
    readonly after: bigint;
  }[];
  /** A boot's lines after another boot of the same or a newer generation began: two incarnations wrote at a time. */
  readonly bootsInterleaved: readonly { readonly sequence: number; readonly bootId: string }[];
  /** Acknowledged on a console, and not in its sector under that generation. `found` is what is there instead. */
  readonly missingAcknowledged: readonly {
    readonly sequence: number;
    readonly generation: bigint;
    readonly found: string;
  }[];
  readonly counts: {
    readonly acknowledged: number;
    readonly gaps: number;
    readonly generationRegressions: number;
    readonly bootsInterleaved: number;
    readonly missingAcknowledged: number;
  };
  /** No fault was found, and there was something to check. */
  readonly good: boolean;
}

export interface SequenceCheckOptions {
  /** Reads up to `lengthBytes` at `offsetBytes`; fewer only at the end of the disk. */
  readonly readAt: (offsetBytes: number, lengthBytes: number) => Promise<Uint8Array>;
  readonly diskSizeBytes: number;
  /** The consoles of all incarnations, in any order, whole: lines without their end are not counted as acknowledged. */
  readonly serialLogs: readonly string[];
}

const SECTOR_BYTES = 512;
const HEADER = 'groundplane-sequence 1\n';
const BLOCK_SECTORS = 2048;
/** After this many sectors without a single own number the rest is taken as unwritten. */
const EMPTY_SECTORS_AT_END = 4 * BLOCK_SECTORS;
const LISTED_MAX = 100;
const FOUND_CHARS_MAX = 80;

interface Entry {
  readonly generation: bigint;
  readonly bootId: string;
}

interface Acknowledgement {
  readonly sequence: number;
  readonly generation: bigint;
}

/** The acknowledgements in a console's text. A shell prompt before one does no harm. */
export function acknowledgedIn(serialLog: string): Acknowledgement[] {
  const found: Acknowledgement[] = [];
  for (const match of serialLog.matchAll(/(?<![A-Za-z0-9-])seq ([0-9]{1,15}) ([0-9]{1,20})\r*\n/g)) {
    found.push({ sequence: Number(match[1]), generation: BigInt(match[2] ?? '0') });
  }
  return found;
}

/** The text of a sector up to its first zero byte, shortened for a person. */
function shown(sector: Uint8Array): string {
  let text = '';
  for (const byte of sector.subarray(0, FOUND_CHARS_MAX)) {
    if (byte === 0) break;
    text += byte >= 32 && byte < 127 ? String.fromCharCode(byte) : byte === 10 ? '\\n' : '?';
  }
  return text === '' ? 'nothing' : text;
}

function rawText(sector: Uint8Array): string {
  let end = sector.length;
  while (end > 0 && sector[end - 1] === 0) end -= 1;
  let text = '';
  for (const byte of sector.subarray(0, end)) text += String.fromCharCode(byte);
  return text;
}

function entryOf(sector: Uint8Array, sequence: number): Entry | undefined {
  const match = /^([0-9]{1,15}) ([0-9]{1,20}) ([0-9a-f-]{1,64})\n$/.exec(rawText(sector));
  if (match === null || Number(match[1]) !== sequence) return undefined;
  return { generation: BigInt(match[2] ?? '0'), bootId: match[3] ?? '' };
}

class Findings<T> {
  readonly listed: T[] = [];
  count = 0;
  add(finding: T): void {
    this.count += 1;
    if (this.listed.length < LISTED_MAX) this.listed.push(finding);
  }
}

/** Follows the sectors in order and notes what must not be. */
class Walk {
  lastSequence = 0;
  readonly gaps = new Findings<SequenceReport['gaps'][number]>();
  readonly regressions = new Findings<SequenceReport['generationRegressions'][number]>();
  readonly interleaved = new Findings<SequenceReport['bootsInterleaved'][number]>();
  readonly missing = new Findings<SequenceReport['missingAcknowledged'][number]>();
  private pendingGaps: { sequence: number; found: string }[] = [];
  private pendingGapCount = 0;
  private newest = -1n;
  private bootId = '';
  private readonly endedBoots = new Set<string>();

  visit(sequence: number, sector: Uint8Array, acknowledged: readonly bigint[]): void {
    const entry = entryOf(sector, sequence);
    for (const generation of acknowledged) {
      if (entry?.generation !== generation) this.missing.add({ sequence, generation, found: shown(sector) });
    }
    if (entry === undefined) this.noteGap(sequence, sector);
    else this.noteEntry(sequence, entry);
  }

  /** A hole counts only once something follows it: until then it may be the end. What is torn there counts at once. */
  private noteGap(sequence: number, sector: Uint8Array): void {
    this.pendingGapCount += 1;
    if (this.pendingGaps.length < LISTED_MAX) this.pendingGaps.push({ sequence, found: shown(sector) });
  }

  private noteEntry(sequence: number, entry: Entry): void {
    for (const gap of this.pendingGaps) this.gaps.add(gap);
    this.gaps.count += this.pendingGapCount - this.pendingGaps.length;
    this.pendingGaps = [];
    this.pendingGapCount = 0;
    this.lastSequence = sequence;
    if (entry.generation < this.newest)
      this.regressions.add({ sequence, generation: entry.generation, after: this.newest });
    else this.newest = entry.generation;
    if (entry.bootId === this.bootId) return;
    if (this.bootId !== '') this.endedBoots.add(this.bootId);
    if (this.endedBoots.has(entry.bootId)) this.interleaved.add({ sequence, bootId: entry.bootId });
    this.bootId = entry.bootId;
  }
}

function acknowledgements(serialLogs: readonly string[]): {
  bySequence: Map<number, bigint[]>;
  count: number;
  highest: number;
} {
  const bySequence = new Map<number, bigint[]>();
  let count = 0;
  let highest = 0;
  for (const { sequence, generation } of serialLogs.flatMap(acknowledgedIn)) {
    count += 1;
    highest = Math.max(highest, sequence);
    const known = bySequence.get(sequence);
    if (known === undefined) bySequence.set(sequence, [generation]);
    // The same console given twice is one acknowledgement; another generation is not.
    else if (!known.includes(generation)) known.push(generation);
  }
  return { bySequence, count, highest };
}

/**
 * Reads the whole sequence and reports. Throws what `readAt` throws, or an Error when sector 0 does not name the
 * format.
 */
export async function checkSequence(options: SequenceCheckOptions): Promise<SequenceReport> {
  const { readAt, diskSizeBytes } = options;
  const { bySequence, count, highest } = acknowledgements(options.serialLogs);
  const sectors = Math.floor(diskSizeBytes / SECTOR_BYTES);
  const walk = new Walk();
  const head = await readAt(0, SECTOR_BYTES);
  if (rawText(head) !== HEADER && (rawText(head) !== '' || count === 0)) {
    throw new Error(`Sector 0 does not name the sequence format; it holds ${shown(head)}.`);
  }
  for (let first = 1; first < sectors; first += BLOCK_SECTORS) {
    if (first > highest && first > walk.lastSequence + EMPTY_SECTORS_AT_END) break;
    const wanted = Math.min(BLOCK_SECTORS, sectors - first);
    const block = await readAt(first * SECTOR_BYTES, wanted * SECTOR_BYTES);
    for (let index = 0; index < wanted; index += 1) {
      const sector = block.subarray(index * SECTOR_BYTES, (index + 1) * SECTOR_BYTES);
      walk.visit(first + index, sector, bySequence.get(first + index) ?? []);
    }
  }
  for (const [sequence, generations] of bySequence) {
    if (sequence >= 1 && sequence < sectors) continue;
    for (const generation of generations) walk.missing.add({ sequence, generation, found: 'no such sector' });
  }
  return reportOf(walk, count);
}

function reportOf(walk: Walk, acknowledged: number): SequenceReport {
  const counts = {
    acknowledged,
    gaps: walk.gaps.count,
    generationRegressions: walk.regressions.count,
    bootsInterleaved: walk.interleaved.count,
    missingAcknowledged: walk.missing.count,
  };
  const wrong = counts.gaps + counts.generationRegressions + counts.bootsInterleaved + counts.missingAcknowledged;
  return {
    lastSequence: walk.lastSequence,
    gaps: walk.gaps.listed,
    generationRegressions: walk.regressions.listed,
    bootsInterleaved: walk.interleaved.listed,
    missingAcknowledged: walk.missing.listed,
    counts,
    good: wrong === 0 && walk.lastSequence > 0 && acknowledged > 0,
  };
}
