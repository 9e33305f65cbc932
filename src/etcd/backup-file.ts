/**
 * A backup of the cluster's records, as a file: a header, one record a line, and a SHA-256 over all of it at the end.
 * Text, so that it depends on no version of etcd and needs no other program; the candidates of the election are not in
 * it. It holds hashes of tokens and the targets' secret: a holder of the file cannot read guests' disks, and must be
 * trusted with the rest.
 */
import { createHash } from 'node:crypto';
import { CodedError } from '../base/errors.ts';
import type { CallOptions, Etcd } from './api.ts';
import type { KeyValue } from './records.ts';

/** The first line. */
export interface BackupHeader {
  readonly format: typeof FORMAT;
  readonly version: 1;
  /** Unix ms. */
  readonly takenAt: number;
  /** etcd's revision that all records are of. */
  readonly revision: number;
  readonly records: number;
}

export interface Backup {
  readonly header: BackupHeader;
  readonly records: readonly Readonly<Record<'key' | 'value', string>>[];
}

/** Records of one revision, a page of them. */
export interface RecordPage {
  readonly revision: number;
  /** How many records the whole has, all pages together. */
  readonly total: number;
  readonly entries: readonly KeyValue[];
}

/** How pages are asked for: `revision` absent: the newest. */
export interface PageRequest extends CallOptions {
  readonly pageEntries?: number;
  readonly revision?: number;
}

/** Records that are read page by page (etcd/client.ts). */
export interface PagedRecords {
  pages(prefix: string, options: PageRequest): AsyncIterable<RecordPage>;
}

/** What a backup is made of, and when. */
export interface BackupOptions {
  readonly prefix: string;
  /** What is left out. */
  readonly without: string;
  /** Unix ms. */
  readonly takenAt: number;
  readonly signal?: AbortSignal;
  /** Told of the header before the first piece. */
  readonly onHeader?: (header: BackupHeader) => void;
}

const FORMAT = 'groundplane-backup';
/** The largest backup that is read, in characters: etcd's quota bounds what is in one. */
export const BACKUP_CHARS_MAX = 2 ** 29 - 1;
/** Records of a page, and of a turn of the event loop, which is some milliseconds. */
const PAGE_ENTRIES = 100;
const PAGE_MS = 30_000;

/**
 * The records under `prefix` but for those under `without`, in pieces of a file, a page of etcd's at a time: whatever
 * there is, no more than a page is held. Rejects with what etcd refuses; EtcdCompacted, where history was compacted
 * while it was read.
 */
export async function* backupOf(etcd: PagedRecords, options: BackupOptions): AsyncGenerator<string, void> {
  const { prefix, without, takenAt, signal, onHeader } = options;
  const request = { deadlineMs: PAGE_MS, pageEntries: PAGE_ENTRIES, ...(signal === undefined ? {} : { signal }) };
  const hash = createHash('sha256');
  let isBegun = false;
  for await (const { revision, total, entries } of etcd.pages(prefix, request)) {
    const pieces: string[] = [];
    if (!isBegun) {
      isBegun = true;
      const records = total - (await countOf(etcd, without, { ...request, revision, pageEntries: 1 }));
      const header: BackupHeader = { format: FORMAT, version: 1, takenAt, revision, records };
      onHeader?.(header);
      pieces.push(`${JSON.stringify(header)}\n`);
    }
    for (const { key, value } of entries)
      if (!key.startsWith(without)) pieces.push(`${JSON.stringify({ key, value })}\n`);
    const piece = pieces.join('');
    hash.update(piece);
    yield piece;
  }
  yield trailer(hash.digest('hex'));
}

async function countOf(etcd: PagedRecords, prefix: string, request: PageRequest): Promise<number> {
  for await (const { total } of etcd.pages(prefix, request)) return total;
  return 0;
}

/** The pages of an etcd that hands out a listing at once. */
export function pagesOf(etcd: Pick<Etcd, 'list'>): PagedRecords {
  return {
    async *pages(prefix, { signal }) {
      const { entries, revision } = await etcd.list(prefix, signal === undefined ? {} : { signal });
      yield { revision, total: entries.length, entries };
    },
  };
}

const trailer = (sha256: string): string => `${JSON.stringify({ sha256 })}\n`;
const TRAILER_BYTES = trailer('0'.repeat(64)).length;

/** Passes the pieces of a backup on. CodedError 'bad-input' at their end, unless they are a whole one. */
export async function* wholeBackup(pieces: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array, void> {
  const hash = createHash('sha256');
  // The last bytes so far, which may be the end.
  let held = Buffer.alloc(0);
  for await (const piece of pieces) {
    yield piece;
    const all = Buffer.concat([held, piece]);
    const hashedBytes = Math.max(0, all.length - TRAILER_BYTES);
    hash.update(all.subarray(0, hashedBytes));
    held = all.subarray(hashedBytes);
  }
  if (held.toString() === trailer(hash.digest('hex'))) return;
  throw new CodedError('bad-input', `${name} is not a complete backup of a cluster: its end is missing.`, {
    advice: 'Nothing was kept. Try again.',
  });
}

/** Reads a backup. CodedError 'bad-input': it is none, or not whole. */
export function readBackup(text: string, name: string): Backup {
  const bad = (what: string): CodedError =>
    new CodedError('bad-input', `${name} is not a complete backup of a cluster: ${what}.`, {
      advice: 'Nothing was changed.',
    });
  const end = text.lastIndexOf('\n', text.length - 2) + 1;
  const [first = '', ...lines] = text.slice(0, end).split('\n').slice(0, -1);
  const header = jsonOf(first) as Partial<BackupHeader> | null;
  if (header?.format !== FORMAT) throw bad('its first line is not that of a backup');
  if (header.version !== 1) throw bad(`it is of version ${String(header.version)}, and this version reads 1`);
  const hash = createHash('sha256').update(text.slice(0, end)).digest('hex');
  if ((jsonOf(text.slice(end)) as { sha256?: unknown } | null)?.sha256 !== hash)
    throw bad('its end is missing, or it was changed');
  const records = lines.map((line) => jsonOf(line) as Record<'key' | 'value', string>);
  if (records.length !== header.records || records.some((record) => typeof record?.value !== 'string'))
    throw bad('its records are not those of its header');
  return { header: header as BackupHeader, records };
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return null;
  }
}
