/**
 * The network state a host should have: a pure function of the records. A host has a network while one of its incarnations may run there.
 * It costs what the host's own networks have members, whatever the cluster has.
 */
import type { HostName, NetworkName } from '../../base/ids.ts';
import type { NetworkRecord } from '../model/cluster.ts';
import type { ClusterIndex } from '../model/cluster-index.ts';
import type { NetworkPlan } from '../ports/host-link.ts';

export interface NetworkSituation {
  readonly revision: number;
  readonly index: ClusterIndex;
  readonly network: (name: NetworkName) => NetworkRecord | undefined;
}

/** The plan of one host. A quarantined host is in nobody's flood list and dropped by all others. */
export function planNetwork(host: HostName, { revision, index, network }: NetworkSituation): NetworkPlan {
  const networks = [...index.networksOn(host)].sort().flatMap((name) => {
    const record = network(name);
    return record === undefined ? [] : [onHost(record, peersOf(host, name, index))];
  });
  const others = [...index.quarantined()].filter(({ name }) => name !== host);
  return { revision, networks, drop: others.map(({ addresses }) => addresses.overlay).sort() };
}

/** Overlay addresses of the other members, in the order of their hosts' names. */
function peersOf(host: HostName, network: NetworkName, index: ClusterIndex): string[] {
  const peers: string[] = [];
  for (const name of [...index.membersOf(network)].sort()) {
    const peer = name === host ? null : index.host(name);
    if (peer !== null && peer.quarantine === null) peers.push(peer.addresses.overlay);
  }
  return peers;
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
