/**
 * The API in the user's network namespace: connections to a loopback port are piped, as they are (TLS stays end to end),
 * to the socket of a control node. Guarantees: a node that is dead, or does not answer the first bytes, is passed over as
 * long as another one may; a slow reader slows its writer; the number of connections is bounded.
 */

import { connect, createServer, type Server, type Socket } from 'node:net';
import { CodedError } from '../base/errors.ts';

const CONNECTIONS_MAX = 512;
/** A frozen server still accepts: the kernel does it. A working one answers a ClientHello within this time. */
const FIRST_ANSWER_MS = 2_000;
/** More than a ClientHello; what comes beyond it waits in the kernel. */
const FIRST_FLIGHT_BYTES_MAX = 64 * 1024;

export interface ApiProxy {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Listens on 127.0.0.1 at the first of `ports` that is free (0: any) and serves from `socketPaths`. CodedError 'conflict'
 * when none is free.
 */
export async function startApiProxy(options: {
  readonly ports: readonly number[];
  readonly socketPaths: readonly string[];
  /** How long a node may keep silent to a client's first bytes, 2 s by default. */
  readonly firstAnswerMs?: number;
}): Promise<ApiProxy> {
  const open = new Set<Socket>();
  const order = [...options.socketPaths];
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (client) => {
    track(open, client);
    new Piping(client, { order, open, firstAnswerMs: options.firstAnswerMs ?? FIRST_ANSWER_MS }).next();
  });
  server.maxConnections = CONNECTIONS_MAX;
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

  constructor(client: Socket, shared: Shared) {
    this.#client = client;
    this.#shared = shared;
    this.#candidates = [...shared.order];
    client.on('data', (chunk) => this.#keep(chunk));
    client.on('error', () => client.destroy());
    client.once('close', () => {
      clearTimeout(this.#patience);
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

  /** From the first byte on; the last candidate is waited for without end: it may only be slow. */
  #waitForAnswer(): void {
    const server = this.#server;
    if (this.#patience !== undefined || this.#firstFlightBytes === 0 || this.#candidates.length === 0) return;
    this.#patience = setTimeout(() => server?.destroy(), this.#shared.firstAnswerMs);
  }

  #stopWaiting(): void {
    clearTimeout(this.#patience);
    this.#patience = undefined;
  }

  #join(server: Socket, first: Uint8Array): void {
    this.#firstFlight = [];
    const client = this.#client;
    client.removeAllListeners('data');
    server.removeAllListeners('error');
    server.removeAllListeners('close');
    server.on('error', () => client.destroy());
    server.once('close', () => {
      this.#shared.open.delete(server);
      client.destroy();
    });
    client.write(first);
    server.pipe(client);
    client.pipe(server);
    if (client.readableEnded) server.end();
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
