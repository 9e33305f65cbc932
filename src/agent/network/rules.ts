/**
 * The packet filter of a host's networks, as one script for `nft -f` that replaces our tables in one transaction. Pure.
 * Guarantees: a guest sends from its own MAC address only, and not from an address that is reserved for another or is the
 * gateway's; gateways and DHCP stay on their host; networks do not reach each other, the host's ports, or the underlay; a
 * dropped host's tunnels are dead.
 */

import type { NetworkOnHost, NetworkPlan } from '../../core/ports/host-link.ts';
import { bridgeName, cidrOf, GATEWAY_MAC, tunnelName } from './names.ts';
import type { Tap } from './taps.ts';

export interface RuleContext {
  readonly taps: readonly Tap[];
  /** The networks of this host's own addresses (CIDR): no guest reaches them, not even by NAT. */
  readonly underlay: readonly string[];
  /** Whether we made this machine forward packets: then it forwards nothing but what guests send and get. */
  readonly onlyGuests: boolean;
}

const TABLE = 'groundplane';

/** The whole script. */
export function ruleScript(plan: NetworkPlan, context: RuleContext): string {
  return [
    ...table('bridge', bridgeTable(plan, context.taps)),
    ...table('inet', inetTable(plan, context)),
    ...table('arp', arpTable(plan)),
  ].join('\n');
}

function table(family: string, lines: readonly string[]): string[] {
  const name = `${family} ${TABLE}`;
  // Declared, then deleted, then made: works the same whether it exists or not.
  return [`table ${name}`, `delete table ${name}`, `table ${name} {`, ...lines.map((line) => `  ${line}`), '}', ''];
}

function chain(name: string, rules: readonly string[], hook?: string): string[] {
  const head = hook === undefined ? [] : [`  type ${hook}; policy accept;`];
  return [`chain ${name} {`, ...head, ...rules.map((rule) => `  ${rule}`), '}'];
}

function set(name: string, type: string, elements: readonly string[], keyword = 'set'): string[] {
  const content = elements.length === 0 ? [] : [`  elements = { ${elements.join(', ')} }`];
  return [`${keyword} ${name} {`, `  type ${type}`, ...content, '}'];
}

function bridgeTable({ networks }: NetworkPlan, taps: readonly Tap[]): string[] {
  const vnis = new Set(networks.map(({ vni }) => vni));
  const members = taps.filter(({ vni }) => vnis.has(vni));
  return [
    ...networks.flatMap(memberRules),
    ...set(
      'cards',
      'ifname . ether_addr',
      taps.map(({ device, mac }) => `"${device}" . ${mac}`),
    ),
    ...set(
      'members',
      'ifname : verdict',
      members.map(({ device, vni }) => `"${device}" : jump member${vni}`),
      'map',
    ),
    ...chain(
      'prerouting',
      [
        'iifname "gpt*" iifname . ether saddr != @cards drop',
        'iifname "gpt*" ether type arp iifname . arp saddr ether != @cards drop',
        `iifname "gpx*" ether saddr ${GATEWAY_MAC} drop`,
        'iifname vmap @members',
      ],
      'filter hook prerouting priority -300',
    ),
    ...chain('input', ['iifname "gpx*" drop'], 'filter hook input priority 0'),
    ...chain('forward', networks.flatMap(tunnelRules), 'filter hook forward priority 0'),
    ...chain('output', ['oifname "gpx*" drop'], 'filter hook output priority 0'),
  ];
}

/** What a network's guests may not send. Addresses that nobody reserved are free: a guest cluster's floating address. */
function memberRules({ vni, gateway, dhcp }: NetworkOnHost): string[] {
  const reserved = dhcp ?? [];
  const rules: string[] = [];
  if (reserved.length > 0) {
    rules.push(
      `arp saddr ip @reserved${vni} ether saddr . arp saddr ip != @holders${vni} drop`,
      `ip saddr @reserved${vni} ether saddr . ip saddr != @holders${vni} drop`,
    );
  }
  if (gateway !== null) rules.push(`arp saddr ip ${gateway.address} drop`, `ip saddr ${gateway.address} drop`);
  if (dhcp !== null) rules.push('ether type ip udp sport 67 drop');
  return [
    ...(reserved.length === 0
      ? []
      : [
          ...set(
            `reserved${vni}`,
            'ipv4_addr',
            reserved.map(({ address }) => address),
          ),
          ...set(
            `holders${vni}`,
            'ether_addr . ipv4_addr',
            reserved.map(({ mac, address }) => `${mac} . ${address}`),
          ),
        ]),
    ...chain(`member${vni}`, rules),
  ];
}

/** What does not cross the tunnel: every host has its own gateway and its own DHCP server. */
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
  const routed = networks.flatMap(({ vni, gateway, nat, dhcp }) =>
    gateway === null ? [] : [{ bridge: `"${bridgeName(vni)}"`, gateway, nat, dhcp: dhcp !== null }],
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
    ...chain('raw', ['ip saddr @dropped udp dport 4789 drop'], 'filter hook prerouting priority -300'),
    ...chain('input', ['iifname "gpb*" jump guest'], 'filter hook input priority 0'),
    ...chain('guest', [
      'ct state established,related accept',
      'icmp type echo-request iifname . ip daddr @gateways accept',
      'iifname @served udp sport 68 udp dport 67 accept',
      'drop',
    ]),
    ...chain(
      'forward',
      [
        // Where the kernel shows bridged frames to these chains too (br_netfilter): the bridge's own rules judge them.
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

/** On a bridge the host answers for its gateway's address and for no other of its own. */
function arpTable({ networks }: NetworkPlan): string[] {
  const gateways = networks.flatMap(({ vni, gateway }) =>
    gateway === null ? [] : [`iifname "${bridgeName(vni)}" arp daddr ip ${gateway.address} accept`],
  );
  return chain('input', [...gateways, 'iifname "gpb*" drop'], 'filter hook input priority 0');
}
