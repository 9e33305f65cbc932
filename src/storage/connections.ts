/**
 * Who is connected to a port of this node, as its kernel sees it. The parsers are pure.
 * Source: proc_net_tcp (Documentation/networking/proc_net_tcp.rst) and ss(8).
 */

import { readFileSync } from 'node:fs';
import type { Connection, ConnectionAge } from '../core/ports/disk-backend.ts';
import { run } from '../os/child-process.ts';

const ESTABLISHED = '01';

/** Established connections to the local port, from the text of /proc/net/tcp; `key` is `address:port` of the peer. */
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

/**
 * Established connections to a TCP port of this network namespace. IPv4, as storage addresses are. Read at once: it is memory, and a fence,
 * for which a migrating guest stands still, would wait for the thread pool several times.
 */
export function connectionsTo(localPort: number): readonly Connection[] {
  return parseProcNetTcp(readFileSync('/proc/net/tcp', 'utf8'), localPort);
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
