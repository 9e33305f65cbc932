/**
 * What is found in the pool's directories, whoever put it there: a disk's daemon owns its disk's directory, and people copy, move and link.
 * Guarantees: no symbolic link is followed and nothing but a regular file is opened, so that nothing waits (a FIFO) and nothing else is
 * touched; what is not as it must be is a fault of its own entry and never of the others.
 */
import { constants } from 'node:fs';
import { lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, messageOf } from '../base/errors.ts';
import { type DiskId, isId, type Sha256 } from '../base/ids.ts';
import type { PoolFault } from '../core/ports/storage-link.ts';

const JSON_BYTES_MAX = 64 * 1024;
/** Entries that are looked at in one go; then others have their turn. */
const AT_ONCE = 16;

/** Faults of one kind of entries that are told one by one. */
export const FAULTS_MAX = 50;

const fault = (path: string, why: string): CodedError =>
  new CodedError('failed', `${path} ${why}: it is not served, and was left as it is.`, {
    advice: 'See docs/operating/storage.md, "What does not belong into a pool".',
  });

/** The size of a regular file in bytes; undefined where there is nothing. CodedError 'failed' for anything else, a symbolic link included. */
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

/** The size of a file that must be there and hold something. CodedError 'failed'. */
export async function demandFile(path: string): Promise<number> {
  const sizeBytes = await fileSizeBytes(path);
  if (sizeBytes === undefined) throw fault(path, 'is missing');
  if (sizeBytes === 0) throw fault(path, 'is empty');
  return sizeBytes;
}

/** The JSON in a small file, unchecked; undefined where there is none. CodedError 'failed' for what is no such file. */
export async function readEntryJson(path: string): Promise<unknown> {
  try {
    // Not blocking: a FIFO that was put there since is opened at once, and is then seen to be none of ours.
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { size } = await ofRegular(path, file);
      if (size > JSON_BYTES_MAX) throw fault(path, `has more than ${JSON_BYTES_MAX} bytes`);
      return JSON.parse(await file.readFile('utf8'));
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isMissing(error)) return undefined;
    if (error instanceof CodedError) throw error;
    throw fault(path, error instanceof SyntaxError ? 'is not JSON' : `cannot be read (${messageOf(error)})`);
  }
}

async function ofRegular(path: string, file: Awaited<ReturnType<typeof open>>): ReturnType<typeof lstat> {
  const found = await file.stat();
  if (!found.isFile()) throw fault(path, 'is no regular file');
  return found;
}

/** The entries of a directory whose names and kinds are right. */
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
 * What is wrong in one directory of the pool: entries that do not belong there, and those of which `look` throws. Bounded in what it tells, and
 * slow on purpose: a few entries at a time.
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
