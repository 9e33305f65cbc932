/**
 * Bounds the memory that the files of one run take together: a run that would exhaust the heap is refused with a
 * message, instead of being killed by the runtime.
 */
import { getHeapStatistics } from 'node:v8';
import { Unreadable } from '../document.ts';

/** The share of the heap that files may take; findings and the report need the rest. */
const SHARE = 0.6;

/** Counts bytes against a maximum. The figures are estimates of what parsed files take. */
export class MemoryBudget {
  readonly #bytesMax: number;
  #bytes = 0;

  /** `bytesMax`: by default a share of the heap that the runtime may use. */
  constructor(bytesMax = getHeapStatistics().heap_size_limit * SHARE) {
    this.#bytesMax = bytesMax;
  }

  /** Counts memory that a file takes. Throws `Unreadable` if all files together take too much. */
  take(file: string, bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes <= this.#bytesMax) return;
    const gib = Math.round(this.#bytesMax / 2 ** 29) / 2;
    throw new Unreadable(
      file,
      `it and the files before it need more than ${gib} GiB of memory`,
      'Give fewer files at a time, or more memory: NODE_OPTIONS=--max-old-space-size=16384 gp audit …',
    );
  }
}
