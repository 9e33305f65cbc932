/**
 * Files in which zeroes take no room. Guarantees: reading returns exactly what was written, whatever the chunk sizes;
 * an aligned block of 64 KiB that is all zeroes becomes a hole.
 */
import type { FileHandle } from 'node:fs/promises';

/** Size and alignment of holes, in bytes. */
export const SPARSE_BLOCK_BYTES = 64 * 1024;
const ZEROES = Buffer.alloc(SPARSE_BLOCK_BYTES);

/** A part of a chunk that lies within one block. */
interface Piece {
  readonly from: number;
  readonly to: number;
  readonly isZero: boolean;
}

/** Splits `chunk`, which begins at offset `at` of its file, at block boundaries. */
function* piecesOf(chunk: Buffer, at: number): Generator<Piece> {
  for (let from = 0; from < chunk.length; ) {
    const to = Math.min(chunk.length, from + SPARSE_BLOCK_BYTES - ((at + from) % SPARSE_BLOCK_BYTES));
    yield { from, to, isZero: chunk.subarray(from, to).equals(ZEROES.subarray(0, to - from)) };
    from = to;
  }
}

/** Counts the room that a content needs without its zeroes, in whole blocks of 64 KiB. */
export class DataCount {
  /** Bytes seen so far. */
  sizeBytes = 0;
  /** Bytes of the blocks that are not all zeroes. */
  dataBytes = 0;
  #lastBlock = -1;

  add(chunk: Buffer): void {
    for (const { from, isZero } of piecesOf(chunk, this.sizeBytes)) {
      const block = Math.floor((this.sizeBytes + from) / SPARSE_BLOCK_BYTES);
      if (isZero || block === this.#lastBlock) continue;
      this.#lastBlock = block;
      this.dataBytes += SPARSE_BLOCK_BYTES;
    }
    this.sizeBytes += chunk.length;
  }
}

/** Writes an empty file from the beginning; the caller closes it. */
export class SparseWriter {
  readonly count = new DataCount();
  readonly #file: FileHandle;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async write(chunk: Buffer): Promise<void> {
    const at = this.count.sizeBytes;
    this.count.add(chunk);
    let begun: number | null = null;
    for (const { from, isZero } of piecesOf(chunk, at)) {
      if (!isZero) begun ??= from;
      else if (begun !== null) {
        await this.#put(chunk.subarray(begun, from), at + begun);
        begun = null;
      }
    }
    if (begun !== null) await this.#put(chunk.subarray(begun), at + begun);
  }

  /** Sets the file's length, so that it may end in a hole. */
  async finish(): Promise<void> {
    await this.#file.truncate(this.count.sizeBytes);
  }

  async #put(bytes: Buffer, at: number): Promise<void> {
    for (let done = 0; done < bytes.length; )
      done += (await this.#file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
  }
}
