/**
 * The network state each host should have, from the records. A host has a network while one of its incarnations may run
 * there.
 * Guarantees: `planFor` is a function of the records alone, provided that every change of a network, of its members and
 * of their addresses or quarantine is reported to it (`networkChanged`, `quarantineChanged`); the cost of a plan grows
 * with the members of the host's own networks.
 */
import type { HostName, NetworkName } from '../../base/ids.ts';
import type { NetworkRecord } from '../model/cluster.ts';
import type { ClusterIndex } from '../model/cluster-index.ts';
import { noticeEventId, noticeIncarnation } from '../model/move-notice.ts';
import type { VmRecord } from '../model/vm.ts';
import type { MetadataGuest, NetworkOnHost, NetworkPlan } from '../ports/host-link.ts';
import type { Members } from './hosts/port-filter.ts';

/** The parts of a plan that all members of a network have in common. */
interface NetworkParts {
  /** Without peers. */
  readonly base: Omit<NetworkOnHost, 'peers'>;
  /** The members that are not quarantined, in the order of their names. */
  readonly hosts: readonly HostName[];
  /** Their overlay addresses, in the same order. */
  readonly addresses: readonly string[];
}

/** Dropped tunnels in the order of their addresses, each with its host; null: one that was declared lost and removed. */
interface Drops {
  readonly hosts: readonly (HostName | null)[];
  readonly addresses: readonly string[];
}

/** Makes plans, and keeps the parts that several hosts share. */
export class NetworkPlanner {
  readonly #index: ClusterIndex;
  readonly #network: (name: NetworkName) => NetworkRecord | undefined;
  readonly #members: () => Members;
  readonly #tunnelsOfLost: () => ReadonlySet<string>;
  readonly #parts = new Map<NetworkName, NetworkParts | null>();
  /** null: to be made. */
  #drops: Drops | null = null;

  constructor(
    index: ClusterIndex,
    records: {
      readonly network: (name: NetworkName) => NetworkRecord | undefined;
      /** Returns the cluster's members; called for each plan. */
      readonly members: () => Members;
      /** Returns the overlay addresses of hosts that were declared lost, removed or not. */
      readonly tunnelsOfLost: () => ReadonlySet<string>;
    },
  ) {
    this.#index = index;
    this.#network = records.network;
    this.#members = records.members;
    this.#tunnelsOfLost = records.tunnelsOfLost;
  }

  /** The record of a network changed, or which hosts have it, or the address or quarantine of one of those. */
  networkChanged(network: NetworkName): void {
    this.#parts.delete(network);
  }

  /** Other hosts are quarantined or lost than before, or one of them has another address. */
  quarantineChanged(): void {
    this.#drops = null;
  }

  /** The plan of one host. A host that is quarantined or lost is in no flood list and is dropped by all others. */
  planFor(host: HostName, revision: number): NetworkPlan {
    const networks: NetworkOnHost[] = [];
    for (const name of [...this.#index.networksOn(host)].sort()) {
      const parts = this.#partsOf(name);
      if (parts === null) continue;
      networks.push({ ...parts.base, peers: without(parts.addresses, parts.hosts.indexOf(host)) });
    }
    this.#drops ??= this.#dropsNow();
    const { hosts, addresses } = this.#drops;
    const guests = this.#guestsOn(host, networks);
    return {
      ...{ revision, networks, drop: without(addresses, hosts.indexOf(host)), members: this.#members() },
      ...(guests.length === 0 ? {} : { guests }),
    };
  }

  /** The guests that the metadata service of a host knows: by each card in a network that has the service. */
  #guestsOn(host: HostName, networks: readonly NetworkOnHost[]): readonly MetadataGuest[] {
    const vnis = new Map(networks.flatMap(({ name, vni, metadata }) => (metadata === true ? [[name, vni]] : [])));
    if (vnis.size === 0) return [];
    return [...this.#index.vmsOn(host)].sort().flatMap((id) => {
      const vm = this.#index.vm(id);
      return vm === null ? [] : guestsOf(vm, vnis);
    });
  }

  #dropsNow(): Drops {
    const dropped = new Map<string, HostName | null>();
    for (const tunnel of this.#tunnelsOfLost()) dropped.set(tunnel, null);
    // A machine that took the place of a lost one may have its address.
    for (const { addresses } of this.#index.hosts()) dropped.delete(addresses.overlay);
    for (const { name, addresses } of this.#index.quarantined()) dropped.set(addresses.overlay, name);
    const addresses = [...dropped.keys()].sort();
    return { hosts: addresses.map((address) => dropped.get(address) ?? null), addresses };
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

/** All but the element at `index`; if there is none, the very same list, which hosts then share. */
function without(addresses: readonly string[], index: number): readonly string[] {
  return index < 0 ? addresses : addresses.toSpliced(index, 1);
}

function guestsOf(vm: VmRecord, vnis: ReadonlyMap<NetworkName, number>): MetadataGuest[] {
  const { id, name, spec, notice } = vm;
  const event =
    notice === undefined || notice.state === 'over'
      ? null
      : { id: noticeEventId(id, notice), state: notice.state, notBefore: notice.givenAt + notice.forMs };
  return spec.nics.flatMap(({ network, address }) => {
    const vni = vnis.get(network);
    if (vni === undefined || address === null) return [];
    return [{ vm: id, name, vni, address, incarnation: noticeIncarnation(notice), event }];
  });
}

function baseOf({ name, vni, cidr, gateway, nat, dhcp, reservations, metadata }: NetworkRecord): NetworkParts['base'] {
  const prefixLength = cidr === null ? 0 : Number(cidr.split('/')[1]);
  return {
    name,
    vni,
    gateway: gateway === null ? null : { address: gateway, prefixLength },
    nat,
    dhcp: dhcp
      ? Object.entries(reservations).map(([mac, { address, hostname }]) => ({ mac, address, hostname }))
      : null,
    ...(metadata === true ? { metadata } : {}),
  };
}
