/**
 * Bounds a listener's connections. Guarantees: a connection whose peer does not prove its identity has a deadline;
 * unproved connections have a share of their own, bounded in total and per address, so that they never take the room of
 * proved peers; when that share is full, the oldest unproved connection is closed, so that a new one always gets the
 * time of a handshake.
 */
import type { Socket } from 'node:net';
import { systemClock } from './clock.ts';

/** The most connections at once, in total and per address. */
export interface Share {
  readonly max: number;
  readonly perAddressMax: number;
}

export interface GateOptions<Rank extends string> {
  /** Share of connections whose peers have not proved their identity yet. */
  readonly strangers: Share;
  /** How long a peer may take to prove its identity, in ms from the connection on. */
  readonly proveMs: number;
  /** Shares of proved connections, by rank. No rank takes connections from another. */
  readonly ranks: Readonly<Record<Rank, Share>>;
  /** Timer for tests: calls back once after a delay in ms; the returned function cancels it. */
  readonly after?: (delayMs: number, callback: () => void) => () => void;
}

interface Held {
  readonly socket: Socket;
  readonly address: string;
  readonly cancel: () => void;
}

/** Bounds the connections of one listener, or of a group of listeners with common bounds. */
export class ConnectionGate<Rank extends string> {
  readonly #options: GateOptions<Rank>;
  /** Unproved connections in the order of their arrival. */
  readonly #strangers = new Map<Socket, Held>();
  readonly #strangersOf = new Map<string, Set<Socket>>();
  readonly #counts = new Map<Rank, Map<string, number>>();

  constructor(options: GateOptions<Rank>) {
    this.#options = options;
  }

  /**
   * Admits a connection that was just accepted. It is destroyed at its deadline, or when a new connection needs its
   * place, unless it is `prove`d.
   */
  admit(socket: Socket): void {
    const address = addressOf(socket);
    const { max, perAddressMax } = this.#options.strangers;
    const same = this.#strangersOf.get(address);
    if (same !== undefined && same.size >= perAddressMax) this.#dropOldest(same);
    else if (this.#strangers.size >= max) this.#dropOldest(this.#largestGroup());
    const after = this.#options.after ?? systemClock.after;
    const cancel = after(this.#options.proveMs, () => this.#drop(socket));
    this.#strangers.set(socket, { socket, address, cancel });
    const group = this.#strangersOf.get(address) ?? new Set();
    this.#strangersOf.set(address, group.add(socket));
    // A connection that is being evicted must not end the process with an error.
    socket.on('error', () => undefined);
    socket.once('close', () => this.#forget(socket));
  }

  /**
   * Counts a connection in a rank's share from now on; its deadline no longer applies. Returns false if that share is
   * full, in total or for its address: the connection is destroyed. A connection that has this rank already, or was not
   * admitted here, stays as it is.
   */
  prove(socket: Socket, rank: Rank): boolean {
    const held = this.#strangers.get(socket);
    if (held === undefined) return !socket.destroyed;
    const { max, perAddressMax } = this.#options.ranks[rank];
    const counts = this.#counts.get(rank) ?? new Map<string, number>();
    this.#counts.set(rank, counts);
    const count = counts.get(held.address) ?? 0;
    this.#forgetStranger(held);
    if (count >= perAddressMax || sum(counts) >= max) {
      socket.destroy();
      return false;
    }
    counts.set(held.address, count + 1);
    socket.once('close', () => {
      const left = (counts.get(held.address) ?? 1) - 1;
      if (left === 0) counts.delete(held.address);
      else counts.set(held.address, left);
    });
    return true;
  }

  /** Returns the unproved connections of the address that has the most. */
  #largestGroup(): Set<Socket> {
    let largest: Set<Socket> = new Set();
    for (const group of this.#strangersOf.values()) if (group.size > largest.size) largest = group;
    return largest;
  }

  #dropOldest(group: Set<Socket>): void {
    const [oldest] = group;
    if (oldest !== undefined) this.#drop(oldest);
  }

  #drop(socket: Socket): void {
    const held = this.#strangers.get(socket);
    if (held !== undefined) this.#forgetStranger(held);
    socket.destroy();
  }

  #forget(socket: Socket): void {
    const held = this.#strangers.get(socket);
    if (held !== undefined) this.#forgetStranger(held);
  }

  #forgetStranger({ socket, address, cancel }: Held): void {
    cancel();
    this.#strangers.delete(socket);
    const group = this.#strangersOf.get(address);
    group?.delete(socket);
    if (group?.size === 0) this.#strangersOf.delete(address);
  }
}

/**
 * Returns the connection under a TLS connection, which is the one that the listener accepted; a plain connection is
 * returned itself.
 */
export function acceptedSocket(socket: Socket): Socket {
  // Node has no public name for the socket of a TLSSocket; the test of this module fails if this one changes.
  const below: unknown = Reflect.get(socket, '_parent');
  return below instanceof Object && 'destroy' in below ? (below as Socket) : socket;
}

/** Returns an IPv4-mapped address in IPv4 form; '' for a Unix socket. */
function addressOf({ remoteAddress = '' }: Socket): string {
  return remoteAddress.startsWith('::ffff:') ? remoteAddress.slice('::ffff:'.length) : remoteAddress;
}

function sum(counts: ReadonlyMap<string, number>): number {
  let total = 0;
  for (const count of counts.values()) total += count;
  return total;
}
