/** The networks that the kernel has: the answers of `ip -json` and `bridge -json`, as far as plans need them. */

import { run } from '../../os/child-process.ts';
import { isRecord } from '../../rpc/parse.ts';
import type { Ipv4Range } from './names.ts';

export interface Link {
  readonly device: string;
  readonly mtu: number;
  readonly mac: string;
  /** The bridge that it is a port of. */
  readonly master: string | null;
  readonly up: boolean;
  /** `bridge`, `vxlan`, `tun`, `veth` …; null for hardware. */
  readonly kind: string | null;
  /** The address and the device of a tunnel itself. */
  readonly tunnel: { readonly local: string; readonly device: string } | null;
}

export interface ForwardingEntry {
  readonly device: string;
  readonly mac: string;
  readonly peer: string;
}

export interface Observed {
  readonly links: ReadonlyMap<string, Link>;
  readonly addresses: readonly (Ipv4Range & { readonly device: string })[];
  /** Forwarding entries of tunnels: the flood list (all-zero MAC) and learned addresses. */
  readonly forwarding: readonly ForwardingEntry[];
  readonly defaultDevice: string | null;
}

const DEADLINE_MS = 5_000;

/** Reads the state from the kernel; takes about 10 ms. */
export async function observe(): Promise<Observed> {
  const [links, addresses, forwarding, routes] = await Promise.all([
    json(['ip', '-json', '-details', 'link', 'show']),
    json(['ip', '-json', '-4', 'address', 'show']),
    json(['bridge', '-json', 'fdb', 'show']),
    json(['ip', '-json', '-4', 'route', 'show', 'default']),
  ]);
  const device = routes[0]?.['dev'];
  return {
    links: new Map(links.map(parseLink).map((link) => [link.device, link])),
    addresses: addresses.flatMap(parseAddresses),
    forwarding: forwarding.flatMap(parseForwarding),
    defaultDevice: typeof device === 'string' ? device : null,
  };
}

async function json(argv: readonly string[]): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { stdout } = await run(argv, { deadlineMs: DEADLINE_MS });
  const value: unknown = stdout.trim() === '' ? [] : JSON.parse(stdout);
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

function parseLink(link: Readonly<Record<string, unknown>>): Link {
  const info = isRecord(link['linkinfo']) ? link['linkinfo'] : {};
  const data = isRecord(info['info_data']) ? info['info_data'] : {};
  const kind = textOf(info['info_kind']);
  const flags = Array.isArray(link['flags']) ? link['flags'] : [];
  return {
    device: textOf(link['ifname']) ?? '',
    mtu: Number(link['mtu']),
    mac: textOf(link['address']) ?? '',
    master: textOf(link['master']),
    up: flags.includes('UP'),
    kind,
    tunnel: kind === 'vxlan' ? { local: textOf(data['local']) ?? '', device: textOf(data['link']) ?? '' } : null,
  };
}

function parseAddresses(entry: Readonly<Record<string, unknown>>): (Ipv4Range & { device: string })[] {
  const device = textOf(entry['ifname']) ?? '';
  const infos = Array.isArray(entry['addr_info']) ? entry['addr_info'].filter(isRecord) : [];
  return infos.map((info) => ({
    device,
    address: textOf(info['local']) ?? '',
    prefixLength: Number(info['prefixlen']),
  }));
}

function parseForwarding(entry: Readonly<Record<string, unknown>>): ForwardingEntry[] {
  const device = textOf(entry['ifname']);
  const mac = textOf(entry['mac']);
  const peer = textOf(entry['dst']);
  return device === null || mac === null || peer === null ? [] : [{ device, mac, peer }];
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
