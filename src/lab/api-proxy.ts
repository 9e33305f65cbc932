/**
 * The API in the user's network namespace: connections to a loopback port are piped unchanged (TLS stays end to end) to
 * the socket of a control node. Guarantees: a node that is dead, or does not answer the first bytes, is skipped as long
 * as another one may answer; a slow reader slows its writer; the number of connections is bounded, and clients that
 * send nothing, or are not answered, have a share of their own and a deadline.
 */

import { connect, createServer, type Server, type Socket } from 'node:net';
import { CodedError } from '../base/errors.ts';
import { ConnectionGate } from '../os/connection-gate.ts';

/** All clients have the loopback address. The control nodes limit the clients that they answer. */
const UNANSWERED = { max: 256, perAddressMax: 256 };
const ANSWERED = { max: 1_024, perAddressMax: 1_024, perPeerMax: 1_024, makesRoom: false };
/** Longer than the slowest answer of a control node that is still waited for. */
const UNANSWERED_MS = 30_000;
/** How long an answer may take after the client has closed its direction, in ms. */
const HALF_CLOSED_MS = 60_000;
/** A frozen server still accepts: the kernel does it. A working one answers a ClientHello within this time. */
const FIRST_ANSWER_MS = 2_000;
/** How long a client may take to read a node's last bytes, in ms. */
const GOODBYE_MS = 2_000;
/** More than a ClientHello; what comes beyond it waits in the kernel. */
const FIRST_FLIGHT_BYTES_MAX = 64 * 1024;

export interface ApiProxy {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Listens on 127.0.0.1 at the first of `ports` that is free (0: any) and serves from `socketPaths`. CodedError
 * 'conflict' when none is free.
 */
export async function startApiProxy(options: {
  readonly ports: readonly number[];
  readonly socketPaths: readonly string[];
  /** How long a node may take to answer a client's first bytes, 2 s by default. */
  readonly firstAnswerMs?: number;
  /** Overrides in tests: how long a client may stay unanswered, and half-closed, in ms. */
  readonly unansweredMs?: number;
  readonly halfClosedMs?: number;
}): Promise<ApiProxy> {
  const open = new Set<Socket>();
  const order = [...options.socketPaths];
  const { firstAnswerMs = FIRST_ANSWER_MS, unansweredMs = UNANSWERED_MS, halfClosedMs = HALF_CLOSED_MS } = options;
  const gate = new ConnectionGate({ strangers: UNANSWERED, proveMs: unansweredMs, ranks: { answered: ANSWERED } });
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (client) => {
    track(open, client);
    gate.admit(client);
    const onAnswered = (): boolean => gate.prove(client, 'answered', '');
    new Piping(client, { order, open, firstAnswerMs, halfClosedMs, onAnswered }).next();
  });
  for (const port of options.ports) {
    const actual = await listen(server, port);
    if (actual === undefined) continue;
    const close = (): Promise<void> =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      });
    return { port: actual, close };
  }
  throw new CodedError('conflict', `Port ${options.ports.join(', ')} on 127.0.0.1 is in use.`, {
    advice: 'Nothing was changed. Choose another one with --api-port.',
  });
}

interface Shared {
  /** A node that failed goes to the end. */
  readonly order: string[];
  readonly open: Set<Socket>;
  readonly firstAnswerMs: number;
  readonly halfClosedMs: number;
  /** Returns false if there is no room for the client. */
  readonly onAnswered: () => boolean;
}

/** One client: first a search for a node that answers, then a pipe. */
class Piping {
  readonly #client: Socket;
  readonly #shared: Shared;
  readonly #candidates: string[];
  #firstFlight: Uint8Array[] = [];
  #firstFlightBytes = 0;
  #server: Socket | undefined;
  #patience: NodeJS.Timeout | undefined;
  #halfOpen: NodeJS.Timeout | undefined;
  #goodbye: NodeJS.Timeout | undefined;

  constructor(client: Socket, shared: Shared) {
    this.#client = client;
    this.#shared = shared;
    this.#candidates = [...shared.order];
    client.on('data', (chunk) => this.#keep(chunk));
    client.on('error', () => client.destroy());
    client.once('end', () => this.#halfClosed());
    client.once('close', () => {
      clearTimeout(this.#patience);
      clearTimeout(this.#halfOpen);
      this.#server?.destroy();
    });
  }

  /** Tries the next node; without one, the client is let go. */
  next(): void {
    const path = this.#candidates.shift();
    if (path === undefined || this.#client.destroyed) {
      this.#client.destroy();
      return;
    }
    const server = connect({ path, allowHalfOpen: true });
    this.#server = server;
    track(this.#shared.open, server);
    const fail = (): void => {
      if (this.#server !== server) return;
      this.#stopWaiting();
      server.destroy();
      if (!this.#client.destroyed) this.#demote(path);
      this.next();
    };
    server.on('error', fail);
    server.once('close', fail);
    server.once('connect', () => {
      for (const chunk of this.#firstFlight) server.write(chunk);
      this.#client.resume();
      this.#waitForAnswer();
    });
    server.once('data', (chunk) => {
      this.#stopWaiting();
      this.#join(server, chunk);
    });
  }

  #keep(chunk: Uint8Array): void {
    this.#firstFlight.push(chunk);
    this.#firstFlightBytes += chunk.length;
    if (this.#server !== undefined && !this.#server.connecting) this.#server.write(chunk);
    if (this.#firstFlightBytes > FIRST_FLIGHT_BYTES_MAX) this.#client.pause();
    this.#waitForAnswer();
  }

  /** From the first byte on; for the last candidate the wait has no end: it may only be slow. */
  #waitForAnswer(): void {
    const server = this.#server;
    if (this.#patience !== undefined || this.#firstFlightBytes === 0 || this.#candidates.length === 0) return;
    this.#patience = setTimeout(() => server?.destroy(), this.#shared.firstAnswerMs);
  }

  #stopWaiting(): void {
    clearTimeout(this.#patience);
    this.#patience = undefined;
  }

  /** Handles a client that closed its direction: it waits for an answer if it has sent a request. */
  #halfClosed(): void {
    if (this.#firstFlightBytes === 0) this.#client.destroy();
    else this.#halfOpen = setTimeout(() => this.#client.destroy(), this.#shared.halfClosedMs);
  }

  #join(server: Socket, first: Uint8Array): void {
    if (!this.#shared.onAnswered()) return;
    this.#firstFlight = [];
    const client = this.#client;
    client.removeAllListeners('data');
    server.removeAllListeners('error');
    server.removeAllListeners('close');
    // The node's last bytes are still on the way to the client, which may still send: resetting the connection would
    // lose them.
    server.on('error', () => this.#part());
    server.once('close', () => {
      this.#shared.open.delete(server);
      this.#part();
    });
    client.write(first);
    server.pipe(client);
    client.pipe(server);
    if (client.readableEnded) server.end();
  }

  /**
   * Ends a connection whose node is gone: the client gets the node's last bytes, and its own further bytes are
   * discarded for a while.
   */
  #part(): void {
    if (this.#goodbye !== undefined) return;
    const client = this.#client;
    client.unpipe();
    client.resume().end();
    this.#goodbye = setTimeout(() => client.destroy(), GOODBYE_MS);
    client.once('close', () => clearTimeout(this.#goodbye));
  }

  #demote(path: string): void {
    const { order } = this.#shared;
    const at = order.indexOf(path);
    if (at >= 0) order.push(...order.splice(at, 1));
  }
}

function track(open: Set<Socket>, socket: Socket): void {
  open.add(socket);
  socket.once('close', () => open.delete(socket));
}

function listen(server: Server, port: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      if ('code' in error && (error.code === 'EADDRINUSE' || error.code === 'EACCES')) resolve(undefined);
      else reject(error);
    };
    server.once('error', failed);
    server.listen({ host: '127.0.0.1', port }, () => {
      server.removeListener('error', failed);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : undefined);
    });
  });
}
