/** Memory that is used again and again. Guarantees: what it keeps for later is bounded; content is whatever was there before. */

const BLOCK_BYTES = 64 * 1024;
const BLOCKS_KEPT_MAX = 256;
const SLAB_BYTES = 1024 * 1024;

/** Blocks for what is sent, and pieces for what is received. */
export class BlockPool {
  readonly #kept: Uint8Array[] = [];
  #slab: ArrayBuffer | null = null;
  #slabAt = 0;

  /** A block of 64 KiB. */
  take(): Uint8Array {
    return this.#kept.pop() ?? fresh(BLOCK_BYTES);
  }

  /** Blocks that nobody looks at any more. */
  give(blocks: readonly Uint8Array[]): void {
    for (const block of blocks) if (this.#kept.length < BLOCKS_KEPT_MAX) this.#kept.push(block);
  }

  /** A piece that nobody else has; the garbage collector takes it back. */
  allocate(bytes: number): Uint8Array {
    if (bytes > SLAB_BYTES / 16) return fresh(bytes);
    if (this.#slab === null || this.#slabAt + bytes > SLAB_BYTES) {
      this.#slab = fresh(SLAB_BYTES).buffer;
      this.#slabAt = 0;
    }
    const at = this.#slabAt;
    this.#slabAt += bytes;
    return new Uint8Array(this.#slab, at, bytes);
  }
}

function fresh(bytes: number): Uint8Array<ArrayBuffer> {
  const block = Buffer.allocUnsafeSlow(bytes);
  return new Uint8Array(block.buffer, block.byteOffset, bytes);
}
