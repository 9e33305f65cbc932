/**
 * The metadata service of a host: what guests reach at 169.254.169.254. One listener for each network that has the
 * service, at the network's gateway; the packet filter (network/rules.ts) leads 169.254.169.254 there and lets nothing
 * else through.
 * Guarantees: a guest is identified by its network and address, which the filter keeps others from using, and gets only
 * its own answers; a guest has at most CONNECTIONS_PER_GUEST connections, each ends within CONNECTION_MS and carries
 * one request of bounded size. A listener that cannot be opened is logged, and is tried again with the next plan.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { messageOf } from '../../base/errors.ts';
import type { HostGuests, ServedNetwork } from '../../core/agent/host-guests.ts';
import { answerMetadata, type MetadataAnswer } from '../../core/agent/metadata-answer.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { PORTS } from '../../core/model/ports.ts';
import type { Log } from '../../os/log.ts';

const CONNECTIONS_PER_GUEST = 4;
/** Enough for every guest of a full host to have its own: no guest keeps the others out. */
const CONNECTIONS_MAX = CONNECTIONS_PER_GUEST * LIMITS.vmsPerHost.max;
const CONNECTION_MS = 5_000;
const HEADER_BYTES_MAX = 8 * 1024;
const BODY_BYTES_MAX = 16 * 1024;

/** See the module's comment. One per agent. */
export class MetadataService {
  readonly #guests: HostGuests;
  readonly #log: Log;
  readonly #port: number;
  /** Servers by the gateway's address. */
  readonly #servers = new Map<string, Server>();
  readonly #connections = new Map<string, number>();
  #open = 0;

  constructor(guests: HostGuests, log: Log, port: number = PORTS.metadata) {
    this.#guests = guests;
    this.#log = log;
    this.#port = port;
  }

  /** Listens in exactly the networks of the plan in force; a listener is open some moment later. */
  follow(): void {
    const networks = new Map(this.#guests.networks.map((network) => [network.gateway, network]));
    for (const [gateway, server] of this.#servers) {
      if (networks.has(gateway)) continue;
      this.#servers.delete(gateway);
      server.close();
      server.closeAllConnections();
    }
    for (const [gateway, network] of networks) if (!this.#servers.has(gateway)) this.#listen(gateway, network);
  }

  /** Ends every listener and connection. */
  close(): void {
    for (const server of this.#servers.values()) {
      server.close();
      server.closeAllConnections();
    }
    this.#servers.clear();
  }

  #listen(gateway: string, { vni }: ServedNetwork): void {
    const server = createServer(
      {
        maxHeaderSize: HEADER_BYTES_MAX,
        headersTimeout: CONNECTION_MS,
        requestTimeout: CONNECTION_MS,
        connectionsCheckingInterval: 1_000,
        keepAlive: false,
      },
      (request, response) => void this.#serve(vni, request, response),
    );
    server.maxRequestsPerSocket = 1;
    server.on('connection', (socket) => this.#admit(vni, socket));
    server.on('clientError', (_error, socket) => socket.destroy());
    server.on('error', (error) => {
      if (this.#servers.get(gateway) === server) this.#servers.delete(gateway);
      this.#log.warn('guests of a network are not served', { vni, gateway, reason: messageOf(error) });
    });
    this.#servers.set(gateway, server);
    server.listen(this.#port, gateway);
  }

  /** Counts a connection of a guest, or ends it: if it is a stranger's, or one too many. */
  #admit(vni: number, socket: Socket): void {
    socket.on('error', () => undefined);
    const peer = `${vni} ${socket.remoteAddress ?? ''}`;
    const count = this.#connections.get(peer) ?? 0;
    const isKnown = this.#guests.find(vni, socket.remoteAddress ?? '') !== null;
    if (!isKnown || count >= CONNECTIONS_PER_GUEST || this.#open >= CONNECTIONS_MAX) {
      socket.destroy();
      return;
    }
    this.#connections.set(peer, count + 1);
    this.#open += 1;
    const end = setTimeout(() => socket.destroy(), CONNECTION_MS);
    socket.once('close', () => {
      clearTimeout(end);
      this.#open -= 1;
      const left = (this.#connections.get(peer) ?? 1) - 1;
      if (left === 0) this.#connections.delete(peer);
      else this.#connections.set(peer, left);
    });
  }

  async #serve(vni: number, request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      // The address is read before the body: afterwards the socket may be gone.
      const address = request.socket.remoteAddress ?? '';
      const body = await bodyOf(request);
      const guest = this.#guests.find(vni, address);
      if (body === null || guest === null) {
        // The socket may be gone by now; the address is null then.
        request.destroy();
        return;
      }
      const { method = '', url = '', headers } = request;
      write(response, answerMetadata(this.#guests, guest, { method, url, headers, body }));
    } catch (error) {
      this.#log.warn('a request of a guest failed', { vni, reason: messageOf(error) });
      request.destroy();
    }
  }
}

function write(response: ServerResponse, { status, json }: MetadataAnswer): void {
  const text = JSON.stringify(json);
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    connection: 'close',
  });
  response.end(text);
}

/** The body of a request; null: it is too long, or its connection ended. */
async function bodyOf(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > BODY_BYTES_MAX) return null;
      chunks.push(chunk);
    }
  } catch {
    return null;
  }
  return Buffer.concat(chunks).toString('utf8');
}
