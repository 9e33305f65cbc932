/**
 * The packet filter of a host's networks, as one script for `nft -f` that replaces our tables in one transaction. Pure.
 * Guarantees: what a guest sends is filtered by tap-rules.ts; gateways and DHCP stay on their host; networks do not
 * reach each other, the host's ports, or the underlay; 169.254.169.254 is the metadata service of the host, at port 80,
 * and nothing else; a dropped host's tunnels are dead.
 */

import { GATEWAY_MAC } from '../../core/model/cluster.ts';
import { PORTS } from '../../core/model/ports.ts';
import { TUNNEL_MARK } from '../../core/plan/hosts/port-filter.ts';
import type { NetworkOnHost, NetworkPlan } from '../../core/ports/host-link.ts';
import { bridgeName, cidrOf, METADATA_ADDRESS, tunnelName } from './names.ts';
import { chain, replaceTable, set } from './nft-text.ts';
import { IF_TAP, tapRules } from './tap-rules.ts';
import type { Tap } from './taps.ts';

export interface RuleContext {
  readonly taps: readonly Tap[];
  /** The networks of this host's own addresses (CIDR): no guest reaches them, not even by NAT. */
  readonly underlay: readonly string[];
  /** Whether we made this machine forward packets: then it forwards only what guests send and receive. */
  readonly onlyGuests: boolean;
}

const TABLE = 'groundplane';

/** The whole script. */
export function ruleScript(plan: NetworkPlan, context: RuleContext): string {
  return [
    ...replaceTable('bridge', TABLE, bridgeTable(plan, context.taps)),
    ...replaceTable('inet', TABLE, inetTable(plan, context)),
    ...replaceTable('arp', TABLE, arpTable(plan)),
  ].join('\n');
}

function bridgeTable({ networks }: NetworkPlan, taps: readonly Tap[]): string[] {
  return [
    ...tapRules(networks, taps),
    ...chain(
      'prerouting',
      [`${IF_TAP} jump tap`, `iifname "gpx*" ether saddr ${GATEWAY_MAC} drop`],
      'filter hook prerouting priority -300',
    ),
    ...chain(
      'input',
      [
        'iifname "gpx*" drop',
        // A frame to the bridge itself (IEEE 802.1D, table 7-10) is not forwarded and reaches this hook directly,
        // without prerouting.
        `${IF_TAP} ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop`,
      ],
      'filter hook input priority 0',
    ),
    ...chain(
      'forward',
      [...networks.flatMap(tunnelRules), `${IF_TAP} oifname "gpx*" meta mark set ${TUNNEL_MARK}`],
      'filter hook forward priority 0',
    ),
    ...chain('output', ['oifname "gpx*" drop'], 'filter hook output priority 0'),
  ];
}

/** Rules for what does not cross the tunnel: every host has its own gateway and its own DHCP server. */
function tunnelRules({ vni, gateway, dhcp }: NetworkOnHost): string[] {
  const tunnel = `"${tunnelName(vni)}"`;
  return [
    ...(gateway === null
      ? []
      : [
          `oifname ${tunnel} arp daddr ip ${gateway.address} drop`,
          `iifname ${tunnel} arp saddr ip ${gateway.address} drop`,
        ]),
    ...(dhcp === null
      ? []
      : [
          `oifname ${tunnel} ether type ip udp dport { 67, 68 } drop`,
          `iifname ${tunnel} ether type ip udp dport { 67, 68 } drop`,
        ]),
  ];
}

function inetTable({ networks, drop }: NetworkPlan, { underlay, onlyGuests }: RuleContext): string[] {
  const routed = networks.flatMap(({ vni, gateway, nat, dhcp, metadata = false }) =>
    gateway === null ? [] : [{ bridge: `"${bridgeName(vni)}"`, gateway, nat, dhcp: dhcp !== null, metadata }],
  );
  const natted = routed.filter(({ nat }) => nat);
  return [
    ...set('dropped', 'ipv4_addr', drop),
    ...set(
      'gateways',
      'ifname . ipv4_addr',
      routed.map(({ bridge, gateway }) => `${bridge} . ${gateway.address}`),
    ),
    ...set(
      'served',
      'ifname',
      routed.filter(({ dhcp }) => dhcp).map(({ bridge }) => bridge),
    ),
    ...set(
      'natted',
      'ifname',
      natted.map(({ bridge }) => bridge),
    ),
    ...metadataRules(routed.filter(({ metadata }) => metadata).map(({ bridge }) => bridge)),
    ...chain('raw', ['ip saddr @dropped udp dport 4789 drop'], 'filter hook prerouting priority -300'),
    ...chain(
      'input',
      [
        // Guests reach the host only through their bridge.
        `${IF_TAP} drop`,
        'iifname "gpx*" drop',
        'iifname "gpb*" jump guest',
      ],
      'filter hook input priority 0',
    ),
    ...chain('guest', [
      'ct state established,related accept',
      'icmp type echo-request iifname . ip daddr @gateways accept',
      'iifname @served udp sport 68 udp dport 67 accept',
      ...[`iifname @metadata tcp dport ${PORTS.metadata} ct original ip daddr ${METADATA_ADDRESS} jump asks`, 'drop'],
    ]),
    ...chain(
      'forward',
      [
        // For kernels that show bridged frames to these chains too (br_netfilter): the bridge's own rules judge those
        // frames.
        ...networks.map(({ vni }) => `iifname "${bridgeName(vni)}" oifname "${bridgeName(vni)}" accept`),
        'iifname != "gpb*" oifname "gpb*" ct state established,related accept',
        'oifname "gpb*" drop',
        'iifname "gpb*" jump outward',
        ...(onlyGuests ? ['drop'] : []),
      ],
      'filter hook forward priority 0',
    ),
    ...chain('outward', [
      'meta nfproto ipv6 drop',
      ...routed.map(({ bridge, gateway }) => `iifname ${bridge} ip saddr != ${cidrOf(gateway)} drop`),
      `ip daddr { ${['169.254.0.0/16', ...underlay].join(', ')} } drop`,
      'iifname @natted accept',
      'drop',
    ]),
    ...chain(
      'postrouting',
      natted.map(({ gateway }) => `ip saddr ${cidrOf(gateway)} oifname != "gpb*" masquerade`),
      'nat hook postrouting priority 100',
    ),
  ];
}

/**
 * The rules that lead guests to the metadata service. It listens at the gateway: so it collides with no address of the
 * host, nor with a service that the host itself reaches at 169.254.169.254.
 */
function metadataRules(bridges: readonly string[]): string[] {
  return [
    ...set('metadata', 'ifname', bridges),
    // The number of new connections per second is limited for each guest, so that no guest keeps the agent from the
    // others.
    ...['set asking {', '  type ipv4_addr', '  size 8192', '  flags dynamic,timeout', '  timeout 1m', '}'],
    ...chain('asks', [
      'update @asking { ip saddr limit rate over 20/second burst 40 packets } drop',
      'iifname . ip daddr @gateways accept',
    ]),
    ...chain(
      'metadata',
      [`iifname @metadata ip daddr ${METADATA_ADDRESS} tcp dport 80 redirect to :${PORTS.metadata}`],
      'nat hook prerouting priority -100',
    ),
  ];
}

/** On a bridge the host answers for its gateway's address and for none of its other addresses. */
function arpTable({ networks }: NetworkPlan): string[] {
  const gateways = networks.flatMap(({ vni, gateway }) =>
    gateway === null ? [] : [`iifname "${bridgeName(vni)}" arp daddr ip ${gateway.address} accept`],
  );
  const others = [IF_TAP, 'iifname "gpx*"', 'iifname "gpb*"'].map((from) => `${from} drop`);
  return chain('input', [...gateways, ...others], 'filter hook input priority 0');
}
