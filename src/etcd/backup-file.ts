/**
 * A backup of the cluster's records, as a file: a header, one record a line, and a SHA-256 over all of it at the end.
 * Text, so that it depends on no version of etcd and needs no other program; the candidates of the election are not in
 * it. It holds hashes of tokens and the targets' secret: a holder of the file cannot read guests' disks, and must be
 * trusted with the rest.
 */
import { createHash } from 'node:crypto';
import { CodedError } from '../base/errors.ts';
import type { Etcd } from './api.ts';

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

const FORMAT = 'groundplane-backup';
/** The largest backup that is read, in characters: etcd's quota bounds what is in one. */
export const BACKUP_CHARS_MAX = 2 ** 29 - 1;
/** Lines that are made at once: a turn of the event loop is some milliseconds. */
const LINES_PER_PIECE = 200;

/**
 * The records under `prefix` but for those under `without`, in pieces of a file. Rejects with what etcd refuses, before
 * the first piece.
 */
export async function* backupOf(
  etcd: Pick<Etcd, 'list'>,
  { prefix, without, takenAt }: { readonly prefix: string; readonly without: string; readonly takenAt: number },
): AsyncGenerator<string, void> {
  const { entries, revision } = await etcd.list(prefix, { deadlineMs: 30_000 });
  const records = entries.filter(({ key }) => !key.startsWith(without));
  const hash = createHash('sha256');
  const header: BackupHeader = { format: FORMAT, version: 1, takenAt, revision, records: records.length };
  const pieces = [`${JSON.stringify(header)}\n`];
  for (let from = 0; from < records.length; from += LINES_PER_PIECE)
    pieces.push(
      records
        .slice(from, from + LINES_PER_PIECE)
        .map(({ key, value }) => `${JSON.stringify({ key, value })}\n`)
        .join(''),
    );
  for (const piece of pieces) {
    hash.update(piece);
    yield piece;
  }
  yield `${JSON.stringify({ sha256: hash.digest('hex') })}\n`;
}

/** Reads a backup. CodedError 'bad-input': it is none, or not whole. */
export function readBackup(text: string, name: string): Backup {
  const bad = (what: string): CodedError =>
    new CodedError('bad-input', `${name} is no whole backup of a cluster: ${what}.`, {
      advice: 'Nothing was changed.',
    });
  const end = text.lastIndexOf('\n', text.length - 2) + 1;
  const [first = '', ...lines] = text.slice(0, end).split('\n').slice(0, -1);
  const header = jsonOf(first) as Partial<BackupHeader> | null;
  if (header?.format !== FORMAT) throw bad('its first line is not that of one');
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
