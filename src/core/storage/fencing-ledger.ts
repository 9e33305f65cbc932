/**
 * What this service was told about leaders and generations since it started. Pure.
 * Guarantees: terms and floors only rise; an order of an older term, or for a generation below its VM's floor, is refused
 * ('stale-order') whatever else happens. Memory is enough: after a restart nothing is granted before the floors are raised
 * again from a linearizable read of etcd, which holds every generation that any fence was made for.
 */

import { CodedError } from '../../base/errors.ts';
import type { Generation, Term, VmId } from '../../base/ids.ts';
import { admittedGenerations, type VmRecord } from '../model/vm.ts';

/** The highest term heard, and each VM's floor. */
export class FencingLedger {
  #term = 0;
  readonly #floors = new Map<VmId, number>();

  /** Takes note of an order's term; CodedError 'stale-order' when a later leader has spoken. */
  acceptTerm(term: Term): void {
    if (term < this.#term) {
      throw new CodedError('stale-order', `The order is of term ${term}; a leader of term ${this.#term} was heard.`, {
        advice: 'Nothing was done. The sender no longer leads.',
      });
    }
    this.#term = term;
  }

  /** Generations of `vm` below `below` are never granted again. */
  raiseFloor(vm: VmId, below: number): void {
    if (below > this.floorOf(vm)) this.#floors.set(vm, below);
  }

  /** The lowest generation that may be granted; 1 where none was fenced. */
  floorOf(vm: VmId): number {
    return this.#floors.get(vm) ?? 1;
  }

  /** CodedError 'stale-order' when the generation is fenced. */
  checkGeneration(vm: VmId, generation: Generation): void {
    if (generation >= this.floorOf(vm)) return;
    throw new CodedError(
      'stale-order',
      `Generation ${generation} of ${vm} is fenced: ${this.floorOf(vm)} is the lowest.`,
      {
        advice: 'Nothing was granted.',
      },
    );
  }
}

/**
 * The lowest generation that a VM's record leaves possible: nothing below it can ever be admitted again, because the next
 * incarnation of a VM that has none gets the generation after the highest ever given.
 */
export function floorOfRecord(record: VmRecord): number {
  const admitted = admittedGenerations(record.phase);
  return admitted.length === 0 ? record.generation + 1 : Math.min(...admitted);
}
