/**
 * The node's pool directory: disks and imported files. Guarantees: a disk or file is there whole and synced, or not at
 * all; remains of an interrupted creation are removed at the next start; nothing is created that would use the reserve;
 * an entry that somebody else put there or broke is a fault of that entry only (`faults`, pool-entries.ts).
 *   disks/ID/disk.json    what it was made from (DiskMeta)
 *   disks/ID/disk.qcow2   or disk.raw
 *   artifacts/SHA256      read only
 *   tmp/                  what is being made
 */

import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, copyFile, lchown, lstat, mkdir, open, rename, rm, stat, statfs, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { CodedError } from '../base/errors.ts';
import { type DiskId, parseSha256, parseVmId, type Sha256, type VmId } from '../base/ids.ts';
import { LIMITS } from '../core/model/limits.ts';
import type { ArtifactInfo, DiskOrder, PoolFault, PoolReport } from '../core/ports/storage-link.ts';
import { demandFileSize, largestDiskBytes } from '../core/request/demands.ts';
import { inspectImage } from '../images/inspect.ts';
import { asUser, run } from '../os/child-process.ts';
import { writeFileAtomic } from '../os/files.ts';
import { giveForeign, openForeign, removeForeign, syncForeign } from '../os/foreign-files.ts';
import { monotonicMs } from '../os/monotonic.ts';
import { SPARSE_BLOCK_BYTES, SparseWriter } from '../os/sparse-file.ts';
import { idOf, integer, nullable, object, oneOf, text } from '../rpc/parse.ts';
import { demandFile, FAULTS_MAX, faultsIn, idsIn, readEntryJson } from './pool-entries.ts';

/**
 * The properties that a disk was made with: kept beside it, because its owner and backing file must be known without
 * etcd.
 */
export interface DiskMeta {
  readonly vm: VmId;
  readonly format: 'qcow2' | 'raw';
  /** SHA-256 over kind and content of the source: whether a repeated order is the same one. */
  readonly sourceSha256: string;
  readonly backing: { readonly artifact: Sha256; readonly format: 'qcow2' | 'raw' } | null;
  /** The size in bytes at creation; the disk may have grown since. */
  readonly sizeBytes: number;
}

export type ArtifactKind = 'disk-qcow2' | 'disk-raw' | 'kernel' | 'initrd' | 'seed';

export interface ArtifactUpload {
  readonly kind: ArtifactKind;
  readonly stream: Readable;
  readonly sizeBytes: number | undefined;
  /** The most bytes that the content may take here without its zeroes; absent: `sizeBytes`. */
  readonly dataBytes?: number | undefined;
}

export interface PoolOptions {
  readonly directory: string;
  /** Free space that creations leave alone, for guests that write. */
  readonly reserveBytes: number;
  /** The firmware's template of UEFI variables. */
  readonly nvramTemplate: string;
  /** The faults of the shared disks in the same pool (shared-pool.ts). */
  readonly sharedFaults: () => Promise<readonly PoolFault[]>;
  /** Reads the space of the pool's file system, in bytes. Absent: the operating system is asked (statfs). */
  readonly readSpace?: (directory: string) => Promise<Pick<PoolReport, 'totalBytes' | 'freeBytes'>>;
}

const TOOL_MS = 30_000;
const NBD_BLOCK_BYTES = 512;
const QCOW2_MAGIC = Buffer.from('QFI\xfb', 'latin1');
/** The offset of the virtual size in a qcow2 header: 64 bits, big-endian (QEMU's document about the format). */
const QCOW2_SIZE_AT = 24;
/** Options with which a tool opens no backing file, whatever the image names. */
const NO_BACKING = { qcow2: { backing: null }, raw: {} } as const;
const FILE_BLOCK_BYTES = 4096;
/** Interval between two checks of the whole pool, in ms. */
const LOOK_MS = 60_000;

const parseMeta = object({
  vm: idOf(parseVmId),
  format: oneOf('qcow2', 'raw'),
  sourceSha256: text({ charsMax: 64 }),
  backing: nullable(object({ artifact: idOf(parseSha256), format: oneOf('qcow2', 'raw') })),
  sizeBytes: integer({ min: 0 }),
});

/** The pool directory; one instance per directory (the process holds its lock). */
export class Pool {
  /** The user that tools inspect uploads as; undefined: the user of this process. */
  toolUid: number | undefined;
  readonly #options: PoolOptions;
  readonly #directory: string;
  #largestFileBytes = 0;
  #faults: readonly PoolFault[] = [];
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  private constructor(options: PoolOptions) {
    this.#options = options;
    this.#directory = options.directory;
  }

  /** Opens the pool, making its directories and removing what was left half-made. */
  static async open(options: PoolOptions): Promise<Pool> {
    const pool = new Pool(options);
    await removeForeign(pool.#path('tmp'));
    // Other users may pass through (each daemon reaches its own disk and the shared images, and tools that inspect an
    // upload run as another user) but not list; names in `tmp` cannot be guessed. A umask must not remove these rights.
    for (const name of ['', 'disks', 'artifacts', 'tmp']) {
      await mkdir(pool.#path(name), { recursive: true, mode: 0o711 });
      await chmod(pool.#path(name), 0o711);
    }
    pool.#largestFileBytes = await largestFile(pool.#path('tmp', 'largest'));
    return pool;
  }

  artifactPath(sha256: Sha256): string {
    return this.#path('artifacts', sha256);
  }

  diskPath(disk: DiskId, format: 'qcow2' | 'raw'): string {
    return this.#path('disks', disk, `disk.${format}`);
  }

  async space(): Promise<PoolReport> {
    const space = await (this.#options.readSpace ?? readSpace)(this.#directory);
    return { ...space, largestFileBytes: this.#largestFileBytes };
  }

  listDisks(): Promise<readonly DiskId[]> {
    return idsIn(this.#path('disks'), 'disk');
  }

  listArtifacts(): Promise<readonly Sha256[]> {
    return idsIn(this.#path('artifacts'), 'sha256');
  }

  /** Returns the faults of the last check, and starts another check if the last one is more than a minute old. */
  faults(): readonly PoolFault[] {
    if (monotonicMs() - this.#lookedAtMs >= LOOK_MS) this.look().catch(() => undefined);
    return this.#faults;
  }

  /** Checks every disk, shared disk and stored file. Rejects when a directory of the pool cannot be listed. */
  async look(): Promise<readonly PoolFault[]> {
    this.#lookedAtMs = Number.POSITIVE_INFINITY;
    try {
      this.#faults = [
        ...(await faultsIn<DiskId>(this.#path('disks'), 'disk', (disk) => this.#lookAtDisk(disk))),
        ...(await faultsIn<Sha256>(this.#path('artifacts'), 'sha256', (sha256) =>
          demandFile(this.artifactPath(sha256)),
        )),
        ...(await this.#options.sharedFaults()),
      ].slice(0, FAULTS_MAX);
    } finally {
      this.#lookedAtMs = monotonicMs();
    }
    return this.#faults;
  }

  async #lookAtDisk(disk: DiskId): Promise<void> {
    const meta = await this.readMeta(disk);
    // The disk was deleted after it was listed.
    if (meta === undefined && !(await exists(this.#path('disks', disk)))) return;
    if (meta === undefined) await demandFile(this.#path('disks', disk, 'disk.json'));
    else await demandFile(this.diskPath(disk, meta.format));
  }

  /** The properties that a disk was made with; undefined if there is no such disk. */
  async readMeta(disk: DiskId): Promise<DiskMeta | undefined> {
    const value = await readEntryJson(this.#path('disks', disk, 'disk.json'));
    return value === undefined ? undefined : parseMeta(value, `disk.json of ${disk}`);
  }

  /**
   * Idempotent. CodedError 'conflict' when a different disk has the id, 'no-capacity', 'not-found' for the artifact.
   */
  async createDisk(disk: DiskId, order: Omit<DiskOrder, 'term'>): Promise<void> {
    const meta = metaOf(order);
    const existing = await this.readMeta(disk);
    if (existing !== undefined) {
      if (existing.vm === meta.vm && existing.sourceSha256 === meta.sourceSha256) return;
      throw new CodedError('conflict', `There is another disk ${disk}; it was left as it is.`);
    }
    await this.#checkSpace(1024 * 1024);
    this.#demandFile(meta.format, order.sizeBytes);
    const temporary = this.#path('tmp', randomBytes(8).toString('hex'));
    try {
      await mkdir(temporary, { mode: 0o700 });
      const file = join(temporary, `disk.${meta.format}`);
      await this.#makeImage(file, order, meta);
      await syncPath(file);
      await writeFileAtomic(join(temporary, 'disk.json'), JSON.stringify(meta));
      await rename(temporary, this.#path('disks', disk));
      await syncPath(this.#path('disks'));
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw spaceError(error);
    }
  }

  /** Idempotent. The caller has ended the process that had it open. */
  async deleteDisk(disk: DiskId): Promise<void> {
    const temporary = this.#path('tmp', randomBytes(8).toString('hex'));
    try {
      await rename(this.#path('disks', disk), temporary);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      throw error;
    }
    await syncPath(this.#path('disks'));
    await removeForeign(temporary);
  }

  /**
   * Grows a disk that no daemon has open; a disk that is larger already is left alone. The image belongs to its daemon,
   * which may have written anything into it: the tool runs as the daemon's user, and opens no other file that the image
   * names.
   */
  async growDisk(disk: DiskId, { format, sizeBytes }: { format: 'qcow2' | 'raw'; sizeBytes: number }): Promise<void> {
    const file = this.diskPath(disk, format);
    if ((await this.diskSizeBytes(disk, format)) >= sizeBytes) return;
    this.#demandFile(format, sizeBytes);
    const { uid } = await lstat(file);
    const image = { driver: format, file: { driver: 'file', filename: file }, ...NO_BACKING[format] };
    const argv = [...asUser(uid), 'qemu-img', 'resize', '-q', `json:${JSON.stringify(image)}`, String(sizeBytes)];
    await run(argv, { deadlineMs: TOOL_MS });
    await syncForeign(file);
  }

  /** The size that the guest sees. */
  async diskSizeBytes(disk: DiskId, format: 'qcow2' | 'raw'): Promise<number> {
    const file = this.diskPath(disk, format);
    await demandFile(file);
    return imageSizeBytes(file, format);
  }

  /** Gives a disk's directory and files to the user whose daemon serves it. */
  async giveDisk(disk: DiskId, format: 'qcow2' | 'raw', { uid }: { readonly uid: number }): Promise<void> {
    const directory = this.#path('disks', disk);
    await demandFile(this.diskPath(disk, format));
    await giveForeign(this.diskPath(disk, format), uid);
    await lchown(directory, uid, uid);
  }

  /**
   * Takes an upload. CodedError 'bad-input' if the content does not match the name, 'bad-image' for an unusable disk
   * image, 'too-large', 'no-capacity'. A failed upload leaves nothing.
   */
  async receiveArtifact(sha256: Sha256, options: ArtifactUpload): Promise<ArtifactInfo> {
    const { kind, stream, sizeBytes, dataBytes = sizeBytes } = options;
    if (sizeBytes === undefined || !Number.isSafeInteger(sizeBytes) || sizeBytes < 1)
      throw new CodedError('bad-input', 'An upload must say its length.');
    demandFileSize(kind, sizeBytes);
    if (await exists(this.artifactPath(sha256))) {
      stream.resume();
      return this.#artifactInfo(sha256, kind);
    }
    await this.#checkSpace(Math.min(dataBytes ?? sizeBytes, sizeBytes));
    const temporary = this.#path('tmp', randomBytes(8).toString('hex'));
    try {
      await writeHashed(temporary, { stream, sizeBytes, dataBytes: dataBytes ?? sizeBytes, sha256 });
      // A seed holds a guest's secrets: only this service may read it.
      await chmod(temporary, kind === 'seed' ? 0o400 : 0o444);
      const info = await this.#inspect(temporary, { kind, sha256, sizeBytes });
      await rename(temporary, this.artifactPath(sha256));
      await syncPath(this.#path('artifacts'));
      return info;
    } catch (error) {
      await rm(temporary, { force: true });
      throw spaceError(error);
    }
  }

  /** Opens a stored file for reading; CodedError 'not-found'. */
  async openArtifact(sha256: Sha256): Promise<{ readonly stream: Readable; readonly sizeBytes: number }> {
    try {
      const { mode } = await stat(this.artifactPath(sha256));
      if ((mode & 0o004) === 0)
        throw new CodedError('not-found', `There is no file ${sha256} here that hosts may have.`);
      const file = await open(this.artifactPath(sha256), 'r');
      return { stream: file.createReadStream(), sizeBytes: (await file.stat()).size };
    } catch (error) {
      if (isErrno(error, 'ENOENT')) throw new CodedError('not-found', `There is no file ${sha256} here.`);
      throw error;
    }
  }

  /** Idempotent; CodedError 'conflict' while a disk is cloned from it. */
  async deleteArtifact(sha256: Sha256): Promise<void> {
    for (const disk of await this.listDisks()) {
      const meta = await this.readMeta(disk);
      if (meta?.backing?.artifact === sha256)
        throw new CodedError('conflict', `${disk} is a clone of ${sha256}; nothing was deleted.`);
    }
    await rm(this.artifactPath(sha256), { force: true });
  }

  #path(...names: readonly string[]): string {
    return join(this.#directory, ...names);
  }

  async #artifactInfo(sha256: Sha256, kind: ArtifactKind): Promise<ArtifactInfo> {
    const path = this.artifactPath(sha256);
    return this.#inspect(path, { kind, sha256, sizeBytes: (await stat(path)).size });
  }

  async #inspect(
    path: string,
    { kind, sha256, sizeBytes }: { kind: ArtifactKind; sha256: Sha256; sizeBytes: number },
  ): Promise<ArtifactInfo> {
    if (kind === 'kernel' || kind === 'initrd' || kind === 'seed') return { sha256, sizeBytes, virtualSizeBytes: null };
    const format = kind === 'disk-qcow2' ? 'qcow2' : 'raw';
    const { virtualSizeBytes } = await inspectImage(path, { format, uid: this.toolUid });
    return { sha256, sizeBytes, virtualSizeBytes };
  }

  /** Refuses a disk that cannot be written in full: its guest would be paused one day. */
  #demandFile(format: 'qcow2' | 'raw', sizeBytes: number): void {
    const most = largestDiskBytes({ largestFileBytes: this.#largestFileBytes }, format);
    if (sizeBytes <= most) return;
    throw new CodedError(
      'too-large',
      `The pool's file system has disks of at most ${most} bytes, and ${sizeBytes} are asked for.`,
      { advice: 'Nothing was created. Choose a smaller size, or a pool on another file system (ext4 has 16 TiB).' },
    );
  }

  async #checkSpace(neededBytes: number): Promise<void> {
    const { freeBytes } = await this.space();
    if (freeBytes - neededBytes >= this.#options.reserveBytes) return;
    throw new CodedError(
      'no-capacity',
      `The pool has ${freeBytes} bytes free, of which ${this.#options.reserveBytes} are kept.`,
      {
        advice: 'Nothing was created. Delete what is not needed, or make the pool larger.',
      },
    );
  }

  async #makeImage(file: string, { sizeBytes, source }: Omit<DiskOrder, 'term'>, meta: DiskMeta): Promise<void> {
    switch (source.kind) {
      case 'blank':
        await run(['qemu-img', 'create', '-q', '-f', 'qcow2', file, String(sizeBytes)], { deadlineMs: TOOL_MS });
        return;
      case 'image': {
        const backing = this.artifactPath(source.artifact);
        if (!(await exists(backing))) throw new CodedError('not-found', `There is no file ${source.artifact} here.`);
        // -u: the backing file was checked when it was stored, and is not opened.
        const argv = ['qemu-img', 'create', '-q', '-u', '-f', 'qcow2', '-b', backing, '-F', source.format, file];
        const backingBytes = await imageSizeBytes(backing, source.format);
        await run([...argv, String(Math.max(sizeBytes, backingBytes))], { deadlineMs: TOOL_MS });
        return;
      }
      case 'content':
        await copyFile(this.artifactPath(source.artifact), file, constants.COPYFILE_EXCL).catch((error: unknown) => {
          if (isErrno(error, 'ENOENT')) throw new CodedError('not-found', `There is no file ${source.artifact} here.`);
          throw error;
        });
        await chmod(file, 0o600);
        await truncate(file, roundUp((await stat(file)).size));
        return;
      case 'nvram':
        await copyFile(this.#options.nvramTemplate, file, constants.COPYFILE_EXCL);
        await chmod(file, 0o600);
        if (meta.format === 'raw') await truncate(file, roundUp((await stat(file)).size));
        return;
    }
  }
}

/**
 * Returns the length of the largest file that the file system supports, in bytes, by changing the length of an empty
 * file: ext4 supports 16 TiB less one block, xfs and btrfs more than any disk may have.
 */
async function largestFile(path: string): Promise<number> {
  const file = await open(path, 'wx', 0o600);
  try {
    const fits = async (sizeBytes: number): Promise<boolean> => {
      try {
        await file.truncate(sizeBytes);
        return true;
      } catch (error) {
        if (isErrno(error, 'EFBIG') || isErrno(error, 'EINVAL') || isErrno(error, 'ENOSPC')) return false;
        throw error;
      }
    };
    let [blocks, tooMany] = [0, (2 * LIMITS.diskBytes.max) / FILE_BLOCK_BYTES];
    if (await fits(tooMany * FILE_BLOCK_BYTES)) return tooMany * FILE_BLOCK_BYTES;
    while (tooMany - blocks > 1) {
      const middle = Math.floor((blocks + tooMany) / 2);
      if (await fits(middle * FILE_BLOCK_BYTES)) blocks = middle;
      else tooMany = middle;
    }
    return blocks * FILE_BLOCK_BYTES;
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}

function metaOf({ vm, sizeBytes, source }: Omit<DiskOrder, 'term'>): DiskMeta {
  const backing = source.kind === 'image' ? { artifact: source.artifact, format: source.format } : null;
  const format = source.kind === 'blank' || source.kind === 'image' ? 'qcow2' : 'raw';
  const detail =
    source.kind === 'content' ? source.artifact : backing === null ? '' : `${backing.format}:${backing.artifact}`;
  const sourceSha256 = createHash('sha256').update(`${source.kind}:${detail}`).digest('hex');
  return { vm, format, sourceSha256, backing, sizeBytes };
}

interface SizedContent {
  readonly sizeBytes: number;
  readonly dataBytes: number;
  readonly sha256: Sha256;
}

/** Writes the content with its zeroes as holes. CodedError 'bad-input' if the content differs from its announcement. */
async function writeHashed(
  path: string,
  { stream, sizeBytes, dataBytes, sha256 }: Omit<Required<ArtifactUpload>, 'kind'> & SizedContent,
): Promise<void> {
  const hash = createHash('sha256');
  const file = await open(path, 'wx', 0o600);
  try {
    const writer = new SparseWriter(file);
    const { count } = writer;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      hash.update(chunk);
      await writer.write(chunk);
      if (count.sizeBytes > sizeBytes)
        throw new CodedError('bad-input', 'The upload is longer than its announced size.');
      if (count.dataBytes > roundUp(dataBytes, SPARSE_BLOCK_BYTES))
        throw new CodedError('bad-input', 'The upload has data where it announced zeroes.');
    }
    await writer.finish();
    if (count.sizeBytes !== sizeBytes)
      throw new CodedError(
        'bad-input',
        `The upload ended after ${count.sizeBytes} of ${sizeBytes} bytes; nothing was kept.`,
      );
    if (hash.digest('hex') !== sha256)
      throw new CodedError('bad-input', 'The content does not have the SHA-256 it was sent under; nothing was kept.');
    await file.sync();
  } finally {
    await file.close();
  }
}

/** NBD and direct I/O want whole sectors. */
function roundUp(sizeBytes: number, unitBytes = NBD_BLOCK_BYTES): number {
  return Math.ceil(sizeBytes / unitBytes) * unitBytes;
}

async function readSpace(directory: string): Promise<{ totalBytes: number; freeBytes: number }> {
  const { bsize, blocks, bavail } = await statfs(directory);
  return { totalBytes: blocks * bsize, freeBytes: bavail * bsize };
}

/**
 * Returns the size of an image as the guest sees it. Only its first bytes are read. CodedError 'failed' if the image is
 * not of that format.
 */
async function imageSizeBytes(path: string, format: 'qcow2' | 'raw'): Promise<number> {
  const file = await openForeign(path);
  try {
    if (format === 'raw') return (await file.stat()).size;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(QCOW2_SIZE_AT + 8), 0, QCOW2_SIZE_AT + 8, 0);
    if (bytesRead < buffer.length || !buffer.subarray(0, QCOW2_MAGIC.length).equals(QCOW2_MAGIC))
      throw new CodedError('failed', `${path} is no qcow2 image; it was left as it is.`);
    return integer({ min: 0 })(Number(buffer.readBigUInt64BE(QCOW2_SIZE_AT)), 'virtual size');
  } finally {
    await file.close();
  }
}

async function syncPath(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function spaceError(error: unknown): unknown {
  const full =
    isErrno(error, 'ENOSPC') || (error instanceof CodedError && /No space left on device/.test(error.message));
  if (!full) return error;
  return new CodedError('no-capacity', 'The pool is full.', {
    cause: error,
    advice: 'Nothing was created. Delete what is not needed, or make the pool larger.',
  });
}
