/**
 * The orders about leaders, generations and deleted disks that this service got since it started. Pure. Guarantees:
 * terms and floors only rise; an order of an older term, for a generation below its VM's floor, or for a generation
 * that was revoked or that etcd stopped admitting, is always refused ('stale-order'). Memory is enough: after a restart
 * nothing is granted before the floors are raised again from a linearizable read of etcd, which holds every generation
 * that any fence or revocation was made for. A disk's deletion is not read again: an order to make it that outlives the
 * service as well leaves an empty disk that no record names.
 */

import { EPOCH_SPAN } from '../../base/epoch.ts';
import { CodedError } from '../../base/errors.ts';
import type { DiskId, Generation, Term, VmId } from '../../base/ids.ts';
import { admittedGenerations, type VmRecord } from '../model/vm.ts';

/**
 * The generations of a VM in a read of etcd: of those up to `highest`, only the `admitted` ones can ever be granted
 * again.
 */
export interface SettledGenerations {
  readonly highest: number;
  readonly admitted: readonly Generation[];
}

/** Deleted disks that are remembered: more than any order lives through. */
const DELETED_MAX = 10_000;

/** The highest term received, each VM's floor, and generations above the floor that must not be granted either. */
export class FencingLedger {
  #term = 0;
  readonly #floors = new Map<VmId, number>();
  /** Revoked one by one since the start: a read of etcd that is under way may be older. */
  readonly #revoked = new Map<VmId, Set<Generation>>();
  readonly #settled = new Map<VmId, SettledGenerations>();
  /** The oldest first. Names of disks are never used twice. */
  readonly #deleted = new Set<DiskId>();

  /** Takes note of an order's term; CodedError 'stale-order' if a later leader has given an order. */
  acceptTerm(term: Term): void {
    if (term < this.#term) {
      throw new CodedError(
        'stale-order',
        `The order is of term ${term}; a leader of term ${this.#term} has given orders.`,
        {
          advice: 'Nothing was done. The sender no longer leads.',
        },
      );
    }
    this.#term = term;
  }

  /** Orders of leaders of epochs before this one are refused from now on. */
  beginEpoch(epoch: number): void {
    this.#term = Math.max(this.#term, epoch * EPOCH_SPAN);
  }

  /** Generations of `vm` below `below` are never granted again. */
  raiseFloor(vm: VmId, below: number): void {
    if (below <= this.floorOf(vm)) return;
    this.#floors.set(vm, below);
    const revoked = this.#revoked.get(vm);
    for (const generation of revoked ?? []) if (generation < below) revoked?.delete(generation);
    if (revoked?.size === 0) this.#revoked.delete(vm);
  }

  /** `generation` alone is never granted again. */
  revoke(vm: VmId, generation: Generation): void {
    this.#revoked.set(vm, (this.#revoked.get(vm) ?? new Set()).add(generation));
  }

  /**
   * Takes note of a read of etcd, each newer than the one before: a generation that was given out and is not admitted
   * never will be again. An order for it was on its way for too long, and its revocation was acknowledged by a service
   * that has died since.
   */
  settle(vm: VmId, settled: SettledGenerations): void {
    this.#settled.set(vm, settled);
  }

  /** The lowest generation that may be granted; 1 where none was fenced. */
  floorOf(vm: VmId): number {
    return this.#floors.get(vm) ?? 1;
  }

  /** CodedError 'stale-order' when the generation is fenced, revoked, or no longer admitted. */
  checkGeneration(vm: VmId, generation: Generation): void {
    const why = this.#whyNot(vm, generation);
    if (why === null) return;
    throw new CodedError('stale-order', `Generation ${generation} of ${vm} ${why}.`, {
      advice: 'Nothing was granted.',
    });
  }

  /** `disk` is never made again. */
  deleteDisk(disk: DiskId): void {
    this.#deleted.add(disk);
    const [oldest] = this.#deleted;
    if (this.#deleted.size > DELETED_MAX && oldest !== undefined) this.#deleted.delete(oldest);
  }

  /** CodedError 'stale-order' if the disk was to be deleted: an order to make it was on its way for too long. */
  checkDisk(disk: DiskId): void {
    if (!this.#deleted.has(disk)) return;
    throw new CodedError('stale-order', `${disk} was to be deleted in the meantime.`, { advice: 'Nothing was made.' });
  }

  #whyNot(vm: VmId, generation: Generation): string | null {
    if (generation < this.floorOf(vm)) return `is fenced: ${this.floorOf(vm)} is the lowest`;
    if (this.#revoked.get(vm)?.has(generation) === true) return 'was revoked meanwhile';
    const settled = this.#settled.get(vm);
    const isOver = settled !== undefined && generation <= settled.highest && !settled.admitted.includes(generation);
    return isOver ? 'is not admitted any more' : null;
  }
}

/**
 * The lowest generation that a VM's record leaves possible: nothing below it can ever be admitted again, because the
 * next incarnation of a VM that has none gets the generation after the highest ever given.
 */
export function floorOfRecord(record: VmRecord): number {
  const admitted = admittedGenerations(record.phase);
  return admitted.length === 0 ? record.generation + 1 : Math.min(...admitted);
}
