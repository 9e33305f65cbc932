/**
 * What may come out of a guest's tap: a list of what is allowed. Pure. Guarantees: only untagged IPv4, ARP, IPv6 and
 * QEMU's own announcement after a migration passes; from the card's own MAC address; in IPv4 from an address of the
 * network that is neither the gateway's nor reserved for another; no DHCP answers, no router advertisements, no
 * redirects, however they are wrapped. Sources: RFC 826 (ARP), 5227 (probes), 8200 (IPv6), 4861 (neighbour discovery),
 * 6105 and 7113 (router advertisements of guests, and how they are hidden behind extension headers and in fragments),
 * 6980 (neighbour discovery is never fragmented).
 */
import type { NetworkOnHost } from '../../core/ports/host-link.ts';
import { cidrOf, lastOf, linkLocalHex, rangeOf } from './names.ts';
import { chain, set } from './nft-text.ts';
import type { Tap } from './taps.ts';

/** Matches every tap of Groundplane (taps.ts). */
export const IF_TAP = 'iifname "gpt*"';

/** EtherType of RARP (RFC 903): QEMU sends RARP frames for a migrated guest, so that bridges learn its new port. */
const RARP = '0x8035';
const ICMPV6 = 58;
const HOP_BY_HOP = 0;
const FRAGMENT = 44;
/** The next-header field of the first extension header, which begins at byte 40 of the IPv6 packet. */
const AFTER_FIRST_HEADER = '@nh,320,8';
/** ICMPv6 types of neighbour discovery (RFC 4861) that carry a target address. */
const ND_TARGET = '@th,64,128';
/** ICMPv6 types that pass: errors, echo, neighbour discovery, router solicitations, and leaving a multicast group. */
const ICMPV6_PLAIN = '1, 2, 3, 4, 128, 129, 132, 133, 135, 136';
/** Multicast listener reports, which have a hop-by-hop header (RFC 3810, section 5). */
const MLD_REPORTS = '131, 132, 143';
/**
 * IPv6 next headers that pass: IPv4 and IPv6 in IPv6, TCP, DCCP, GRE, ESP, OSPF, VRRP, SCTP, UDP, UDP-Lite. None is an
 * extension header that could hide an ICMPv6 message.
 */
const UPPER_LAYERS = '4, 6, 17, 33, 41, 47, 50, 89, 112, 132, 136';
/** IPv6 next headers that may be fragmented. ICMPv6 may not: a fragment does not show the type of the whole message. */
const IN_FRAGMENTS = [6, 17, 132];

/** Formats the sets, maps and chains of the bridge table; `tap` names the chain for frames that come from a tap. */
export function tapRules(networks: readonly NetworkOnHost[], taps: readonly Tap[]): string[] {
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
    ...chain('arpFrame', [
      'arp htype != 1 drop',
      'arp ptype != 0x0800 drop',
      'arp hlen != 6 drop',
      'arp plen != 4 drop',
      'arp operation != { request, reply } drop',
      'iifname . arp saddr ether != @cards drop',
      'arp saddr ip { 127.0.0.0/8, 224.0.0.0/3 } drop',
    ]),
    ...chain('ip4Frame', [
      'udp sport 67 drop',
      'icmp type { redirect, router-advertisement } drop',
      'ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept',
      'ip saddr { 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/3 } drop',
    ]),
    ...chain('ip6Frame', [
      'udp sport 547 drop',
      'ip6 saddr { ::1, ff00::/8, ::ffff:0:0/96 } drop',
      `ip6 nexthdr ${ICMPV6} icmpv6 type { ${ICMPV6_PLAIN} } return`,
      `ip6 nexthdr ${HOP_BY_HOP} ${AFTER_FIRST_HEADER} ${ICMPV6} meta l4proto ${ICMPV6} icmpv6 type { ${MLD_REPORTS} } return`,
      'ip6 saddr :: drop',
      ...IN_FRAGMENTS.map((protocol) => `ip6 nexthdr ${FRAGMENT} ${AFTER_FIRST_HEADER} ${protocol} return`),
      `ip6 nexthdr { ${UPPER_LAYERS} } return`,
      'drop',
    ]),
    ...chain('tap', [
      'iifname . ether saddr != @cards drop',
      // If the kernel has removed a VLAN tag, `ether type` still compares with the tag's type.
      `ether type ${RARP} @nh,48,16 3 @nh,112,32 0 @nh,192,32 0 accept`,
      'ether type != { ip, arp, ip6 } drop',
      'ether type arp jump arpFrame',
      'ether type ip jump ip4Frame',
      'ether type ip6 jump ip6Frame',
      'iifname vmap @members',
    ]),
  ];
}

/**
 * Formats the rules that depend on the network. Unreserved addresses of its range may be used by any guest: a guest
 * cluster's floating address, for example.
 */
function memberRules({ vni, gateway, dhcp }: NetworkOnHost): string[] {
  const reserved = dhcp ?? [];
  const rules: string[] = [];
  if (reserved.length > 0) {
    rules.push(
      // An ARP probe for another guest's address would make that guest give the address up (RFC 5227, 2.1.1).
      `arp saddr ip 0.0.0.0 arp daddr ip @reserved${vni} ether saddr . arp daddr ip != @holders${vni} drop`,
      `arp saddr ip @reserved${vni} ether saddr . arp saddr ip != @holders${vni} drop`,
      `ip saddr @reserved${vni} ether saddr . ip saddr != @holders${vni} drop`,
      `ip6 saddr @linkLocal${vni} ether saddr . ip6 saddr != @linkLocalHolders${vni} drop`,
      `icmpv6 type 136 jump ndTarget${vni}`,
      `ip6 saddr :: icmpv6 type 135 jump ndTarget${vni}`,
    );
  }
  rules.push('arp saddr ip 0.0.0.0 return');
  if (gateway !== null) {
    const never = `{ ${rangeOf(gateway).network}, ${gateway.address}, ${lastOf(gateway)} }`;
    for (const source of ['arp saddr ip', 'ip saddr'])
      rules.push(`${source} != ${cidrOf(gateway)} drop`, `${source} ${never} drop`);
  }
  return [...(reserved.length === 0 ? [] : reservedSets(vni, reserved)), ...chain(`member${vni}`, rules)];
}

/** Formats the reserved addresses of a network, in the form in which each kind of frame carries them. */
function reservedSets(vni: number, reserved: NonNullable<NetworkOnHost['dhcp']>): string[] {
  const cards = reserved.map(({ mac, address }) => ({ mac, address, hex: linkLocalHex(mac) }));
  const six = (hex: string): string => (hex.match(/.{4}/g) ?? []).join(':');
  return [
    ...set(
      `reserved${vni}`,
      'ipv4_addr',
      cards.map(({ address }) => address),
    ),
    ...set(
      `holders${vni}`,
      'ether_addr . ipv4_addr',
      cards.map(({ mac, address }) => `${mac} . ${address}`),
    ),
    ...set(
      `linkLocal${vni}`,
      'ipv6_addr',
      cards.map(({ hex }) => six(hex)),
    ),
    ...set(
      `linkLocalHolders${vni}`,
      'ether_addr . ipv6_addr',
      cards.map(({ mac, hex }) => `${mac} . ${six(hex)}`),
    ),
    ...set(
      `targets${vni}`,
      `typeof ${ND_TARGET}`,
      cards.map(({ hex }) => `0x${hex}`),
    ),
    ...set(
      `targetHolders${vni}`,
      `typeof ether saddr . ${ND_TARGET}`,
      cards.map(({ mac, hex }) => `${mac} . 0x${hex}`),
    ),
    ...chain(`ndTarget${vni}`, [`${ND_TARGET} @targets${vni} ether saddr . ${ND_TARGET} != @targetHolders${vni} drop`]),
  ];
}
