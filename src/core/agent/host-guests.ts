/**
 * The metadata service's answers to the guests of a host, and the guests' acknowledgements. Pure. All knowledge of
 * guests comes with the network plan in force; acknowledgements are remembered for as long as the agent lives, and only
 * shorten a wait.
 * Guarantees: a guest is identified by an address that only its own card can use; it can acknowledge only its own
 * notice; memory is bounded by the number of guests in the plan.
 */
import type { MetadataGuest, NetworkPlan } from '../ports/host-link.ts';

/** A guest acknowledged an event that it was not told of. */
export class UnknownEvent extends Error {
  override readonly name = 'UnknownEvent';
}

/** A network whose guests are served, at its gateway. */
export interface ServedNetwork {
  readonly vni: number;
  readonly gateway: string;
}

/** See the module's comment. */
export class HostGuests {
  /** Guests by network and address: each address belongs to one card of the cluster. */
  #guests: ReadonlyMap<string, MetadataGuest> = new Map();
  #acknowledged: ReadonlySet<string> = new Set();
  #networks: readonly ServedNetwork[] = [];

  /** The plan that is in force from now on. */
  planned({ networks, guests = [] }: Pick<NetworkPlan, 'networks' | 'guests'>): void {
    this.#networks = networks.flatMap(({ vni, gateway, metadata }) =>
      metadata === true && gateway !== null ? [{ vni, gateway: gateway.address }] : [],
    );
    this.#guests = new Map(guests.map((guest) => [keyOf(guest), guest]));
    const named = new Set(guests.flatMap(({ event }) => event?.id ?? []));
    this.#acknowledged = new Set([...this.#acknowledged].filter((id) => named.has(id)));
  }

  /** The guest that has an address in a network; null: no guest of this host has. */
  find(vni: number, address: string): MetadataGuest | null {
    return this.#guests.get(keyOf({ vni, address })) ?? null;
  }

  /** The networks whose guests are served. */
  get networks(): readonly ServedNetwork[] {
    return this.#networks;
  }

  /** All guests. */
  list(): Iterable<MetadataGuest> {
    return this.#guests.values();
  }

  /** Notes that a guest wants events to begin at once. UnknownEvent, and nothing is noted, unless all are its own. */
  acknowledge({ event }: MetadataGuest, ids: readonly string[]): void {
    const stranger = ids.find((id) => id !== event?.id);
    if (stranger !== undefined) throw new UnknownEvent(`There is no event ${stranger}.`);
    this.#acknowledged = new Set([...this.#acknowledged, ...ids]);
  }

  /** The notices that were acknowledged and the plan names. */
  get acknowledged(): readonly string[] {
    return [...this.#acknowledged];
  }
}

function keyOf({ vni, address }: Pick<MetadataGuest, 'vni' | 'address'>): string {
  return `${vni} ${address}`;
}
