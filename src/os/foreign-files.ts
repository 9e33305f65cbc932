/**
 * Files in a directory that a less trusted user owns, touched by a more privileged process. Guarantees: no symbolic
 * link is followed and only regular files are opened, so that nothing blocks (a FIFO) and nothing outside of the
 * directory is read, written, given away or deleted, whatever that user does in the meantime.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';

/** Directories below the one that is removed: no program of ours makes more. */
const LEVELS_MAX = 8;

/** Opens a regular file. CodedError 'failed' for anything else; the system's error if there is no such file. */
export async function openForeign(path: string, flags: number = constants.O_RDONLY): Promise<FileHandle> {
  // Non-blocking: if the entry has been replaced by a FIFO, it opens at once and is then rejected.
  const file = await open(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((cause: unknown) => {
    if (!isErrno(cause, 'ELOOP')) throw cause;
    throw new CodedError('failed', `${path} is a symbolic link; it was not followed.`, { cause });
  });
  try {
    if ((await file.stat()).isFile()) return file;
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  throw new CodedError('failed', `${path} is no regular file; it was left as it is.`);
}

/**
 * Gives a regular file to a user. CodedError 'failed' if the file has a second name (hard link): that name may belong
 * to somebody else.
 */
export async function giveForeign(path: string, uid: number): Promise<void> {
  const file = await openForeign(path);
  try {
    const { uid: owner, nlink } = await file.stat();
    if (owner === uid) return;
    if (nlink > 1) throw new CodedError('failed', `${path} has a second name (hard link); its owner was not changed.`);
    await file.chown(uid, uid);
  } finally {
    await file.close();
  }
}

/** Writes what is in the page cache of a regular file to its disk. */
export async function syncForeign(path: string): Promise<void> {
  const file = await openForeign(path);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Removes a directory and everything in it; a path that does not exist is no error. */
export async function removeForeign(path: string): Promise<void> {
  // A user who still has processes could replace a directory by a link between a look at it and its removal.
  await takeOver(path, LEVELS_MAX);
  await rm(path, { recursive: true, force: true });
}

/**
 * Takes a directory, and its subdirectories, from their owner, from the top down: then nobody else can rename anything
 * there.
 */
async function takeOver(path: string, levelsLeft: number): Promise<void> {
  let directory: FileHandle;
  try {
    directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    // The directory does not exist, or is no directory: it can be removed without looking into it.
    if (isErrno(error, 'ENOENT') || isErrno(error, 'ENOTDIR') || isErrno(error, 'ELOOP')) return;
    throw error;
  }
  try {
    const { uid } = await directory.stat();
    const self = process.geteuid?.() ?? uid;
    if (uid !== self) await directory.chown(self, process.getegid?.() ?? self);
    await directory.chmod(0o700);
  } finally {
    await directory.close();
  }
  if (levelsLeft === 0)
    throw new CodedError('failed', `${path} is deeper than ${LEVELS_MAX} directories; it was not removed.`);
  for (const name of await readdir(path)) {
    const child = join(path, name);
    if ((await lstat(child)).isDirectory()) await takeOver(child, levelsLeft - 1);
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
