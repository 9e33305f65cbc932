/**
 * A logical unit's blocks in a sparse file. Guarantees: an acknowledged write is in the kernel (it survives `kill -9`),
 * one with FUA and everything before a flush is on the disk (fdatasync); blocks that were unmapped or never written
 * read as zeroes; a read that has to wait for the disk waits in libuv's threads, not on the thread that serves all
 * sessions (inline-io.ts has the exception and its bound).
 * Holes: Node reaches no fallocate(2). Long ranges are given back by util-linux' `fallocate --punch-hole`, one process
 * at a time; short ones, and all of them where that program or the file system cannot, are overwritten with zeroes.
 * Both read the same.
 */
import {
  constants,
  fdatasync,
  fstat,
  read as readAsync,
  readSync,
  type Stats,
  write as writeAsync,
  writeSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { assert } from '../base/assert.ts';
import { CodedError, messageOf } from '../base/errors.ts';
import type { BackingStore, BlockExtent } from '../core/scsi/target-port.ts';
import { run } from '../os/child-process.ts';
import { monotonicMs } from '../os/monotonic.ts';
import { InlineIo } from './inline-io.ts';

/**
 * Longer operations gain from the threads: copying is most of their work, and the next data is received in the
 * meantime.
 */
const INLINE_BYTES_MAX = 32 * 1024;
const SLAB_BYTES = 1024 * 1024;
const ZEROES = new Uint8Array(1024 * 1024);
/** Below this, zeroes are written: a process costs more than the pages. */
const PUNCH_BYTES_MIN = 1024 * 1024;
const PUNCH_DEADLINE_MS = 30_000;
const UNMAP_WAITING_MAX = 1024;

/** A file and its geometry. */
export interface FileStoreOptions {
  readonly path: string;
  /**
   * A multiple of the block size. A file that does not exist is made, sparse and private; one that does must be of this
   * size.
   */
  readonly sizeBytes: number;
  readonly blockBytes: 512 | 4096;
}

/** See above. */
export class FileStore implements BackingStore {
  blockCount: number;
  readonly blockBytes: number;
  readonly isReadOnly = false;
  readonly #file: FileHandle;
  readonly #reads: InlineIo;
  readonly #writes: InlineIo;
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #slabAt = 0;
  #canPunch = true;
  #punching: Promise<void> = Promise.resolve();
  #punchesWaiting = 0;

  private constructor(file: FileHandle, options: FileStoreOptions) {
    this.#file = file;
    this.blockBytes = options.blockBytes;
    this.blockCount = options.sizeBytes / options.blockBytes;
    this.#reads = new InlineIo({ monotonicMs, diskAccesses: () => process.resourceUsage().fsRead });
    // A slow write waited for dirty pages to be written, whatever the counters say.
    this.#writes = new InlineIo({ monotonicMs, diskAccesses: monotonicMs });
  }

  /** Opens or makes the file. Throws CodedError 'bad-input' or 'failed'. */
  static async open(options: FileStoreOptions): Promise<FileStore> {
    const { path, sizeBytes, blockBytes } = options;
    if (sizeBytes % blockBytes !== 0 || sizeBytes <= 0) {
      throw new CodedError('bad-input', `A size of ${sizeBytes} bytes is not a multiple of ${blockBytes}.`);
    }
    const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOCTTY, 0o600).catch(
      (error: unknown) => {
        const advice = 'Nothing was changed. Name a regular file that may be read and written.';
        throw new CodedError('bad-input', `${path} cannot be opened: ${messageOf(error)}.`, { cause: error, advice });
      },
    );
    try {
      await fit(file, options);
      return new FileStore(file, options);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Takes note that the file was enlarged to `sizeBytes`. Throws CodedError 'failed' if it was not. */
  async grow(sizeBytes: number): Promise<void> {
    const { size } = await this.#file.stat();
    if (size < sizeBytes) throw new CodedError('failed', `The file has ${size} bytes, not ${sizeBytes}.`);
    this.blockCount = Math.max(this.blockCount, sizeBytes / this.blockBytes);
  }

  /** Everything acknowledged is written out, then the file is closed. Commands must have ended. */
  async close(): Promise<void> {
    await this.#punching;
    await this.flush();
    await this.#file.close();
  }

  read(lba: number, count: number): Uint8Array | Promise<Uint8Array> {
    const length = count * this.blockBytes;
    const position = lba * this.blockBytes;
    const data = this.#room(length);
    if (length <= INLINE_BYTES_MAX) {
      const { fd } = this.#file;
      let got = 0;
      const isDone = this.#reads.attempt(() => {
        got = readSync(fd, data, 0, length, position);
      });
      if (isDone && got === length) return data;
    }
    return this.#readLater(data, position);
  }

  write(lba: number, data: Uint8Array, { fua }: { readonly fua: boolean }): void | Promise<void> {
    const position = lba * this.blockBytes;
    if (data.length <= INLINE_BYTES_MAX && !fua) {
      const { fd } = this.#file;
      let put = 0;
      const isDone = this.#writes.attempt(() => {
        put = writeSync(fd, data, 0, data.length, position);
      });
      if (isDone && put === data.length) return undefined;
    }
    return this.#writeLater(data, { position, fua });
  }

  flush(): Promise<void> {
    const { fd } = this.#file;
    return new Promise((resolve, reject) => {
      fdatasync(fd, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  unmap(lba: number, count: number): Promise<void> {
    return this.#zero({ position: lba * this.blockBytes, length: count * this.blockBytes });
  }

  async writeZeroes(lba: number, count: number, { fua }: { readonly fua: boolean }): Promise<void> {
    await this.#zero({ position: lba * this.blockBytes, length: count * this.blockBytes });
    if (fua) await this.flush();
  }

  /** Only a file without any block is known to be unmapped: Node reaches no SEEK_HOLE. */
  async allocation(lba: number): Promise<BlockExtent> {
    const { fd } = this.#file;
    const stats = await new Promise<Stats>((resolve, reject) => {
      fstat(fd, (error, found) => (error === null ? resolve(found) : reject(error)));
    });
    return { blockCount: this.blockCount - lba, isMapped: stats.blocks > 0 };
  }

  /**
   * Memory that no other caller has. Small pieces share a slab: an allocation of their own would cost more than the
   * read.
   */
  #room(length: number): Uint8Array {
    if (length > SLAB_BYTES / 16) return Buffer.allocUnsafeSlow(length);
    if (this.#slabAt + length > SLAB_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#slabAt = 0;
    }
    const at = this.#slabAt;
    this.#slabAt += length;
    return new Uint8Array(this.#slab.buffer, at, length);
  }

  #readLater(data: Uint8Array, position: number): Promise<Uint8Array> {
    const { fd } = this.#file;
    return new Promise((resolve, reject) => {
      const next = (from: number): void => {
        readAsync(fd, data, from, data.length - from, position + from, (error, got) => {
          if (error !== null) reject(error);
          else if (got === 0) reject(new Error(`the file ends at ${position + from}`));
          else if (from + got === data.length) resolve(data);
          else next(from + got);
        });
      };
      next(0);
    });
  }

  async #writeLater(data: Uint8Array, { position, fua }: { position: number; fua: boolean }): Promise<void> {
    const { fd } = this.#file;
    await new Promise<void>((resolve, reject) => {
      const next = (from: number): void => {
        writeAsync(fd, data, from, data.length - from, position + from, (error, put) => {
          if (error !== null) reject(error);
          else if (from + put === data.length) resolve();
          else next(from + put);
        });
      };
      next(0);
    });
    if (fua) await this.flush();
  }

  async #zero(range: { readonly position: number; readonly length: number }): Promise<void> {
    if (range.length >= PUNCH_BYTES_MIN && (await this.#punch(range))) return;
    for (let done = 0; done < range.length; done += ZEROES.length) {
      const piece = ZEROES.subarray(0, Math.min(ZEROES.length, range.length - done));
      await this.#writeLater(piece, { position: range.position + done, fua: false });
    }
  }

  /** False where it was not possible: the range is unchanged. */
  async #punch({ position, length }: { position: number; length: number }): Promise<boolean> {
    if (!this.#canPunch || this.#punchesWaiting >= UNMAP_WAITING_MAX) return false;
    const before = this.#punching;
    let done: () => void = () => undefined;
    this.#punching = new Promise((resolve) => {
      done = resolve;
    });
    this.#punchesWaiting += 1;
    await before;
    try {
      if (!this.#canPunch) return false;
      // By descriptor: the file may have been renamed in the meantime.
      const file = `/proc/${process.pid}/fd/${this.#file.fd}`;
      const argv = ['fallocate', '--punch-hole', '--offset', String(position), '--length', String(length), file];
      await run(argv, { deadlineMs: PUNCH_DEADLINE_MS });
      return true;
    } catch {
      this.#canPunch = false;
      return false;
    } finally {
      this.#punchesWaiting -= 1;
      done();
    }
  }
}

async function fit(file: FileHandle, { path, sizeBytes }: FileStoreOptions): Promise<void> {
  const found = await file.stat();
  if (!found.isFile()) {
    throw new CodedError('bad-input', `${path} is not a regular file.`, { advice: 'Nothing was changed.' });
  }
  if (found.size === sizeBytes) return;
  if (found.size > 0) {
    const advice = 'Nothing was changed. Give the size it has, or another file.';
    throw new CodedError('bad-input', `${path} has ${found.size} bytes, not ${sizeBytes}.`, { advice });
  }
  await file.truncate(sizeBytes).catch((error: unknown) => {
    throw new CodedError('failed', `${path} cannot be made ${sizeBytes} bytes long: ${messageOf(error)}.`, {
      cause: error,
      advice: 'An empty file was left.',
    });
  });
  assert((await file.stat()).size === sizeBytes, 'a file has the size it was given');
}
