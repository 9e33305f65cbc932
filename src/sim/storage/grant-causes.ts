/**
 * Why a storage service may be granting something at this moment: an order that it carries out, or a read of etcd that
 * it follows; and since when what that says may have been out of date. An order may be on its way, or its service stand
 * still, for any time.
 */
import type { GrantOrder } from '../../core/ports/storage-link.ts';

type Named = Pick<GrantOrder, 'vm' | 'generation'>;

/** Of one node; times are true ms. */
export class GrantCauses {
  readonly #orders = new Map<string, number[]>();
  #readAt: number | null = null;

  /** The service carries out an order of somebody whose knowledge is of `knownAt`. */
  async during<T>(order: Named, knownAt: number, carryOut: () => Promise<T>): Promise<T> {
    const key = keyOf(order);
    const open = this.#orders.get(key) ?? [];
    this.#orders.set(key, open);
    open.push(knownAt);
    try {
      return await carryOut();
    } finally {
      open.splice(open.indexOf(knownAt), 1);
      if (open.length === 0) this.#orders.delete(key);
    }
  }

  /** The service begins to read etcd; it follows that until it reads again, or is restored. */
  reads(at: number): void {
    this.#readAt = at;
  }

  /** A new life of the service has taken over what runs: nothing of an earlier one is under way. */
  forget(): void {
    this.#orders.clear();
    this.#readAt = null;
  }

  /** The oldest knowledge by which a generation may be granted now; `now` where nothing explains it. */
  knownAt(grant: Named, now: number, isRestored: boolean): number {
    const read = isRestored ? null : this.#readAt;
    return Math.min(now, ...(this.#orders.get(keyOf(grant)) ?? []), ...(read === null ? [] : [read]));
  }
}

const keyOf = ({ vm, generation }: Named): string => `${vm}:${generation}`;
