/**
 * Bounds a listener's connections. Guarantees: a connection whose peer does not prove its identity has a deadline;
 * unproved connections have a share of their own, bounded in total and per address, so that they never take the room of
 * proved peers; when that share is full, the oldest unproved connection is closed, so that a new one always gets the
 * time of a handshake. Each proved identity has a bound of its own, from whatever addresses it connects; where a rank
 * `makesRoom`, the identity with the most connections gives its oldest one to an identity with fewer.
 */
import type { Socket } from 'node:net';
import { systemClock } from './clock.ts';

/** The most connections at once, in total and per address. */
export interface Share {
  readonly max: number;
  readonly perAddressMax: number;
}

/** The share of a rank of proved connections. */
export interface RankShare extends Share {
  /** The most connections of one identity, from all addresses. */
  readonly perPeerMax: number;
  /** Whether a full share closes a connection of the identity that has the most, instead of refusing the new one. */
  readonly makesRoom: boolean;
}

export interface GateOptions<Rank extends string> {
  /** Share of connections whose peers have not proved their identity yet. */
  readonly strangers: Share;
  /** How long a peer may take to prove its identity, in ms from the connection on. */
  readonly proveMs: number;
  /** Shares of proved connections, by rank. No rank takes connections from another. */
  readonly ranks: Readonly<Record<Rank, RankShare>>;
  /** Timer for tests: calls back once after a delay in ms; the returned function cancels it. */
  readonly after?: (delayMs: number, callback: () => void) => () => void;
}

/** A connection whose peer proved its identity. */
interface Proved {
  readonly socket: Socket;
  readonly address: string;
  readonly peer: string;
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
  /** Proved connections of each rank in the order of their proofs. */
  readonly #proved = new Map<Rank, Map<Socket, Proved>>();

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
   * Counts a connection in a rank's share from now on; its deadline no longer applies. `peer` names the identity that
   * was proved. Returns false if there is no room for it: the connection is destroyed. A connection that has a rank
   * already, or was not admitted here, stays as it is.
   */
  prove(socket: Socket, rank: Rank, peer: string): boolean {
    const held = this.#strangers.get(socket);
    if (held === undefined) return !socket.destroyed;
    const { address } = held;
    this.#forgetStranger(held);
    const proved = this.#proved.get(rank) ?? new Map<Socket, Proved>();
    this.#proved.set(rank, proved);
    if (!hasRoom(proved, { address, peer }, this.#options.ranks[rank])) {
      socket.destroy();
      return false;
    }
    proved.set(socket, { socket, address, peer });
    socket.once('close', () => proved.delete(socket));
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

/** Returns whether a peer may have one more connection; closes one of another peer where it has to make room. */
function hasRoom(
  proved: Map<Socket, Proved>,
  { address, peer }: Omit<Proved, 'socket'>,
  { max, perAddressMax, perPeerMax, makesRoom }: RankShare,
): boolean {
  const all = [...proved.values()];
  if (all.filter((other) => other.peer === peer).length >= perPeerMax) return false;
  const beside = all.filter((other) => other.address === address);
  const full = beside.length >= perAddressMax ? beside : all.length >= max ? all : null;
  if (full === null) return true;
  if (!makesRoom) return false;
  const byPeer = Map.groupBy(full, (other) => other.peer);
  let largest: readonly Proved[] = [];
  for (const group of byPeer.values()) if (group.length > largest.length) largest = group;
  const [oldest] = largest;
  // Two peers that have almost as many do not close each other's connections in turn.
  if (oldest === undefined || largest.length <= (byPeer.get(peer)?.length ?? 0) + 1) return false;
  proved.delete(oldest.socket);
  oldest.socket.destroy();
  return true;
}
