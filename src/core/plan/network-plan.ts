/** The network state each host should have: a pure function of the records. A host has a network while one of its incarnations may run there. */
import type { HostName, NetworkName } from '../../base/ids.ts';
import type { HostRecord, NetworkRecord } from '../model/cluster.ts';
import { expectedIncarnations, type VmRecord } from '../model/vm.ts';
import type { NetworkPlan } from '../ports/host-link.ts';

export interface NetworkSnapshot {
  readonly revision: number;
  readonly hosts: readonly HostRecord[];
  readonly vms: Iterable<VmRecord>;
  readonly networks: ReadonlyMap<NetworkName, NetworkRecord>;
}

/** Which hosts have members of which network. */
function networkMembers(vms: Iterable<VmRecord>): Map<NetworkName, Set<HostName>> {
  const members = new Map<NetworkName, Set<HostName>>();
  for (const vm of vms) {
    for (const { host } of expectedIncarnations(vm.phase)) {
      for (const { network } of vm.spec.nics) {
        const hosts = members.get(network) ?? new Set<HostName>();
        hosts.add(host);
        members.set(network, hosts);
      }
    }
  }
  return members;
}

/** The plan of every host. A quarantined host is in nobody's flood list and dropped by all others. */
export function planNetworks(snapshot: NetworkSnapshot): Map<HostName, NetworkPlan> {
  const members = networkMembers(snapshot.vms);
  const trusted = snapshot.hosts.filter((host) => host.quarantine === null);
  const drop = snapshot.hosts.filter((host) => host.quarantine !== null).map((host) => host.addresses.overlay);
  const plans = new Map<HostName, NetworkPlan>();
  for (const host of snapshot.hosts) {
    const networks = [];
    for (const [name, hosts] of [...members].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const network = snapshot.networks.get(name);
      if (network === undefined || !hosts.has(host.name)) continue;
      const peers = trusted
        .filter((peer) => peer.name !== host.name && hosts.has(peer.name))
        .map((peer) => peer.addresses.overlay);
      networks.push(onHost(network, peers));
    }
    plans.set(host.name, {
      revision: snapshot.revision,
      networks,
      drop: drop.filter((address) => address !== host.addresses.overlay),
    });
  }
  return plans;
}

function onHost(network: NetworkRecord, peers: readonly string[]): NetworkPlan['networks'][number] {
  const prefixLength = network.cidr === null ? 0 : Number(network.cidr.split('/')[1]);
  const reservations = Object.entries(network.reservations).map(([mac, { address, hostname }]) => ({
    mac,
    address,
    hostname,
  }));
  return {
    name: network.name,
    vni: network.vni,
    peers,
    gateway: network.gateway === null ? null : { address: network.gateway, prefixLength },
    nat: network.nat,
    dhcp: network.dhcp ? reservations : null,
  };
}
