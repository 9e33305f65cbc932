/**
 * Which network plan is in force on a host. Guarantees: one change at a time, in the order of the calls; a plan older
 * than the one in force is refused; a plan that could not be applied is not in force, and the next plan repairs what it
 * left behind.
 */
import { CodedError } from '../../base/errors.ts';
import type { NetworkPlan } from '../ports/host-link.ts';

/** Remembers the plan for as long as the agent lives; its death takes nothing away. */
export class HostNetwork {
  readonly #make: (plan: NetworkPlan) => Promise<void>;
  #inForce: NetworkPlan | null = null;
  #last: Promise<unknown> = Promise.resolve();

  /**
   * `make` brings the kernel's networks into line with the plan; it is never called while another call is under way.
   */
  constructor(make: (plan: NetworkPlan) => Promise<void>) {
    this.#make = make;
  }

  /** Revision of the plan in force; 0 before the first. */
  get revision(): number {
    return this.#inForce?.revision ?? 0;
  }

  /** Puts a plan in force; CodedError 'stale-order' when a newer one is. */
  apply(plan: NetworkPlan): Promise<void> {
    return this.inTurn(async () => {
      if (plan.revision < this.revision) {
        throw new CodedError('stale-order', `Plan ${plan.revision} is older than plan ${this.revision} in force.`, {
          advice: 'Nothing was changed.',
        });
      }
      await this.#put(plan);
    });
  }

  /**
   * Makes sure that a QEMU which is about to start finds its taps in their networks, by the newer of the given plan and
   * the one in force. CodedError 'stale-order' if that plan lacks one of its networks.
   */
  prepare(plan: NetworkPlan, vnis: readonly number[]): Promise<void> {
    return this.inTurn(async () => {
      const newer = this.#inForce !== null && plan.revision < this.#inForce.revision ? this.#inForce : plan;
      const missing = vnis.find((vni) => !newer.networks.some((network) => network.vni === vni));
      if (missing !== undefined)
        throw new CodedError('stale-order', `Plan ${newer.revision} has no network ${missing} on this host.`);
      await this.#put(newer);
    });
  }

  /** Does something to the networks while nothing else does. */
  inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#last.then(action, action);
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #put(plan: NetworkPlan): Promise<void> {
    await this.#make(plan);
    this.#inForce = plan;
  }
}
