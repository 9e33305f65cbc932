/**
 * Who is connected to a port of this node, as its kernel sees it. The parsers are pure.
 * Source: proc_net_tcp (Documentation/networking/proc_net_tcp.rst) and ss(8).
 */

import { readFile } from 'node:fs/promises';
import { run } from '../os/child-process.ts';

/** An established connection: `address:port` of the peer, and the address alone. */
export interface Connection {
  readonly key: string;
  readonly address: string;
}

const ESTABLISHED = '01';

/** Established connections to the local port, from the text of /proc/net/tcp. */
export function parseProcNetTcp(text: string, localPort: number): readonly Connection[] {
  const portHex = localPort.toString(16).toUpperCase().padStart(4, '0');
  const connections: Connection[] = [];
  for (const line of text.split('\n').slice(1)) {
    const [, local = '', remote = '', state] = line.trim().split(/\s+/);
    if (state !== ESTABLISHED || !local.endsWith(`:${portHex}`)) continue;
    const address = addressOf(remote.slice(0, 8));
    connections.push({ address, key: `${address}:${Number.parseInt(remote.slice(9), 16)}` });
  }
  return connections;
}

/** Four bytes in the machine's order, which is little-endian on what we run on. */
function addressOf(hex: string): string {
  return [6, 4, 2, 0].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join('.');
}

/** Established connections to a TCP port of this network namespace. IPv4, as storage addresses are. */
export async function connectionsTo(localPort: number): Promise<readonly Connection[]> {
  return parseProcNetTcp(await readFile('/proc/net/tcp', 'utf8'), localPort);
}

export interface ConnectionAge {
  readonly localPort: number;
  readonly address: string;
  /** Since the last packet of the peer; null where the kernel does not say. */
  readonly idleMs: number | null;
}

/** All established connections with their idle times, from `ss -tinHO state established`. */
export function parseSs(text: string): readonly ConnectionAge[] {
  const ages: ConnectionAge[] = [];
  for (const line of text.split('\n')) {
    const match = /^\d+\s+\d+\s+\S+:(\d+)\s+(?:\[::ffff:)?([\d.]+)\]?:\d+(.*)$/.exec(line.trim());
    if (match?.[1] === undefined || match[2] === undefined) continue;
    // lastrcv counts data only; an acknowledged keepalive shows in lastack.
    const idle = [...(match[3] ?? '').matchAll(/\blast(?:rcv|ack):(\d+)/g)].map(([, ms]) => Number(ms));
    ages.push({ localPort: Number(match[1]), address: match[2], idleMs: idle.length === 0 ? null : Math.min(...idle) });
  }
  return ages;
}

/** Every established TCP connection of this network namespace with its idle time. */
export async function connectionAges(): Promise<readonly ConnectionAge[]> {
  const { stdout } = await run(['ss', '-tinHO4', 'state', 'established'], { deadlineMs: 2_000 });
  return parseSs(stdout);
}

/**
 * Whether a connection that outlived the deletion of a revoked generation's exports may be that generation's, by way of
 * another generation's export (while two were granted, the older one's credential could open the newer one's).
 *
 * `before`: established before the exports went. `after`: established when they were gone; those made since the revoked
 * identities left the authorization are harmless, but cannot be told apart, and count as well. `older`: established before
 * the revoked generation was granted. `survivors`: generations still granted; a QEMU opens one connection per disk, and two
 * generations of a VM never share a host.
 */
export function mayBeRevoked(options: {
  readonly before: readonly Connection[];
  readonly after: readonly Connection[];
  readonly older: ReadonlySet<string>;
  readonly survivors: number;
}): boolean {
  const { before, after, older, survivors } = options;
  if (survivors === 0) return after.length > 0;
  const suspects = after.filter(({ key }) => !older.has(key));
  if (suspects.length === 0) return false;
  const left = new Set(after.map(({ key }) => key));
  const gone = new Set(before.filter(({ key }) => !left.has(key)).map(({ address }) => address));
  return suspects.length > survivors || gone.size === 0 || suspects.some(({ address }) => gone.has(address));
}
