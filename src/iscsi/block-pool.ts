/**
 * Memory that is reused. Guarantees: the amount kept for later is bounded; its content is whatever was there before.
 */

const BLOCK_BYTES = 64 * 1024;
const BLOCKS_KEPT_MAX = 256;
const SLAB_BYTES = 1024 * 1024;
/** Larger pieces than that share no slab. */
const SLAB_PIECE_BYTES_MAX = 32 * 1024;
const PIECE_KEPT_BYTES_MAX = 1024 * 1024;
/** Pieces that were given back, in all. */
const PIECES_KEPT_BYTES_MAX = 16 * 1024 * 1024;

/** Blocks for what is sent, and pieces for what is received. */
export class BlockPool {
  readonly #kept: Uint8Array[] = [];
  #slab: ArrayBuffer | null = null;
  #slabAt = 0;
  /** The oldest first; each a multiple of BLOCK_BYTES. */
  readonly #pieces: ArrayBuffer[] = [];
  #piecesBytes = 0;

  /** A block of 64 KiB. */
  take(): Uint8Array {
    return this.#kept.pop() ?? fresh(BLOCK_BYTES);
  }

  /** Blocks that are no longer used. */
  give(blocks: readonly Uint8Array[]): void {
    for (const block of blocks) if (this.#kept.length < BLOCKS_KEPT_MAX) this.#kept.push(block);
  }

  /** A piece that no other caller has; the garbage collector takes it back if `release` does not. */
  allocate(bytes: number): Uint8Array {
    if (bytes > SLAB_PIECE_BYTES_MAX) return this.#piece(bytes);
    if (this.#slab === null || this.#slabAt + bytes > SLAB_BYTES) {
      this.#slab = fresh(SLAB_BYTES).buffer;
      this.#slabAt = 0;
    }
    const at = this.#slabAt;
    this.#slabAt += bytes;
    return new Uint8Array(this.#slab, at, bytes);
  }

  /**
   * Takes back a whole result of `allocate` that is no longer used. Fresh memory costs page faults, and the garbage
   * collector marks the whole heap after every few hundred pieces: that was a quarter of the processor time of long
   * writes.
   */
  release({ buffer, length }: Uint8Array): void {
    if (!(buffer instanceof ArrayBuffer) || length <= SLAB_PIECE_BYTES_MAX) return;
    if (buffer.byteLength > PIECE_KEPT_BYTES_MAX) return;
    this.#pieces.push(buffer);
    this.#piecesBytes += buffer.byteLength;
    while (this.#piecesBytes > PIECES_KEPT_BYTES_MAX) this.#piecesBytes -= this.#pieces.shift()?.byteLength ?? 0;
  }

  /** The piece that was given back last is most likely in the processor's cache. */
  #piece(bytes: number): Uint8Array {
    const wanted = Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
    const at = this.#pieces.findLastIndex(({ byteLength }) => byteLength === wanted);
    const [found] = at === -1 ? [] : this.#pieces.splice(at, 1);
    if (found === undefined) return fresh(wanted).subarray(0, bytes);
    this.#piecesBytes -= wanted;
    return new Uint8Array(found, 0, bytes);
  }
}

function fresh(bytes: number): Uint8Array<ArrayBuffer> {
  const block = Buffer.allocUnsafeSlow(bytes);
  return new Uint8Array(block.buffer, block.byteOffset, bytes);
}
