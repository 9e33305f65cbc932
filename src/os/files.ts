/**
 * Files that are whole or absent. Guarantees: a reader never sees a half-written file and a crash leaves the old or the
 * new content; private directories belong to us alone; a directory lock ends with its holder and cannot be left stale.
 */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, rename, rm, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CodedError } from '../base/errors.ts';

export interface WriteOptions {
  /** Permission bits, applied exactly (the umask is not). 0o600 by default. */
  readonly mode?: number | undefined;
  /** Owner to give the file to; needs root. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  /**
   * Whether the file has to survive a loss of power; true by default. False for a file that is of no use afterwards.
   */
  readonly durable?: boolean | undefined;
}

/** Replaces a file in one step: temporary file beside it, fsync, rename, fsync of the directory. */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  options: WriteOptions = {},
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    try {
      await file.writeFile(content);
      if (options.owner !== undefined) await file.chown(options.owner.uid, options.owner.gid);
      await file.chmod(options.mode ?? 0o600);
      if (options.durable !== false) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  if (options.durable !== false) await syncDirectory(dirname(path));
}

/**
 * Writes what comes into a new or replaced file of mode 0600, in one step as `writeFileAtomic`. Returns its size in
 * bytes. CodedError 'too-large' beyond `sizeBytesMax`; throws what `pieces` throw. Nothing is left of a file that did not
 * come whole.
 */
export async function writePiecesAtomic(
  path: string,
  pieces: AsyncIterable<string | Uint8Array>,
  { sizeBytesMax }: { readonly sizeBytesMax: number },
): Promise<number> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  const file = await open(temporary, 'wx', 0o600);
  let sizeBytes = 0;
  try {
    try {
      for await (const piece of pieces) {
        const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece;
        sizeBytes += bytes.length;
        if (sizeBytes > sizeBytesMax)
          throw new CodedError('too-large', `${path} would be larger than ${sizeBytesMax} bytes; it was not kept.`);
        await file.writeFile(bytes);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(path));
  return sizeBytes;
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/**
 * Makes a directory (and its parents) of mode 0700. A directory that exists is tightened to 0700; CodedError 'failed'
 * when the path is a symbolic link, no directory, or belongs to somebody else.
 */
export async function makePrivateDirectory(path: string, options: Pick<WriteOptions, 'owner'> = {}): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const stat = await lstat(path);
  if (!stat.isDirectory())
    throw new CodedError('failed', `${path} is a symbolic link or no directory; it was not used.`);
  const uid = process.geteuid?.();
  if (uid !== 0 && stat.uid !== uid)
    throw new CodedError('failed', `${path} belongs to user ${stat.uid}, not to us; it was not used.`);
  // O_NOFOLLOW: the directory changed is the one that was looked at, never the target of a link put there since.
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    await directory.chmod(0o700);
    if (options.owner !== undefined) await directory.chown(options.owner.uid, options.owner.gid);
  } finally {
    await directory.close();
  }
}

/** A whole file as text; undefined when absent, CodedError 'too-large' beyond `sizeBytesMax`. */
export async function readTextBounded(path: string, sizeBytesMax: number): Promise<string | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const text = await readHandleBounded(file, sizeBytesMax);
    if (text === null)
      throw new CodedError('too-large', `${path} is larger than ${sizeBytesMax} bytes; it was not read.`);
    return text;
  } finally {
    await file.close();
  }
}

/**
 * The text of an open file, read from its current position; null if it has more than `sizeBytesMax` bytes, whatever
 * length it claims.
 */
export async function readHandleBounded(file: FileHandle, sizeBytesMax: number): Promise<string | null> {
  const buffer = Buffer.alloc(sizeBytesMax + 1);
  for (let sizeBytes = 0; sizeBytes <= sizeBytesMax; ) {
    const { bytesRead } = await file.read(buffer, sizeBytes, buffer.length - sizeBytes);
    if (bytesRead === 0) return buffer.toString('utf8', 0, sizeBytes);
    sizeBytes += bytesRead;
  }
  return null;
}

/**
 * The JSON in a file, unchecked; undefined when absent. CodedError 'too-large' beyond `sizeBytesMax` (1 MiB by
 * default), 'bad-input' when it is not JSON.
 */
export async function readJsonFile(path: string, sizeBytesMax = 1024 * 1024): Promise<unknown> {
  const text = await readTextBounded(path, sizeBytesMax);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CodedError('bad-input', `${path} is not valid JSON; it was left as it is.`, { cause });
  }
}

/** Whether the file system of a directory that we may write to takes O_DIRECT. */
export async function hasDirectIo(directory: string): Promise<boolean> {
  const probe = `${directory}/direct-io.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(probe, constants.O_CREAT | constants.O_RDWR | constants.O_DIRECT, 0o600);
    await file.close();
    return true;
  } catch {
    return false;
  } finally {
    await rm(probe, { force: true });
  }
}

export interface DirectoryLock {
  /** Gives the lock back; ending the process does so too. */
  release(): Promise<void>;
}

/**
 * Takes the exclusive lock on a directory, or throws CodedError 'conflict' at once when another process has it.
 * A flock(2) lock belongs to the open file description: flock(1) takes it on a descriptor that we opened and passed to
 * it, and it stays ours when flock(1) has exited. The kernel frees it however this process ends; the descriptor is
 * close-on-exec, so no child or daemon keeps it. A lock file with a pid in it could not promise that.
 */
export async function lockDirectory(path: string): Promise<DirectoryLock> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const child = spawn('flock', ['--exclusive', '--nonblock', '--conflict-exit-code', '75', '3'], {
      stdio: ['ignore', 'ignore', 'ignore', directory.fd],
      // flock --nonblock does not wait; the bound is for a machine that is out of its mind.
      timeout: 10_000,
      killSignal: 'SIGKILL',
    });
    const [exitCode] = await once(child, 'exit');
    if (exitCode === 0) return { release: () => directory.close() };
    if (exitCode === 75) {
      throw new CodedError('conflict', `${path} is in use by another process.`, {
        advice: 'Nothing was changed. End the other process, or use another directory.',
      });
    }
    throw new CodedError('failed', `flock on ${path} failed with exit status ${exitCode}.`);
  } catch (error) {
    await directory.close();
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new CodedError('not-installed', 'flock was not found on this machine.', {
        cause: error,
        advice: 'Install util-linux.',
      });
    }
    throw error;
  }
}
