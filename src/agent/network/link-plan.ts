/**
 * Computes, from a network plan and the kernel's present state, the commands that make the kernel match the plan. Pure.
 * Guarantees: the list is empty if nothing is to be done; objects that bear our names and are not in the plan are
 * removed; objects of others are never touched.
 */

import { GATEWAY_MAC } from '../../core/model/cluster.ts';
import type { NetworkOnHost, NetworkPlan } from '../../core/ports/host-link.ts';
import { bridgeName, tunnelName, VXLAN_OVERHEAD_BYTES, vniOf } from './names.ts';
import type { Observed } from './observed.ts';
import { slotOfTap, type Tap } from './taps.ts';

export interface OverlayEndpoint {
  readonly address: string;
  readonly device: string;
}

export interface WantedTap extends Tap {
  /** The user that may open it. */
  readonly uid: number;
}

export interface LinkPlan {
  /** For `ip -batch`. */
  readonly ip: readonly string[];
  /** For `bridge -batch`: the flood lists. */
  readonly flood: readonly string[];
  /** For `bridge -force -batch`: entries that may vanish by themselves in the meantime. */
  readonly forget: readonly string[];
}

const FLOOD_MAC = '00:00:00:00:00:00';

/** All commands to run; `taps`: of the QEMUs that run or are about to. */
export function planLinks(
  plan: NetworkPlan,
  taps: readonly WantedTap[],
  { observed, endpoint }: { readonly observed: Observed; readonly endpoint: OverlayEndpoint },
): LinkPlan {
  const underlayMtu = observed.links.get(endpoint.device)?.mtu ?? 1500;
  const mtu = underlayMtu - VXLAN_OVERHEAD_BYTES;
  const vnis = new Set(plan.networks.map(({ vni }) => vni));
  return {
    ip: [
      ...removals(vnis, taps, observed),
      ...plan.networks.flatMap((network) => networkCommands(network, { observed, endpoint, mtu })),
      ...taps.flatMap((tap) => tapCommands(tap, { observed, mtu, attach: vnis.has(tap.vni) })),
    ],
    ...floodCommands(plan.networks, observed, endpoint),
  };
}

function removals(vnis: ReadonlySet<number>, taps: readonly WantedTap[], { links }: Observed): string[] {
  const wantedTaps = new Set(taps.map(({ device }) => device));
  const stale = [...links.keys()].filter((device) => {
    const vni = vniOf(device);
    if (vni !== undefined) return !vnis.has(vni);
    return slotOfTap(device) !== undefined && !wantedTaps.has(device);
  });
  return stale.map((device) => `link delete ${device}`);
}

function networkCommands(
  { vni, gateway }: NetworkOnHost,
  { observed, endpoint, mtu }: { observed: Observed; endpoint: OverlayEndpoint; mtu: number },
): string[] {
  const bridge = bridgeName(vni);
  const tunnel = tunnelName(vni);
  const commands: string[] = [];
  const bridgeLink = observed.links.get(bridge);
  if (bridgeLink === undefined) {
    // The bridge gets no IPv6 address: guests must not find the host there. Snooping would hold back cluster
    // heartbeats.
    commands.push(
      `link add ${bridge} address ${GATEWAY_MAC} mtu ${mtu} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    );
    commands.push(`link set ${bridge} addrgenmode none up`);
  } else if (bridgeLink.mtu !== mtu || !bridgeLink.up || bridgeLink.mac !== GATEWAY_MAC) {
    commands.push(`link set ${bridge} address ${GATEWAY_MAC} mtu ${mtu} up`);
  }
  const link = observed.links.get(tunnel);
  const same = link?.tunnel?.local === endpoint.address && link.tunnel.device === endpoint.device;
  if (link !== undefined && !same) commands.push(`link delete ${tunnel}`);
  if (!same) {
    commands.push(
      `link add ${tunnel} mtu ${mtu} type vxlan id ${vni} dstport 4789 local ${endpoint.address} dev ${endpoint.device} ttl 64`,
      `link set ${tunnel} addrgenmode none master ${bridge} up`,
    );
  } else if (link?.master !== bridge || link.mtu !== mtu || !link.up) {
    commands.push(`link set ${tunnel} mtu ${mtu} master ${bridge} up`);
  }
  return [...commands, ...addressCommands(bridge, gateway, observed)];
}

function addressCommands(bridge: string, gateway: NetworkOnHost['gateway'], { addresses }: Observed): string[] {
  const wanted = gateway === null ? null : `${gateway.address}/${gateway.prefixLength}`;
  const found = addresses
    .filter(({ device }) => device === bridge)
    .map(({ address, prefixLength }) => `${address}/${prefixLength}`);
  return [
    ...found.filter((address) => address !== wanted).map((address) => `address delete ${address} dev ${bridge}`),
    ...(wanted === null || found.includes(wanted) ? [] : [`address add ${wanted} dev ${bridge}`]),
  ];
}

function tapCommands(
  { device, vni, uid }: WantedTap,
  { observed, mtu, attach }: { observed: Observed; mtu: number; attach: boolean },
): string[] {
  const link = observed.links.get(device);
  const bridge = bridgeName(vni);
  const create = link === undefined ? [`tuntap add dev ${device} mode tap user ${uid} vnet_hdr`] : [];
  const set = link === undefined ? ' addrgenmode none' : '';
  if (!attach) return create;
  if (link?.master === bridge && link.mtu === mtu && link.up) return [];
  return [...create, `link set ${device}${set} mtu ${mtu} master ${bridge} up`];
}

function floodCommands(
  networks: readonly NetworkOnHost[],
  { forwarding, links }: Observed,
  endpoint: OverlayEndpoint,
): Pick<LinkPlan, 'flood' | 'forget'> {
  const flood: string[] = [];
  const forget: string[] = [];
  for (const { vni, peers } of networks) {
    const device = tunnelName(vni);
    const { local, device: through } = links.get(device)?.tunnel ?? {};
    const stays = local === endpoint.address && through === endpoint.device;
    const entries = stays ? forwarding.filter((entry) => entry.device === device) : [];
    const flooded = new Set(entries.filter(({ mac }) => mac === FLOOD_MAC).map(({ peer }) => peer));
    for (const peer of peers)
      if (!flooded.has(peer)) flood.push(`fdb append ${FLOOD_MAC} dev ${device} dst ${peer} self permanent`);
    // Forwarding entries for a host that left are removed too: its VMs are elsewhere now.
    for (const { mac, peer } of entries)
      if (!peers.includes(peer)) forget.push(`fdb delete ${mac} dev ${device} dst ${peer} self`);
  }
  return { flood, forget };
}
