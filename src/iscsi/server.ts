/**
 * The iSCSI target's sockets: one Connection per initiator's connection, and their shared state. Guarantees: the memory
 * of one connection is bounded (limits.ts), and so is their number; nothing that a peer sends or fails to send ends
 * this process or delays another connection; a connection that does not log in, or does not read or send data in time,
 * is closed at its deadline; `fence` has cut a nexus' connections when it returns, and resolves when no command of
 * theirs runs any more.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { CodedError, messageOf } from '../base/errors.ts';
import { Budget } from '../core/iscsi/budget.ts';
import { Connection } from '../core/iscsi/connection.ts';
import { LIMITS } from '../core/iscsi/limits.ts';
import type { InitiatorPolicy, LoggedIn, LoginPolicy } from '../core/iscsi/login.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { ScsiTarget } from '../core/scsi/target-port.ts';
import { ConnectionGate } from '../os/connection-gate.ts';
import { normalName } from '../wire/iscsi/text-keys.ts';
import { BlockPool } from './block-pool.ts';
import { BusyPoll } from './busy-poll.ts';
import { directSocket } from './direct-socket.ts';

const SWEEP_MS = 1_000;
const INPUT_BYTES = 64 * 1024;
const KEEPALIVE_MS = 30_000;
const TSIH_MAX = 0xffff;

/** What is served, at which addresses, to which initiators. */
export interface ServerOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** The targets that an initiator may see, by its normalised name. */
  readonly targetsOf: (initiator: string) => readonly string[];
  /** The target of that name, one of `targetsOf`. */
  readonly targetNamed: (name: string) => ScsiTarget;
  /** Whether a session gets no unit attentions (ScsiCommand.isStandby); `reconsider` after a change. */
  readonly isStandby?: (who: LoggedIn) => boolean;
  readonly clock: Clock;
  readonly policyFor: (initiator: string) => InitiatorPolicy | null;
  /** Called for every connection that ends for another reason than a logout, with its initiator and the reason. */
  readonly onClosed: (initiator: string | null, reason: string) => void;
}

interface Peer {
  readonly socket: Socket;
  readonly connection: Connection;
  isid: string;
  tsih: number;
  unsentBytes: number;
  isSending: boolean;
  isEnding: boolean;
  isGone: boolean;
  /** Counts output that was taken. */
  sends: number;
  /** Progress as last seen by the sweep, and when it last changed or nothing was owed. */
  seen: number;
  seenMs: number;
}

/** See above. */
export class IscsiServer {
  readonly #options: ServerOptions;
  readonly #server: Server;
  readonly #peers = new Set<Peer>();
  readonly #gate: ConnectionGate<'loggedIn'>;
  readonly #blocks = new BlockPool();
  /** The buffer for input that is copied. Shared by all connections: it is empty when another one reads. */
  readonly #input = new Uint8Array(INPUT_BYTES);
  readonly #budget = new Budget(LIMITS.targetBytes);
  readonly #policy: LoginPolicy;
  readonly #poll: BusyPoll;
  #cancelSweep: () => void = () => undefined;
  #tsih = 0;
  #isClosed = false;

  private constructor(options: ServerOptions) {
    this.#options = options;
    this.#gate = new ConnectionGate({
      strangers: LIMITS.strangers,
      proveMs: LIMITS.loginDeadlineMs,
      ranks: { loggedIn: LIMITS.loggedIn },
      after: (delayMs, callback) => options.clock.after(delayMs, callback),
    });
    this.#poll = new BusyPoll({ monotonicMs: () => options.clock.monotonicMs(), nextTurn: setImmediate });
    this.#policy = {
      targetsOf: options.targetsOf,
      policyFor: options.policyFor,
      random: (bytes) => randomBytes(bytes),
      chapDigest: (algorithm, { id, secret, challenge }) => {
        const hash = createHash(algorithm === 5 ? 'md5' : 'sha256');
        return hash.update(Uint8Array.of(id)).update(secret, 'utf8').update(challenge).digest();
      },
    };
    const keepAlive = { keepAlive: true, keepAliveInitialDelay: KEEPALIVE_MS };
    this.#server = createServer({ noDelay: true, ...keepAlive, pauseOnConnect: true }, (socket) =>
      this.#accept(socket),
    );
  }

  /** Listens. Throws CodedError 'conflict' (in use) or 'failed'. */
  static async listen(options: ServerOptions): Promise<IscsiServer> {
    const server = new IscsiServer(options);
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(options, error)));
      server.#server.listen({ host: options.host, port: options.port }, resolve);
    });
    server.#server.on('error', (error) => options.onClosed(null, messageOf(error)));
    server.#sweepLater();
    return server;
  }

  /** The port it listens at. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : this.#options.port;
  }

  /** The number of connections. */
  get connectionCount(): number {
    return this.#peers.size;
  }

  /**
   * Cuts the connections of an initiator, those in the middle of log-in included; with `account` only those that logged
   * in by that CHAP name. Connections are cut when this returns; it resolves when none of their commands runs any more.
   * The caller must have made `policyFor` refuse them before.
   */
  async fence(initiator: string, { account }: { readonly account?: string } = {}): Promise<void> {
    const nexus = normalName(initiator);
    const cut = [...this.#peers].filter(({ connection }) => {
      if (connection.initiator !== nexus) return false;
      return account === undefined || connection.who === null || connection.who.account === account;
    });
    for (const peer of cut) this.#cut(peer, 'fenced');
    await Promise.all(cut.map(({ connection }) => connection.quiet()));
  }

  /** Asks `isStandby` again for the sessions of an initiator. */
  reconsider(initiator: string): void {
    const nexus = normalName(initiator);
    for (const { connection } of this.#peers) {
      const { who, session } = connection;
      if (who === null || session === null || who.initiator !== nexus) continue;
      session.isStandby = this.#options.isStandby?.(who) ?? false;
    }
  }

  /** The initiators that are logged in, each with its account and its address. */
  sessions(): readonly { readonly account: string | null; readonly address: string; readonly port: number }[] {
    return [...this.#peers].flatMap(({ connection, socket }) => {
      if (connection.session === null) return [];
      const address = plainAddress(socket.remoteAddress);
      return [{ account: connection.who?.account ?? null, address, port: socket.remotePort ?? 0 }];
    });
  }

  /** Tells the initiators, stops listening, cuts all connections, and resolves when no command runs any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelSweep();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const peers = [...this.#peers];
    for (const peer of peers) {
      peer.connection.announceEnd();
      this.#send(peer);
      peer.connection.close();
      peer.socket.destroySoon();
    }
    await Promise.all(peers.map(({ connection }) => connection.quiet()));
    for (const peer of peers) this.#cut(peer, 'the target ends');
    await closed;
  }

  #accept(accepted: Socket): void {
    if (this.#isClosed) {
      accepted.destroy();
      return;
    }
    const { targetNamed, clock } = this.#options;
    const address = `${bracketed(accepted.localAddress)}:${accepted.localPort ?? 0},1`;
    const connection = new Connection({
      targetNamed,
      policy: this.#policy,
      budget: this.#budget,
      blocks: this.#blocks,
      address,
      allocate: (bytes) => this.#blocks.allocate(bytes),
      release: (piece) => this.#blocks.release(piece),
      unsentBytes: () => peer.unsentBytes,
      wantsSend: () => this.#sendSoon(peer),
      ended: (reason) => this.#end(peer, reason),
      loggedIn: (who, isid) => this.#loggedIn(peer, { who, isid }),
      abortElsewhere: (lun) => this.#abortElsewhere(peer, lun),
      isStandby: (who) => this.#options.isStandby?.(who) ?? false,
    });
    let room: Uint8Array | null = null;
    const socket = directSocket(accepted, {
      room: () => {
        room = connection.room();
        return room ?? this.#input;
      },
      filled: (bytes) => {
        this.#poll.arrived();
        if (room === null) connection.receive(this.#input.subarray(0, bytes));
        else connection.filled(bytes);
        this.#send(peer);
        this.#poll.handled();
      },
    });
    const seenMs = clock.monotonicMs();
    const state = { isid: '', tsih: 0, unsentBytes: 0, isSending: false, isEnding: false, isGone: false };
    const peer: Peer = { socket, connection, sends: 0, seen: 0, seenMs, ...state };
    this.#peers.add(peer);
    this.#gate.admit(socket);
    // A half-open initiator has nothing more to say: errors and ends are the same.
    socket.on('end', () => this.#cut(peer, 'closed by the initiator'));
    socket.on('error', (error) => this.#cut(peer, messageOf(error)));
    socket.on('close', () => this.#cut(peer, 'closed'));
  }

  /** Sends once per turn of the event loop, however many commands end in it. */
  #sendSoon(peer: Peer): void {
    if (peer.isSending || peer.isGone) return;
    peer.isSending = true;
    setImmediate(() => {
      peer.isSending = false;
      this.#send(peer);
    });
  }

  #send(peer: Peer): void {
    const { socket, connection } = peer;
    const output = peer.isGone ? null : connection.writer.take();
    if (output === null) return;
    peer.unsentBytes += output.bytes;
    const sent = (): void => {
      peer.unsentBytes -= output.bytes;
      peer.sends += 1;
      this.#blocks.give(output.blocks);
      if (peer.isGone) return;
      if (socket.isPaused() && peer.unsentBytes <= LIMITS.unsentBytes) socket.resume();
      connection.sent();
    };
    const last = output.segments.length - 1;
    if (last > 0) socket.cork();
    output.segments.forEach((segment, index) => {
      if (index === last) socket.write(segment, sent);
      else socket.write(segment);
    });
    if (last > 0) socket.uncork();
    if (peer.unsentBytes > LIMITS.unsentBytes) socket.pause();
  }

  /**
   * Everything written is sent, then the connection is closed; the sweep takes care of a peer that does not take it.
   */
  #end(peer: Peer, reason: string): void {
    if (peer.isEnding) return;
    peer.isEnding = true;
    if (reason !== 'logged out') this.#options.onClosed(peer.connection.initiator, reason);
    this.#send(peer);
    peer.socket.destroySoon();
  }

  #cut(peer: Peer, reason: string): void {
    if (peer.isGone) return;
    peer.isGone = true;
    this.#peers.delete(peer);
    const { connection, socket } = peer;
    connection.close();
    // Not resetAndDestroy(): that waits until everything is sent, and a peer that reads nothing would stay.
    socket.destroy();
    if (!peer.isEnding && connection.initiator !== null) this.#options.onClosed(connection.initiator, reason);
    void this.#afterwards(connection);
  }

  async #afterwards(connection: Connection): Promise<void> {
    const { session } = connection;
    await connection.quiet();
    if (session === null) return;
    const { nexus, target } = session;
    for (const { connection: other } of this.#peers)
      if (other.session?.nexus === nexus && other.session.target === target) return;
    target.nexusLost(nexus);
  }

  /**
   * Reinstatement (RFC 7143, 6.3.5): a session of the same initiator with the same ISID takes the place of the older
   * one.
   */
  #loggedIn(peer: Peer, { who, isid }: { who: LoggedIn; isid: string }): number | null {
    const taken = new Set<number>();
    for (const other of this.#peers) {
      if (other === peer) continue;
      const { who: theirs } = other.connection;
      const isSame = theirs?.initiator === who.initiator && theirs.isDiscovery === who.isDiscovery;
      if (isSame && other.isid === isid) this.#cut(other, 'replaced by a new session');
      else taken.add(other.tsih);
    }
    do this.#tsih = (this.#tsih % TSIH_MAX) + 1;
    while (taken.has(this.#tsih));
    if (!this.#gate.prove(peer.socket, 'loggedIn', who.initiator)) return null;
    peer.isid = isid;
    peer.tsih = this.#tsih;
    return peer.tsih;
  }

  #abortElsewhere(peer: Peer, lun: number | null): void {
    const units = peer.connection.session?.target.units(lun) ?? new Set();
    for (const other of this.#peers) if (other !== peer) other.connection.session?.abortedElsewhere(units);
  }

  #sweepLater(): void {
    this.#cancelSweep = this.#options.clock.after(SWEEP_MS, () => {
      const nowMs = this.#options.clock.monotonicMs();
      for (const peer of [...this.#peers]) this.#sweep(peer, nowMs);
      if (!this.#isClosed) this.#sweepLater();
    });
  }

  #sweep(peer: Peer, nowMs: number): void {
    const { session, who } = peer.connection;
    if (who === null) return;
    const progress = peer.sends + (session?.progress ?? 0);
    const owes = peer.unsentBytes > 0 || peer.isEnding || session?.awaitsData === true;
    if (!owes || progress !== peer.seen) peer.seenMs = nowMs;
    peer.seen = progress;
    if (nowMs - peer.seenMs > LIMITS.stallDeadlineMs) this.#cut(peer, 'stalled');
  }
}

function plainAddress(address = '0.0.0.0'): string {
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
}

function bracketed(address: string | undefined): string {
  const plain = plainAddress(address);
  return plain.includes(':') ? `[${plain}]` : plain;
}

function listenError({ host, port }: ServerOptions, error: NodeJS.ErrnoException): CodedError {
  const where = `${host}:${port}`;
  if (error.code === 'EADDRINUSE') {
    const advice = 'Nothing was started. End what uses it, or choose another port.';
    return new CodedError('conflict', `${where} is in use.`, { cause: error, advice });
  }
  const advice = 'Nothing was started. Name an address of this machine and a port that may be used.';
  return new CodedError('bad-input', `Cannot listen at ${where}: ${error.message}.`, { cause: error, advice });
}
