/** A disk in memory whose operations end when the test says so. */
import type { BackingStore, BlockExtent } from '../../core/scsi/target-port.ts';

/** Synchronous until `hold` is set; then operations wait for `release`. */
export class MemoryStore implements BackingStore {
  readonly blockBytes = 512;
  readonly isReadOnly = false;
  readonly bytes: Uint8Array;
  hold = false;
  #held: (() => void)[] = [];

  constructor(blocks: number) {
    this.bytes = new Uint8Array(blocks * this.blockBytes);
  }

  get blockCount(): number {
    return this.bytes.length / this.blockBytes;
  }

  /** The number of waiting operations. */
  get held(): number {
    return this.#held.length;
  }

  /** Lets all waiting operations continue. */
  release(): void {
    for (const go of this.#held.splice(0)) go();
  }

  read(lba: number, count: number): Uint8Array | Promise<Uint8Array> {
    const get = (): Uint8Array => this.bytes.slice(lba * 512, (lba + count) * 512);
    return this.hold ? this.#wait().then(get) : get();
  }

  write(lba: number, data: Uint8Array): void | Promise<void> {
    const put = (): void => this.bytes.set(data, lba * 512);
    return this.hold ? this.#wait().then(put) : put();
  }

  flush(): void {}

  unmap(lba: number, count: number): void {
    this.bytes.fill(0, lba * 512, (lba + count) * 512);
  }

  writeZeroes(lba: number, count: number): void {
    this.unmap(lba, count);
  }

  allocation(lba: number): BlockExtent {
    return { blockCount: this.blockCount - lba, isMapped: true };
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => void this.#held.push(resolve));
  }
}
