/**
 * The shared disks of the pool directory. Guarantees: a disk is there whole, synced, or not at all; what an interrupted
 * creation left is removed at the next start (tmp/ is the pool's).
 *
 *   shared/ID/disk.json   its block size
 *   shared/ID/disk.raw    sparse; its length is the disk's size
 *   shared/ID/cached.json whose writes may be in the page cache only: the target's (src/iscsi/cached-writes-file.ts)
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, lchown, lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, messageOf } from '../base/errors.ts';
import type { DiskId } from '../base/ids.ts';
import type { PoolFault } from '../core/ports/storage-link.ts';
import type { TargetUnit } from '../core/ports/target-backend.ts';
import { CACHED_WRITES_FILE } from '../iscsi/cached-writes-file.ts';
import { writeFileAtomic } from '../os/files.ts';
import { giveForeign, openForeign, removeForeign } from '../os/foreign-files.ts';
import { integer, object, type Parser } from '../rpc/parse.ts';
import { demandFile, faultsIn, idsIn, readEntryJson } from './pool-entries.ts';

const parseBlockBytes: Parser<512 | 4096> = (value, at) =>
  value === 512 ? 512 : (integer({ min: 4096, max: 4096 })(value, at) as 4096);
const parseMeta = object({ blockBytes: parseBlockBytes });

/** One per pool directory, which has a `tmp`. */
export class SharedPool {
  readonly #poolDir: string;

  private constructor(poolDir: string) {
    this.#poolDir = poolDir;
  }

  /** Makes the directory. Others may pass through but not list. */
  static async open(poolDir: string): Promise<SharedPool> {
    const pool = new SharedPool(poolDir);
    await mkdir(pool.directory, { recursive: true, mode: 0o711 });
    await chmod(pool.directory, 0o711);
    return pool;
  }

  /** Holds a directory for each disk. */
  get directory(): string {
    return join(this.#poolDir, 'shared');
  }

  async list(): Promise<readonly TargetUnit[]> {
    const units: TargetUnit[] = [];
    for (const disk of await idsIn<DiskId>(this.directory, 'disk'))
      await this.#unit(disk).then(
        (unit) => units.push(unit),
        () => undefined,
      );
    return units;
  }

  /** Returns entries that do not belong there, and disks with faulty files: `list` leaves them out. */
  faults(): Promise<readonly PoolFault[]> {
    return faultsIn<DiskId>(this.directory, 'disk', (disk) => this.#unit(disk));
  }

  async #unit(disk: DiskId): Promise<TargetUnit> {
    const meta = parseMeta(await readEntryJson(join(this.directory, disk, 'disk.json')), `disk.json of ${disk}`);
    return { disk, sizeBytes: await demandFile(this.#file(disk)), blockBytes: meta.blockBytes };
  }

  /** CodedError 'no-capacity' where the file system takes no file of that length. */
  async create({ disk, sizeBytes, blockBytes }: TargetUnit): Promise<void> {
    const temporary = this.#temporary();
    try {
      await mkdir(temporary, { mode: 0o700 });
      const file = await open(join(temporary, 'disk.raw'), 'wx', 0o600);
      try {
        await file.truncate(sizeBytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await writeFileAtomic(join(temporary, 'disk.json'), JSON.stringify({ blockBytes }));
      await rename(temporary, join(this.directory, disk));
      await syncDirectory(this.directory);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw noRoom(error, sizeBytes);
    }
  }

  async grow({ disk, sizeBytes }: TargetUnit): Promise<void> {
    if ((await demandFile(this.#file(disk))) >= sizeBytes) return;
    const file = await openForeign(this.#file(disk), constants.O_RDWR);
    try {
      await file.truncate(sizeBytes);
      await file.sync();
    } catch (error) {
      throw noRoom(error, sizeBytes);
    } finally {
      await file.close();
    }
  }

  /** Idempotent. A process that has the file open keeps the unlinked file. */
  async delete(disk: DiskId): Promise<void> {
    const temporary = this.#temporary();
    try {
      await rename(join(this.directory, disk), temporary);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      throw error;
    }
    await syncDirectory(this.directory);
    await removeForeign(temporary);
  }

  /** Gives all disks to the user whose process serves them. */
  async giveAll({ uid }: { readonly uid: number }): Promise<void> {
    for (const { disk } of await this.list()) {
      const directory = join(this.directory, disk);
      if ((await lstat(directory)).uid === uid) continue;
      await giveForeign(this.#file(disk), uid);
      // The disk was made by a target that had no user of its own.
      await giveForeign(join(directory, CACHED_WRITES_FILE), uid).catch(unlessMissing);
      await lchown(directory, uid, uid);
    }
  }

  #file(disk: DiskId): string {
    return join(this.directory, disk, 'disk.raw');
  }

  #temporary(): string {
    return join(this.#poolDir, 'tmp', randomBytes(8).toString('hex'));
  }
}

function unlessMissing(error: unknown): void {
  if (!isErrno(error, 'ENOENT')) throw error;
}

async function syncDirectory(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function noRoom(error: unknown, sizeBytes: number): unknown {
  if (!isErrno(error, 'ENOSPC') && !isErrno(error, 'EFBIG') && !isErrno(error, 'EINVAL')) return error;
  return new CodedError('no-capacity', `The pool has no room for a disk of ${sizeBytes} bytes: ${messageOf(error)}.`, {
    cause: error,
    advice: 'Nothing was changed. File systems limit the size of a file: 16 TiB with ext4.',
  });
}
