/**
 * The peers that are connected to a port of this node, as its kernel sees them. The parsers are pure. Source:
 * proc_net_tcp (Documentation/networking/proc_net_tcp.rst), proc(5) and ss(8). A fence asks when its exports are gone,
 * and a migrating guest is paused in the meantime. The kernel's table of connections is slow: every read walks its
 * whole hash, however few connections there are, and walks it again at the end (2 to 3 ms each with 24 GB of memory).
 * The list of a process's descriptors is quick, but has only numbers for sockets. So the descriptors show which sockets
 * are left, and the peers of known numbers are remembered.
 */

import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import type { Connection, ConnectionAge } from '../core/ports/disk-backend.ts';
import { run } from '../os/child-process.ts';
import { monotonicMs } from '../os/monotonic.ts';

const ESTABLISHED = '01';
const LISTENING = '0A';
const READ_BYTES = 64 * 1024;
/**
 * The kernel gives a page at a time, of at least 4096 bytes, and a line has 150: a read below this was most likely the
 * last.
 */
const FULL_READ_BYTES = 3072;
/** The kernel numbers sockets with 32 bits: long before it could have come round. */
const NAMES_MS = 60 * 60_000;

interface TcpSocket extends Connection {
  readonly inode: string;
  readonly state: string;
}

/** Sockets by their numbers; null for what is no connection (a listening socket, a monitor). */
type Names = ReadonlyMap<string, Connection | null>;

/** Sockets with the local port, from the text of /proc/net/tcp; `key` is `address:port` of the peer. */
export function parseProcNetTcp(text: string, localPort: number): readonly TcpSocket[] {
  const portHex = localPort.toString(16).toUpperCase().padStart(4, '0');
  const sockets: TcpSocket[] = [];
  for (const line of text.split('\n')) {
    const [, local = '', remote = '', state = '', , , , , , inode = ''] = line.trim().split(/\s+/);
    if (!local.endsWith(`:${portHex}`)) continue;
    const address = addressOf(remote.slice(0, 8));
    sockets.push({ address, key: `${address}:${Number.parseInt(remote.slice(9), 16)}`, inode, state });
  }
  return sockets;
}

/** The numbers of the sockets in the text of /proc/net/unix. */
export function parseProcNetUnix(text: string): ReadonlySet<string> {
  const lines = text.split('\n').slice(1);
  return new Set(lines.flatMap((line) => line.trim().split(/\s+/)[6] ?? []));
}

/** Four bytes in the machine's order, which is little-endian on what we run on. */
function addressOf(hex: string): string {
  return [6, 4, 2, 0].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join('.');
}

/** The peers that are connected to daemons of this network namespace. IPv4, as storage addresses are. One per service. */
export class ConnectionLook {
  /** By port. */
  readonly #known = new Map<number, { readonly pid: number; readonly readAtMs: number; readonly names: Names }>();

  /**
   * The connections to its port that process `pid` has accepted and not closed. All is read at once: it is memory, and
   * a fence would wait for the thread pool several times. Where the process may not be looked into: the established
   * ones, accepted or not.
   */
  to(localPort: number, pid: number): readonly Connection[] {
    const held = socketsOf(pid);
    if (held === undefined) return establishedTo(localPort);
    const known = this.#known.get(localPort);
    if (known?.pid === pid && monotonicMs() - known.readAtMs < NAMES_MS) {
      const found = connectionsAmong(held, known.names);
      if (found !== undefined) return found;
    }
    const names = readNames(localPort);
    const found = connectionsAmong(held, names);
    if (found === undefined) return establishedTo(localPort);
    this.#known.set(localPort, {
      pid,
      readAtMs: monotonicMs(),
      names: new Map([...names].filter(([inode]) => held.includes(inode))),
    });
    return found;
  }
}

/**
 * The connections among the sockets that a process holds; undefined if the peer of one is unknown. Connections in every
 * state count: if the peer has closed one, a write from it may still be waiting to be read.
 */
export function connectionsAmong(held: readonly string[], names: Names): readonly Connection[] | undefined {
  const connections: Connection[] = [];
  for (const inode of held) {
    const name = names.get(inode);
    if (name === undefined) return undefined;
    if (name !== null) connections.push(name);
  }
  return connections;
}

/** Established connections to a TCP port of this network namespace. */
export function establishedTo(localPort: number): readonly Connection[] {
  return parseProcNetTcp(readFileSync('/proc/net/tcp', 'utf8'), localPort)
    .filter(({ state }) => state === ESTABLISHED)
    .map(connectionOf);
}

const connectionOf = ({ address, key }: TcpSocket): Connection => ({ address, key });

function readNames(localPort: number): Names {
  const names = new Map<string, Connection | null>();
  for (const inode of parseProcNetUnix(readOnce('/proc/net/unix'))) names.set(inode, null);
  for (const socket of parseProcNetTcp(readOnce('/proc/net/tcp'), localPort))
    names.set(socket.inode, socket.state === LISTENING ? null : connectionOf(socket));
  return names;
}

/**
 * Reads a table to what seems to be its end; asking whether it is the end would take as long again. A peer that is
 * missing has no name.
 */
function readOnce(path: string): string {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(READ_BYTES);
    for (let text = ''; ; ) {
      const bytes = readSync(file, buffer);
      text += buffer.toString('latin1', 0, bytes);
      if (bytes < FULL_READ_BYTES) return text;
    }
  } finally {
    closeSync(file);
  }
}

/** The numbers of the sockets that a process holds; undefined if we may not look, or it is gone. */
function socketsOf(pid: number): readonly string[] | undefined {
  const directory = `/proc/${pid}/fd`;
  try {
    return readdirSync(directory).flatMap((fd) => /^socket:\[(\d+)\]$/.exec(linkOf(`${directory}/${fd}`))?.[1] ?? []);
  } catch {
    return undefined;
  }
}

/** The target of a descriptor's link; undefined if the descriptor was closed since. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
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
