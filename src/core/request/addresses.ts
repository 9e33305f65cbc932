/** IPv4 ranges and the addresses that may be given out of them. Pure. */
import { CodedError } from '../../base/errors.ts';
import type { NetworkRecord } from '../model/cluster.ts';
import { LIMITS } from '../model/limits.ts';
import { demandCount } from './demands.ts';

/** `size` addresses from `first` on. */
export interface Ipv4Range {
  readonly first: number;
  readonly prefixLength: number;
  readonly size: number;
}

/** Address blocks that no guest can use, with the purpose of each (RFC 6890). */
const NOT_FOR_GUESTS = [
  { cidr: '0.0.0.0/8', what: '"this network"' },
  { cidr: '127.0.0.0/8', what: 'loopback' },
  { cidr: '169.254.0.0/16', what: 'link-local addresses' },
  { cidr: '224.0.0.0/4', what: 'multicast' },
  { cidr: '240.0.0.0/4', what: 'reserved addresses and broadcast' },
] as const;

/** Decimal without leading zeros: one spelling per address, so that taken ones are found as text. */
const OCTET = /^(0|[1-9]\d{0,2})$/;

/** The 32-bit number of a dotted IPv4 address; CodedError 'bad-input'. */
export function ipv4ToNumber(text: string): number {
  const octets = text.split('.').map((octet) => (OCTET.test(octet) ? Number(octet) : 256));
  if (octets.length !== 4 || octets.some((octet) => octet > 255))
    throw new CodedError('bad-input', `${text} is not an IPv4 address.`);
  return octets.reduce((sum, octet) => sum * 256 + octet, 0);
}

/** The dotted form of a 32-bit number. */
export function numberToIpv4(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}

/**
 * The range of a CIDR text; its host bits must be zero and it must hold at least a gateway and two guests (/8 to /29).
 */
export function parseRange(cidr: string): Ipv4Range {
  const [address = '', length = '', ...rest] = cidr.split('/');
  const prefixLength = /^\d{1,2}$/.test(length) ? Number(length) : 0;
  if (rest.length > 0 || prefixLength < 8 || prefixLength > 29) {
    throw new CodedError('bad-input', `${cidr} is not usable: the prefix length must be 8 to 29.`);
  }
  const first = ipv4ToNumber(address);
  const size = 2 ** (32 - prefixLength);
  if (first % size !== 0)
    throw new CodedError(
      'bad-input',
      `${cidr} has host bits set; the range begins at ${numberToIpv4(first - (first % size))}/${prefixLength}.`,
    );
  return { first, prefixLength, size };
}

/**
 * Returns the reserved block that an address or range overlaps, with its purpose ("127.0.0.0/8, loopback"); null if the
 * range can be used.
 */
export function notForUse({ first, size }: Pick<Ipv4Range, 'first' | 'size'>): string | null {
  for (const { cidr, what } of NOT_FOR_GUESTS) {
    const block = parseBlock(cidr);
    if (first < block.first + block.size && block.first < first + size) return `${cidr}, ${what}`;
  }
  return null;
}

/** Refuses an address range that guests could not use. CodedError 'bad-input'. */
export function demandUsableRange(cidr: string, range: Ipv4Range): void {
  const block = notForUse(range);
  if (block === null) return;
  throw new CodedError('bad-input', `${cidr} is not usable for guests: it overlaps ${block}.`, {
    advice: 'Nothing was created. Choose a private range: within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16.',
  });
}

function parseBlock(cidr: string): { readonly first: number; readonly size: number } {
  const [address = '', length = ''] = cidr.split('/');
  return { first: ipv4ToNumber(address), size: 2 ** (32 - Number(length)) };
}

/** The gateway of a range: its first usable address. */
export function gatewayOf(range: Ipv4Range): string {
  return numberToIpv4(range.first + 1);
}

/**
 * The address asked for, or the lowest free one; CodedError where it is taken or none is left. Guests begin at .10
 * where the range is large.
 */
export function allocateAddress(network: NetworkRecord, wanted: string | null): string | null {
  if (network.cidr === null) {
    if (wanted !== null)
      throw new CodedError(
        'bad-input',
        `Network ${network.name} has no address range, so ${wanted} cannot be reserved in it.`,
      );
    return null;
  }
  const range = parseRange(network.cidr);
  const taken = new Set(Object.values(network.reservations).map(({ address }) => address));
  demandCount(taken.size, LIMITS.networkAddresses);
  if (wanted !== null) {
    const offset = ipv4ToNumber(wanted) - range.first;
    if (offset < 2 || offset >= range.size - 1)
      throw new CodedError('bad-input', `${wanted} cannot be given to a VM in ${network.cidr}.`);
    if (taken.has(wanted))
      throw new CodedError('conflict', `${wanted} is taken in network ${network.name}.`, {
        advice: 'Nothing was changed. Choose another address.',
      });
    return wanted;
  }
  for (let offset = range.size > 64 ? 10 : 2; offset < range.size - 1; offset++) {
    const address = numberToIpv4(range.first + offset);
    if (!taken.has(address)) return address;
  }
  throw new CodedError('no-capacity', `Network ${network.name} (${network.cidr}) has no free address.`, {
    advice: 'Nothing was created. Delete VMs or use another network.',
  });
}
