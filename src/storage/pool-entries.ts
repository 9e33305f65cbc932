/**
 * Reads the pool's directories safely, whoever wrote the entries: a disk's daemon owns the disk's directory, and people
 * copy, move and link files. Guarantees: no symbolic link is followed and only regular files are opened, so that
 * nothing blocks (a FIFO) and nothing outside is touched; a faulty entry affects only itself.
 */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, messageOf } from '../base/errors.ts';
import { type DiskId, isId, type Sha256 } from '../base/ids.ts';
import type { PoolFault } from '../core/ports/storage-link.ts';
import { readHandleBounded } from '../os/files.ts';
import { openForeign } from '../os/foreign-files.ts';

const JSON_BYTES_MAX = 64 * 1024;
/** Entries that are checked in one turn of the event loop. */
const AT_ONCE = 16;

/** The most faults of one kind of entries that are listed separately. */
export const FAULTS_MAX = 50;

const fault = (path: string, why: string): CodedError =>
  new CodedError('failed', `${path} ${why}: it is not served, and was left as it is.`, {
    advice: 'See docs/operating/storage.md, "Files that do not belong in a pool".',
  });

/**
 * Returns the size of a regular file in bytes; undefined if it does not exist. CodedError 'failed' for anything else, a
 * symbolic link included.
 */
export async function fileSizeBytes(path: string): Promise<number | undefined> {
  try {
    const found = await lstat(path);
    if (!found.isFile()) throw fault(path, found.isSymbolicLink() ? 'is a symbolic link' : 'is no regular file');
    return found.size;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Returns the size of a file that must exist and must not be empty. CodedError 'failed'. */
export async function demandFile(path: string): Promise<number> {
  const sizeBytes = await fileSizeBytes(path);
  if (sizeBytes === undefined) throw fault(path, 'is missing');
  if (sizeBytes === 0) throw fault(path, 'is empty');
  return sizeBytes;
}

/**
 * Returns the unchecked JSON of a small file; undefined if the file does not exist. CodedError 'failed' if the entry is
 * not such a file.
 */
export async function readEntryJson(path: string): Promise<unknown> {
  try {
    const file = await openForeign(path);
    try {
      const text = await readHandleBounded(file, JSON_BYTES_MAX);
      if (text === null) throw fault(path, `has more than ${JSON_BYTES_MAX} bytes`);
      return JSON.parse(text);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isMissing(error)) return undefined;
    if (error instanceof CodedError) throw error;
    throw fault(path, error instanceof SyntaxError ? 'is not JSON' : `cannot be read (${messageOf(error)})`);
  }
}

/** Returns the IDs in a directory whose names and kinds are valid. */
export async function idsIn<T extends DiskId | Sha256>(
  directory: string,
  kind: 'disk' | 'sha256',
): Promise<readonly T[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const isRight = (entry: (typeof entries)[number]): boolean =>
    isId(entry.name, kind) && (kind === 'disk' ? entry.isDirectory() : entry.isFile());
  return entries
    .filter(isRight)
    .map(({ name }) => name as T)
    .sort();
}

/**
 * Returns the faults in one directory of the pool: entries that do not belong there, and those for which `look` throws.
 * The result is bounded, and the check is slow on purpose: a few entries at a time.
 */
export async function faultsIn<T extends DiskId | Sha256>(
  directory: string,
  kind: 'disk' | 'sha256',
  look: (id: T) => Promise<unknown>,
): Promise<readonly PoolFault[]> {
  const right = new Set<string>(await idsIn<T>(directory, kind));
  const faults: PoolFault[] = [];
  const tell = (name: string, message: string): void => {
    if (faults.length < FAULTS_MAX)
      faults.push({ disk: kind === 'disk' && right.has(name) ? (name as DiskId) : null, message });
  };
  for (const name of await readdir(directory))
    if (!right.has(name))
      tell(
        name,
        `${join(directory, name)} is no ${kind === 'disk' ? 'disk’s directory' : 'stored file'}: it is left alone.`,
      );
  const queue = right.values();
  const worker = async (): Promise<void> => {
    for (const name of queue) await look(name as T).catch((error: unknown) => tell(name, messageOf(error)));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return faults;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}
