/**
 * An agent's memory of its orders, with which it refuses those that come too late. Guarantees: terms and generations
 * only grow; an order is refused only because of a remembered one, so that an agent which forgot everything obeys the
 * present leader at once.
 */
import { CodedError } from '../../base/errors.ts';
import type { Generation, Term, VmId } from '../../base/ids.ts';
import type { KillOrder } from '../ports/host-link.ts';
import type { IncarnationName } from './machine.ts';

/** VMs remembered; of more than these, those that no order was about for longest are forgotten. */
const VMS_MAX = 10_000;

/** Lost with the agent, on purpose. */
export class OrderMemory {
  #term: Term | 0 = 0;
  /** The highest generation that was ordered, and the highest that was ordered to end. */
  readonly #ordered = new Map<VmId, Generation>();
  readonly #ended = new Map<VmId, Generation>();

  /** CodedError 'stale-order' for a term below the highest one that was given. */
  takeTerm(term: Term): void {
    if (term < this.#term) {
      throw new CodedError('stale-order', `The order is of term ${term}; term ${this.#term} has begun.`, {
        advice: 'Nothing was changed.',
      });
    }
    this.#term = term;
  }

  /** CodedError 'stale-order' for a generation that was to end, or is older than one that runs or was ordered. */
  refuseStaleLaunch({ vm, generation }: IncarnationName, running: readonly IncarnationName[]): void {
    const advice = 'Nothing was started.';
    const ended = this.#ended.get(vm);
    if (ended !== undefined && generation <= ended)
      throw new CodedError('stale-order', `Generation ${generation} of ${vm} was ordered to end.`, { advice });
    const known = running.filter((other) => other.vm === vm).map((other) => other.generation);
    const newest = [...known, this.#ordered.get(vm) ?? generation].reduce(highest);
    if (generation < newest)
      throw new CodedError('stale-order', `Generation ${newest} of ${vm} was ordered already.`, { advice });
  }

  /** Call this once a launch was not refused. */
  launchOrdered({ vm, generation }: IncarnationName): void {
    remember(this.#ordered, vm, generation);
  }

  /** From now on no incarnation up to the highest generation of the order is started. */
  endOrdered({ vm, generations }: KillOrder): void {
    for (const generation of generations) remember(this.#ended, vm, generation);
  }
}

function remember(highestOf: Map<VmId, Generation>, vm: VmId, generation: Generation): void {
  const known = highestOf.get(vm);
  // A Map keeps the order in which its keys were set.
  highestOf.delete(vm);
  highestOf.set(vm, highest(known ?? generation, generation));
  for (const oldest of highestOf.keys()) {
    if (highestOf.size <= VMS_MAX) return;
    highestOf.delete(oldest);
  }
}

function highest(a: Generation, b: Generation): Generation {
  return b > a ? b : a;
}
