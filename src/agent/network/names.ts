/** Names and constants of the overlay that all hosts share. Pure. */

/** What VXLAN over IPv4 adds to a frame (RFC 7348): 14 + 20 + 8 + 8. */
export const VXLAN_OVERHEAD_BYTES = 50;
/** Where guests look for the metadata service: link-local (RFC 3927), the address that clouds agree on. */
export const METADATA_ADDRESS = '169.254.169.254';
/** The smallest MTU of an underlay: the MTU that guests are told (GUEST_MTU) must fit into the tunnel. */
export const UNDERLAY_MTU_MIN = 1500;

/**
 * Interfaces of a network: its bridge and its tunnel. At most 15 characters for every VNI (24 bits), as the kernel
 * demands.
 */
export const bridgeName = (vni: number): string => `gpb${vni}`;
export const tunnelName = (vni: number): string => `gpx${vni}`;

/** The network that a bridge or tunnel belongs to; undefined for interfaces that are not ours. */
export function vniOf(device: string): number | undefined {
  const vni = /^gp[bx](\d{1,8})$/.exec(device)?.[1];
  return vni === undefined ? undefined : Number(vni);
}

export interface Ipv4Range {
  readonly address: string;
  readonly prefixLength: number;
}

/** The network's first address and its mask, dotted. */
export function rangeOf({ address, prefixLength }: Ipv4Range): { readonly network: string; readonly netmask: string } {
  const mask = prefixLength === 0 ? 0 : (0xffff_ffff << (32 - prefixLength)) >>> 0;
  return { network: dotted((toNumber(address) & mask) >>> 0), netmask: dotted(mask) };
}

/** Returns the last address of the range, which is its broadcast address. */
export function lastOf(range: Ipv4Range): string {
  return dotted(toNumber(rangeOf(range).network) + 2 ** (32 - range.prefixLength) - 1);
}

/** The range in CIDR form. */
export function cidrOf(range: Ipv4Range): string {
  return `${rangeOf(range).network}/${range.prefixLength}`;
}

/** Whether the ranges share an address. */
export function overlaps(a: Ipv4Range, b: Ipv4Range): boolean {
  const prefixLength = Math.min(a.prefixLength, b.prefixLength);
  return rangeOf({ ...a, prefixLength }).network === rangeOf({ ...b, prefixLength }).network;
}

function toNumber(address: string): number {
  return address.split('.').reduce((value, octet) => value * 256 + Number(octet), 0);
}

function dotted(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}

/**
 * Returns the link-local IPv6 address that a card derives from its MAC address (RFC 4291, appendix A), as 32
 * hexadecimal digits.
 */
export function linkLocalHex(mac: string): string {
  const [first = 0, ...rest] = mac.split(':').map((octet) => Number.parseInt(octet, 16));
  const interfaceId = [first ^ 2, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)];
  return `fe80${'0'.repeat(12)}${interfaceId.map((octet) => octet.toString(16).padStart(2, '0')).join('')}`;
}
