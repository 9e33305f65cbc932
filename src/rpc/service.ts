/**
 * A JSON service over HTTPS with mutual TLS, for the cluster's own processes. Guarantees: no handler runs for a peer
 * whose certificate is not of this cluster and of a kind the route allows; a body is read only up to the route's bound;
 * every failure is an answer in problem+json; `close` ends within its deadline; a renewed certificate serves the next
 * handshake and ends no connection, and a newly denied peer loses its connections.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { TLSSocket, type TlsOptions, type Server as TlsServer } from 'node:tls';
import { CodedError } from '../base/errors.ts';
import { commonName, type PeerIdentity } from '../base/identity.ts';
import { PROBLEM_TYPE, problemOf } from '../base/problem.ts';
import { acceptedSocket, ConnectionGate } from '../os/connection-gate.ts';
import { bodyOf, forgetBody } from '../os/request-body.ts';
import { answerSocket, unexpected, unreadable } from '../os/socket-refusal.ts';
import type { Credentials } from '../pki/credentials.ts';
import { isDeniedPeer, peerIdentity, serverTlsOptions } from '../pki/tls.ts';
import { parseJson } from './parse.ts';

export interface RpcRequest {
  readonly peer: PeerIdentity;
  /** The values of the path's `:name` elements, percent-decoded. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** The parsed JSON body, unchecked; undefined if there is none. */
  readonly body: unknown;
  /** The unread body, for routes with `body: 'stream'`. */
  readonly stream: Readable;
  /** Content-Length, if the peer sent it. */
  readonly sizeBytes: number | undefined;
  /** Fires when the peer is gone or the service closes. */
  readonly signal: AbortSignal;
}

export type RpcAnswer =
  | { readonly json: unknown }
  | { readonly text: string }
  | { readonly stream: Readable; readonly sizeBytes: number };

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** `/v1/disks/:disk`: an element that begins with a colon takes any one element. */
  readonly path: string;
  readonly allow: readonly PeerIdentity['kind'][];
  /** Bytes of JSON accepted (64 KiB by default), or 'stream': the handler reads the body itself. */
  readonly body?: number | 'stream' | undefined;
  readonly handle: (request: RpcRequest) => Promise<RpcAnswer>;
}

/** A CONNECT request (RFC 9110, 9.3.6) to join with `open`'s result. */
export interface ConnectHook {
  readonly allow: readonly PeerIdentity['kind'][];
  /**
   * Opens what the peer asked for, or throws. The joined pair is `join`'s to end.
   */
  readonly open: (target: { address: string; port: number }, signal: AbortSignal) => Promise<Duplex>;
  readonly join: (client: Duplex, upstream: Duplex) => void;
}

export interface ServiceOptions {
  readonly credentials: Credentials;
  readonly address: string;
  /** 0: any free one (tests). */
  readonly port: number;
  readonly routes: readonly Route[];
  readonly connect?: ConnectHook | undefined;
  /** Called for each failure that is not a CodedError: a bug, or the environment. */
  readonly onUnexpected: (error: unknown, request: string) => void;
  /** Overrides in tests: how long a handshake, and how long a request's headers may take, in ms. */
  readonly firstWordsMs?: number | undefined;
}

export interface RpcService {
  readonly address: string;
  readonly port: number;
  /** Accepts no more, lets running requests finish for at most `deadlineMs`, then ends every connection. */
  close(deadlineMs: number): Promise<void>;
}

const BODY_BYTES_DEFAULT = 64 * 1024;
/**
 * Control nodes have a share of connections that neither unproved peers nor other certificates of the cluster can use.
 */
const SHARES = {
  strangers: { max: 256, perAddressMax: 32 },
  ranks: {
    control: { max: 512, perAddressMax: 256, perPeerMax: 256, makesRoom: true },
    other: { max: 512, perAddressMax: 64, perPeerMax: 64, makesRoom: true },
  },
};
/** Deadline for the TLS handshake, and then for the headers of a request, in ms. */
const FIRST_WORDS_MS = 10_000;
/** Longer than the clients' agents keep an idle connection, so that it is they who close it. */
const IDLE_MS = 60_000;
/** How long the rest of a refused body is read, in ms. */
const UNREAD_MS = 30_000;
/** A connection on which nothing at all moves for this long during a request is ended. */
const STALL_MS = 10 * 60_000;

/** Listens; CodedError 'failed' when the address cannot be had. */
export async function startService(options: ServiceOptions): Promise<RpcService> {
  const closing = new AbortController();
  const firstWordsMs = options.firstWordsMs ?? FIRST_WORDS_MS;
  const server = createServer(
    {
      ...serverTlsOptions(options.credentials),
      handshakeTimeout: firstWordsMs,
      headersTimeout: firstWordsMs,
      connectionsCheckingInterval: Math.ceil(firstWordsMs / 4),
      keepAliveTimeout: IDLE_MS,
      requestTimeout: 0,
      // The server's certificate identifies it, so that no Host header is needed.
      requireHostHeader: false,
    },
    (request, response) => {
      void serve({ options, request, response, closing: closing.signal });
    },
  );
  guard(server, options);
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const { error: refusal, status } = unreadable(error.code);
    refuseSocket(socket, refusal, status);
  });
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    sendProblem(request, response, unexpected());
  });
  server.setTimeout(STALL_MS);
  const relayed = new Set<Duplex>();
  server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    relayed.add(socket);
    socket.once('close', () => relayed.delete(socket));
    void serveConnect({ options, request, socket, head, closing: closing.signal });
  });
  await listen(server, options);
  const { port, address } = server.address() as AddressInfo;
  const close = async (deadlineMs: number): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    const timer = setTimeout(() => {
      closing.abort(new CodedError('unavailable', 'The service is closing.'));
      server.closeAllConnections();
    }, deadlineMs);
    for (const socket of relayed) socket.destroy();
    await closed;
    clearTimeout(timer);
  };
  return { address, port, close };
}

/** Guards a server's connections: a peer is proved by a certificate of a kind that has routes here. */
function guard(server: Server, { routes, connect, credentials, firstWordsMs = FIRST_WORDS_MS }: ServiceOptions): void {
  const gate = new ConnectionGate({ ...SHARES, proveMs: firstWordsMs });
  const served = new Set([...routes.flatMap(({ allow }) => allow), ...(connect?.allow ?? [])]);
  server.on('connection', (socket: Socket) => gate.admit(socket));
  followCredentials(server, credentials);
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.destroyed) return;
    const peer = peerIdentity(socket);
    if (peer !== undefined && served.has(peer.kind))
      gate.prove(acceptedSocket(socket), peer.kind === 'control' ? 'control' : 'other', commonName(peer));
  });
}

/**
 * Lets a TLS server follow credentials that are renewed while it runs: the next handshake has the new certificate, and
 * peers that are denied are refused right after theirs, or cut off.
 */
export function followCredentials(
  server: TlsServer,
  credentials: Credentials,
  tlsOptions: (credentials: Credentials) => TlsOptions = serverTlsOptions,
): void {
  const open = new Set<TLSSocket>();
  const refuse = (socket: TLSSocket): void => {
    if (isDeniedPeer(socket, credentials)) socket.destroy();
  };
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    refuse(socket);
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  let { certPem, caPem } = credentials;
  credentials.onChange?.(() => {
    if (certPem !== credentials.certPem || caPem !== credentials.caPem)
      server.setSecureContext(tlsOptions(credentials));
    ({ certPem, caPem } = credentials);
    for (const socket of open) refuse(socket);
  });
}

function listen(server: Server, { address, port }: ServiceOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new CodedError('failed', `Cannot listen on ${address}:${port}: ${cause.message}.`, { cause })),
    );
    server.listen({ host: address, port, backlog: 511 }, () => resolve());
  });
}

interface Exchange {
  readonly options: ServiceOptions;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly closing: AbortSignal;
}

async function serve({ options, request, response, closing }: Exchange): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort(new CodedError('unavailable', 'The peer went away.')));
  try {
    const { route, parameters, query } = matchRoute(options.routes, request);
    const peer = admittedPeer(request.socket, route.allow);
    const body = route.body === 'stream' ? undefined : await readJson(request, route.body ?? BODY_BYTES_DEFAULT);
    const length = request.headers['content-length'];
    const answer = await route.handle({
      peer,
      parameters,
      query,
      body,
      stream: bodyOf(request),
      sizeBytes: length === undefined ? undefined : Number(length),
      signal: AbortSignal.any([gone.signal, closing]),
    });
    await send(response, answer);
  } catch (error) {
    if (!(error instanceof CodedError) && !response.closed)
      options.onUnexpected(error, `${request.method} ${request.url}`);
    sendProblem(request, response, error);
  }
}

/** The route of a request, its parameters and query; CodedError 'not-found'. Exported for its test. */
export function matchRoute(
  routes: readonly Route[],
  { method, url }: { readonly method?: string | undefined; readonly url?: string | undefined },
): { readonly route: Route; readonly parameters: Readonly<Record<string, string>>; readonly query: URLSearchParams } {
  const [path = '', query = ''] = (url ?? '').split('?', 2);
  const elements = path.split('/');
  for (const route of routes) {
    if (route.method !== method) continue;
    const parameters = matchPath(route.path.split('/'), elements);
    if (parameters !== undefined) return { route, parameters, query: new URLSearchParams(query) };
  }
  throw new CodedError('not-found', `There is no ${method} ${path.slice(0, 200)} here.`);
}

function matchPath(pattern: readonly string[], elements: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== elements.length) return undefined;
  const parameters = new Map<string, string>();
  for (const [index, expected] of pattern.entries()) {
    const actual = elements[index] ?? '';
    if (!expected.startsWith(':')) {
      if (expected !== actual) return undefined;
      continue;
    }
    // None of our identifiers needs an escape: a path with one names no object.
    if (actual === '' || actual.includes('%')) return undefined;
    parameters.set(expected.slice(1), actual);
  }
  return Object.fromEntries(parameters);
}

function admittedPeer(socket: unknown, allow: readonly PeerIdentity['kind'][]): PeerIdentity {
  const peer = socket instanceof TLSSocket ? peerIdentity(socket) : undefined;
  if (peer === undefined) throw new CodedError('unauthorized', 'A certificate of this cluster is needed.');
  if (!allow.includes(peer.kind)) throw new CodedError('forbidden', `A ${peer.kind} may not do that.`);
  return peer;
}

async function readJson(request: IncomingMessage, bytesMax: number): Promise<unknown> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of bodyOf(request) as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > bytesMax) throw new CodedError('too-large', `The request's body is larger than ${bytesMax} bytes.`);
    chunks.push(chunk);
  }
  return parseJson(Buffer.concat(chunks).toString('utf8'), "The request's body");
}

async function send(response: ServerResponse, answer: RpcAnswer): Promise<void> {
  if ('stream' in answer) {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': answer.sizeBytes });
    // A stream that fails half-way destroys the response: the peer sees a body shorter than announced.
    await pipeline(answer.stream, response);
    return;
  }
  const [type, body] =
    'text' in answer ? ['text/plain; charset=utf-8', answer.text] : ['application/json', JSON.stringify(answer.json)];
  response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

function sendProblem(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const problem = problemOf(error);
  const body = JSON.stringify(problem);
  forgetBody(request, response, UNREAD_MS);
  response.writeHead(problem.status, {
    'content-type': PROBLEM_TYPE,
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

async function serveConnect(options: {
  readonly options: ServiceOptions;
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly closing: AbortSignal;
}): Promise<void> {
  const { request, socket, head } = options;
  const gone = new AbortController();
  socket.once('close', () => gone.abort(new CodedError('unavailable', 'The peer went away.')));
  socket.on('error', () => socket.destroy());
  try {
    const hook = options.options.connect;
    if (hook === undefined) throw new CodedError('not-found', 'Nothing is relayed here.');
    admittedPeer(socket, hook.allow);
    const target = parseAuthority(request.url ?? '');
    const upstream = await hook.open(target, AbortSignal.any([gone.signal, options.closing]));
    if (socket.destroyed) {
      upstream.destroy();
      return;
    }
    // Idleness is the relay's to judge from here on.
    if (socket instanceof TLSSocket) socket.setTimeout(0).setNoDelay(true);
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    if (head.length > 0) socket.unshift(head);
    hook.join(socket, upstream);
  } catch (error) {
    if (!(error instanceof CodedError)) options.options.onUnexpected(error, `CONNECT ${request.url}`);
    refuseSocket(socket, error);
  }
}

function refuseSocket(socket: Duplex, error: unknown, status = problemOf(error).status): void {
  const problem = problemOf(error);
  const body = JSON.stringify({ ...problem, status });
  answerSocket(socket, { status, title: problem.title, body }, { 'content-type': PROBLEM_TYPE });
}

/** `address:port` of a CONNECT request; IPv6 in brackets. CodedError 'bad-input'. Exported for its test. */
export function parseAuthority(authority: string): { readonly address: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9a-zA-Z.-]{1,253})):(\d{1,5})$/.exec(authority);
  const address = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (address === undefined || !(port >= 1 && port <= 65_535))
    throw new CodedError('bad-input', `${JSON.stringify(authority.slice(0, 100))} is not ADDRESS:PORT.`);
  return { address, port };
}
