/**
 * The network state each host should have, from the records. A host has a network while one of its incarnations may run there.
 *
 * Guarantees: `planFor` is a function of the records alone, provided that every change of a network, of its members and of their
 * addresses or quarantine is told (`networkChanged`, `quarantineChanged`); a plan costs what the host's own networks have members.
 */
import type { HostName, NetworkName } from '../../base/ids.ts';
import type { NetworkRecord } from '../model/cluster.ts';
import type { ClusterIndex } from '../model/cluster-index.ts';
import type { NetworkOnHost, NetworkPlan } from '../ports/host-link.ts';

/** What all members of a network have in common. */
interface NetworkParts {
  /** Without peers. */
  readonly base: Omit<NetworkOnHost, 'peers'>;
  /** The members that nobody drops, in the order of their names. */
  readonly hosts: readonly HostName[];
  /** Their overlay addresses, in the same order. */
  readonly addresses: readonly string[];
}

/** Makes plans, and keeps of them what several hosts share. */
export class NetworkPlanner {
  readonly #index: ClusterIndex;
  readonly #network: (name: NetworkName) => NetworkRecord | undefined;
  readonly #parts = new Map<NetworkName, NetworkParts | null>();
  /** Quarantined hosts with their addresses, by address; null: to be made. */
  #drops: readonly (readonly [address: string, host: HostName])[] | null = null;

  constructor(index: ClusterIndex, network: (name: NetworkName) => NetworkRecord | undefined) {
    this.#index = index;
    this.#network = network;
  }

  /** The record of a network changed, or which hosts have it, or the address or quarantine of one of those. */
  networkChanged(network: NetworkName): void {
    this.#parts.delete(network);
  }

  /** Other hosts are quarantined than before, or one of them has another address. */
  quarantineChanged(): void {
    this.#drops = null;
  }

  /** The plan of one host. A quarantined host is in nobody's flood list and dropped by all others. */
  planFor(host: HostName, revision: number): NetworkPlan {
    const networks: NetworkOnHost[] = [];
    for (const name of [...this.#index.networksOn(host)].sort()) {
      const parts = this.#partsOf(name);
      if (parts === null) continue;
      const at = parts.hosts.indexOf(host);
      const peers = at < 0 ? parts.addresses : parts.addresses.toSpliced(at, 1);
      networks.push({ ...parts.base, peers });
    }
    this.#drops ??= [...this.#index.quarantined()]
      .map(({ name, addresses }) => [addresses.overlay, name] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const others = this.#drops.filter(([, name]) => name !== host);
    return { revision, networks, drop: others.map(([address]) => address) };
  }

  #partsOf(name: NetworkName): NetworkParts | null {
    const known = this.#parts.get(name);
    if (known !== undefined) return known;
    const record = this.#network(name);
    const parts = record === undefined ? null : this.#partsFrom(record);
    this.#parts.set(name, parts);
    return parts;
  }

  #partsFrom(record: NetworkRecord): NetworkParts {
    const hosts: HostName[] = [];
    const addresses: string[] = [];
    for (const name of [...this.#index.membersOf(record.name)].sort()) {
      const member = this.#index.host(name);
      if (member === null || member.quarantine !== null) continue;
      hosts.push(name);
      addresses.push(member.addresses.overlay);
    }
    return { base: baseOf(record), hosts, addresses };
  }
}

function baseOf({ name, vni, cidr, gateway, nat, dhcp, reservations }: NetworkRecord): NetworkParts['base'] {
  const prefixLength = cidr === null ? 0 : Number(cidr.split('/')[1]);
  return {
    name,
    vni,
    gateway: gateway === null ? null : { address: gateway, prefixLength },
    nat,
    dhcp: dhcp
      ? Object.entries(reservations).map(([mac, { address, hostname }]) => ({ mac, address, hostname }))
      : null,
  };
}
