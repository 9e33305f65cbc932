/**
 * Who may hold connections of a listener. Guarantees: a connection whose peer does not prove who it is has a deadline; what strangers hold
 * is a share of its own, bounded as a whole and for each address, so that they never take the room of peers who proved themselves; where
 * that share is full, the stranger who waited longest makes room, so that a newcomer always gets the time that a handshake takes.
 */
import type { Socket } from 'node:net';
import { systemClock } from './clock.ts';

/** How many connections at once, of all addresses and of one. */
export interface Share {
  readonly max: number;
  readonly perAddressMax: number;
}

export interface GateOptions<Rank extends string> {
  /** Connections whose peer has not proved itself yet. */
  readonly strangers: Share;
  /** How long a peer may take to prove itself, in ms from the connection on. */
  readonly proveMs: number;
  /** Connections whose peer proved itself, by what it is. No rank takes from another. */
  readonly ranks: Readonly<Record<Rank, Share>>;
  /** For tests: calls back once after a delay in ms; the answer cancels it. */
  readonly after?: (delayMs: number, callback: () => void) => () => void;
}

interface Held {
  readonly socket: Socket;
  readonly address: string;
  readonly cancel: () => void;
}

/** One per listener, or per group of listeners that share their bounds. */
export class ConnectionGate<Rank extends string> {
  readonly #options: GateOptions<Rank>;
  /** In the order in which they came. */
  readonly #strangers = new Map<Socket, Held>();
  readonly #strangersOf = new Map<string, Set<Socket>>();
  readonly #counts = new Map<Rank, Map<string, number>>();

  constructor(options: GateOptions<Rank>) {
    this.#options = options;
  }

  /** Takes a connection that was just accepted. It is destroyed at its deadline, or when others need its room, unless it is `prove`d. */
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
    // Whatever happens to a connection that others made room of, it ends nobody.
    socket.on('error', () => undefined);
    socket.once('close', () => this.#forget(socket));
  }

  /**
   * Counts a connection to a rank's share from now on: its deadline is over. False where that share is full, in all or for its address: the
   * connection is destroyed. A connection that has this rank already, or was not admitted here, stays as it is.
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

  /** The strangers of the address that has most of them. */
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

/** The connection below a TLS one, which is what a listener accepted; a plain one is its own. */
export function acceptedSocket(socket: Socket): Socket {
  // Node names it nowhere else: a TLSSocket keeps what it was made of here. The test of this module fails where that changes.
  const below: unknown = Reflect.get(socket, '_parent');
  return below instanceof Object && 'destroy' in below ? (below as Socket) : socket;
}

/** IPv4 in its own form; '' for a socket of this machine. */
function addressOf({ remoteAddress = '' }: Socket): string {
  return remoteAddress.startsWith('::ffff:') ? remoteAddress.slice('::ffff:'.length) : remoteAddress;
}

function sum(counts: ReadonlyMap<string, number>): number {
  let total = 0;
  for (const count of counts.values()) total += count;
  return total;
}
