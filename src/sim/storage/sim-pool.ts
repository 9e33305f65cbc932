/**
 * A simulated node's pool: disks that survive everything but their deletion, with what guests wrote to them.
 *
 * Guarantees: a disk is there whole or not at all; a write that is on a disk stays there.
 */
import { present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { DiskId, Generation, StorageName, VmId } from '../../base/ids.ts';
import type { DiskOrder } from '../../core/ports/storage-link.ts';
import type { TargetUnit } from '../../core/ports/target-backend.ts';
import { SimFiles } from './sim-files.ts';

/** One write of a guest. `sequence`: the guest's own count, by which it is found on the disk again. */
export interface DiskWrite {
  readonly node: StorageName;
  readonly disk: DiskId;
  readonly vm: VmId;
  readonly generation: Generation;
  readonly sequence: number;
}

interface SimDisk {
  readonly vm: VmId;
  readonly source: string;
  sizeBytes: number;
  readonly sequences: Set<number>;
}

const TOTAL_BYTES = 2 ** 40;

/** What outlives a node's processes and its power. */
export class SimPool {
  readonly #disks = new Map<DiskId, SimDisk>();
  readonly #shared = new Map<DiskId, { readonly unit: TargetUnit; readonly sequences: Map<VmId, Set<number>> }>();
  readonly files = new SimFiles();
  /** No room for anything new: creations and guests' writes fail. */
  isFull = false;

  get space(): { readonly totalBytes: number; readonly freeBytes: number } {
    return { totalBytes: TOTAL_BYTES, freeBytes: this.isFull ? 0 : TOTAL_BYTES / 2 };
  }

  list(): readonly DiskId[] {
    return [...this.#disks.keys()].sort();
  }

  ownerOf(disk: DiskId): VmId | undefined {
    return this.#disks.get(disk)?.vm;
  }

  create(disk: DiskId, { vm, sizeBytes, source }: DiskOrder): void {
    const existing = this.#disks.get(disk);
    const wanted = JSON.stringify(source);
    if (existing !== undefined) {
      if (existing.vm === vm && existing.source === wanted) return;
      throw new CodedError('conflict', `There is another disk ${disk}; it was left as it is.`);
    }
    if (this.isFull) throw new CodedError('no-capacity', 'The pool is full.');
    if ('artifact' in source && !this.files.has(source.artifact))
      throw new CodedError('not-found', `There is no file ${source.artifact} here.`);
    this.#disks.set(disk, { vm, source: wanted, sizeBytes, sequences: new Set() });
  }

  delete(disk: DiskId): void {
    this.#disks.delete(disk);
  }

  sizeBytes(disk: DiskId): number {
    const found = this.#disks.get(disk);
    if (found === undefined) throw new CodedError('not-found', `There is no ${disk}.`);
    return found.sizeBytes;
  }

  grow(disk: DiskId, sizeBytes: number): void {
    if (this.isFull) throw new CodedError('no-capacity', 'The pool is full.');
    const found = present(this.#disks.get(disk), disk);
    found.sizeBytes = Math.max(found.sizeBytes, sizeBytes);
  }

  /** Puts a write on its disk; false when the disk was deleted meanwhile. */
  put({ disk, vm, sequence }: DiskWrite): boolean {
    const shared = this.#shared.get(disk)?.sequences;
    if (shared === undefined) return this.#disks.get(disk)?.sequences.add(sequence) !== undefined;
    shared.set(vm, (shared.get(vm) ?? new Set()).add(sequence));
    return true;
  }

  listShared(): readonly TargetUnit[] {
    return Array.from(this.#shared.values(), ({ unit }) => unit);
  }

  /** Makes a shared disk, or makes it larger. */
  createShared(unit: TargetUnit): void {
    if (this.isFull) throw new CodedError('no-capacity', 'The pool is full.');
    const sequences = this.#shared.get(unit.disk)?.sequences ?? new Map<VmId, Set<number>>();
    this.#shared.set(unit.disk, { unit, sequences });
  }

  deleteShared(disk: DiskId): void {
    this.#shared.delete(disk);
  }

  /** The sequence numbers on a disk; on a shared one those of one VM, or of all. */
  contentOf(disk: DiskId, vm?: VmId): ReadonlySet<number> {
    const shared = this.#shared.get(disk)?.sequences;
    if (shared === undefined) return this.#disks.get(disk)?.sequences ?? new Set();
    return vm === undefined ? new Set([...shared.values()].flatMap((of) => [...of])) : (shared.get(vm) ?? new Set());
  }

  /** The highest number n for which blocks 1 to n of a VM are on the disk: what its guest finds when it boots. */
  highestOn(disk: DiskId, vm: VmId): number {
    const content = this.contentOf(disk, vm);
    let highest = content.size;
    while (highest > 0 && !content.has(highest)) highest--;
    return highest;
  }
}
