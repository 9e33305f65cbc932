/**
 * The HTTP server of a control node. Guarantees: no operation without a valid token unless its table entry says so;
 * nothing unvalidated reaches the backend; each request ends at a deadline; each refusal is problem details (RFC 9457)
 * without internals; a follower hands requests to the leader, once.
 */

import type { ServerOptions } from 'node:https';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import type { TSchema } from 'typebox';
import { SMALL_BODY_BYTES_MAX } from '../../api/common.ts';
import type { Operation } from '../../api/operation.ts';
import { OPERATIONS, type OperationId } from '../../api/operations.ts';
import { type Finding, fieldErrors } from '../../api/problem.ts';
import { type AssertionFailed, present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import { excessOf } from '../../base/json.ts';
import { own } from '../../base/own.ts';
import { type FieldError, InvalidRequest } from '../../base/problem.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { acceptedSocket, ConnectionGate } from '../../os/connection-gate.ts';
import { bodyOf } from '../../os/request-body.ts';
import type { Backend } from '../backend/backend.ts';
import { Authenticator } from './auth.ts';
import { demandOwnOrigin } from './browser.ts';
import type { Call, Forward, Principal } from './call.ts';
import { acceptConsoles, type UpgradeHandler } from './console.ts';
import { forwardToLeader, senderOf } from './forward.ts';
import { type Handlers, handlersFor, type Input } from './handlers.ts';
import { OpenRequests } from './open-requests.ts';
import { schemaOf } from './operation-schema.ts';
import { PROMETHEUS_TYPE } from './prometheus.ts';
import { typedQuery } from './query.ts';
import { answerErrors, refuseSocket, unreadableRequests, wrongType } from './refusals.ts';
import { validatorCompiler } from './request-validator.ts';
import { buildOf, serveWebFiles, WEB_DIR } from './web-files.ts';

const DEADLINE_MS = 30_000;
/** A long-poll may take its wait and this. */
const LONG_POLL_EXTRA_MS = 10_000;
/** An upload may take as long as bytes arrive. */
const UPLOAD_IDLE_MS = 60_000;
/** A file that is handed out may take as long as this; its handler cuts off a reader that stands still. */
const DOWNLOAD_MS = 600_000;
const HEADERS_MS = 10_000;
/** A reader that hears nothing for two heartbeats knows within 2 s that its connection is lost. */
const HEARTBEAT_MS = 900;
const JSON_LIMITS = { valuesMax: LIMITS.requestValues.max, depthMax: LIMITS.requestLevels.max } as const;
/** How often connections with overdue headers are checked, in ms. */
const LOOK_MS = 2_000;
/**
 * Share of connections that have not sent a valid token yet. All clients of a one-machine cluster's socket have one
 * address.
 */
const STRANGERS = { max: 512, perAddressMax: 64 };
/** Share of connections with a valid token; a token is the peer. */
const WITH_TOKEN = { max: 1_500, perAddressMax: 500, perPeerMax: 500, makesRoom: true };
/** Deadline for sending a valid token, in ms; longer than any request without a token takes. */
const STRANGER_MS = 30_000;

export interface ApiServerOptions {
  readonly backend: Backend;
  /** Carries requests to the leader; without it a follower answers `unavailable`. */
  readonly forward?: Forward;
  /**
   * Server certificate and key (PEM). Client certificates may be asked for here; the API itself looks at tokens only.
   */
  readonly tls?: Pick<ServerOptions, 'key' | 'cert' | 'ca' | 'requestCert' | 'rejectUnauthorized' | 'SNICallback'>;
  /** Version of Groundplane, for the OpenAPI document. */
  readonly version: string;
  /** Folder of the built web interface; WEB_DIR by default. */
  readonly webDir?: string;
  readonly logger?: FastifyBaseLogger;
  /** Called with an AssertionFailed from a handler, after its request was answered: the process should end itself. */
  readonly onBug?: (error: AssertionFailed) => void;
  /** For tests. */
  readonly heartbeatMs?: number;
  readonly deadlineMs?: number;
  readonly refusedBodyMs?: number;
  readonly strangerMs?: number;
  readonly headersMs?: number;
}

export interface ApiServer {
  readonly app: FastifyInstance;
  /** Registers the handler of another upgrade protocol on this port (the relay's). */
  onUpgrade(protocol: string, handler: UpgradeHandler): void;
  /** Listens (by default on loopback; port 0: any) and returns the port. */
  listen(options?: { readonly host?: string; readonly port?: number }): Promise<number>;
  /** Ends watches, consoles and requests, then the server. */
  close(): Promise<void>;
}

/** One request's circumstances, between its hooks. */
interface Context {
  readonly operation: Operation;
  readonly operationId: OperationId;
  readonly abort: AbortController;
  principal: Principal;
}

const NOBODY: Principal = { name: '' };

/** Builds the server; it listens only after `listen`. */
export function createApiServer(options: ApiServerOptions): ApiServer {
  const app = fastify(options);
  const closing = new AbortController();
  const contexts = new WeakMap<FastifyRequest, Context>();
  const authenticator = new Authenticator(options.backend);
  const gate = new ConnectionGate({
    strangers: STRANGERS,
    proveMs: options.strangerMs ?? STRANGER_MS,
    ranks: { token: WITH_TOKEN },
  });
  app.server.on('connection', (socket: Socket) => gate.admit(socket));
  const open = new OpenRequests(options.backend);
  const handlers = handlersFor({
    backend: options.backend,
    heartbeatMs: options.heartbeatMs ?? HEARTBEAT_MS,
    version: options.version,
    build: () => buildOf(web),
  });
  app.setValidatorCompiler<TSchema>(validatorCompiler());
  acceptOnly(app);
  const web = { dir: options.webDir ?? WEB_DIR, version: options.version };
  answerErrors(app, { ...options, webDir: web.dir, operationIdOf });
  serveWebFiles(app, web);
  admitRequests(app, { options, contexts, authenticator, gate, open, closing: closing.signal });
  for (const [id, operation] of Object.entries<Operation>(OPERATIONS)) {
    register(app, { id: id as OperationId, operation, handlers, contexts, authenticator });
  }
  const upgrades = acceptConsoles(app.server, {
    backend: options.backend,
    authenticator,
    isSecure: options.tls !== undefined,
    onAuthenticated: (socket, principal) => gate.prove(acceptedSocket(socket), 'token', principal.name),
    open,
    signal: closing.signal,
  });
  return {
    app,
    onUpgrade: (protocol, handler) => upgrades.set(protocol.toLowerCase(), handler),
    listen: async ({ host = '127.0.0.1', port = 0 } = {}) => {
      await app.listen({ host, port });
      const address = present(app.server.address(), 'address of a listening server');
      return typeof address === 'string' ? 0 : address.port;
    },
    close: async () => {
      closing.abort(new CodedError('unavailable', 'The control node is shutting down.', { advice: 'Try again.' }));
      await app.close();
    },
  };
}

interface Admission {
  readonly options: ApiServerOptions;
  readonly contexts: WeakMap<FastifyRequest, Context>;
  readonly authenticator: Authenticator;
  readonly gate: ConnectionGate<'token'>;
  readonly open: OpenRequests;
  readonly closing: AbortSignal;
}

/** Runs before a request is read: who asks, from where, and whether this node answers. */
function admitRequests(app: FastifyInstance, admission: Admission): void {
  const { options, contexts, authenticator, gate, open, closing } = admission;
  app.addHook('onRequest', async (request, reply) => {
    demandHost(request);
    const id = operationIdOf(request);
    if (id === null) return undefined;
    const context: Context = {
      operationId: id,
      operation: OPERATIONS[id],
      abort: new AbortController(),
      principal: NOBODY,
    };
    contexts.set(request, context);
    endWith({ request, reply, context, closing, deadlineMs: options.deadlineMs ?? DEADLINE_MS });
    const sender = senderOf(request);
    const { method, headers } = request;
    const from = { method, headers, host: sender.host, isSecure: options.tls !== undefined };
    if (!sender.isForwarded) demandOwnOrigin(from);
    if (context.operation.auth === 'bearer') {
      const principal = await authenticator.principal({ from, sender });
      context.principal = principal;
      gate.prove(acceptedSocket(request.raw.socket), 'token', principal.name);
      reply.raw.once('close', open.add(principal, context.abort));
    }
    if (context.operation.anyNode) return undefined;
    const { backend, forward } = options;
    const { signal } = context.abort;
    return forwardToLeader({ request, reply, backend, forward, signal, sender });
  });
}

function fastify({ tls, logger, headersMs = HEADERS_MS }: ApiServerOptions): FastifyInstance {
  const connectionsCheckingInterval = Math.min(LOOK_MS, headersMs);
  const http = { headersTimeout: headersMs, connectionsCheckingInterval, requireHostHeader: false };
  const common = {
    bodyLimit: SMALL_BODY_BYTES_MAX,
    logController: new LogController({ disableRequestLogging: true }),
    forceCloseConnections: true,
    return503OnClosing: false,
    routerOptions: { maxParamLength: 200 },
    http,
    schemaErrorFormatter: invalid,
    ...unreadableRequests,
    ...(logger === undefined ? {} : { loggerInstance: logger }),
  } as const;
  if (tls === undefined) return Fastify(common);
  return Fastify({
    ...common,
    https: { ...tls, ...http, minVersion: 'TLSv1.3', handshakeTimeout: HEADERS_MS },
  }) as unknown as FastifyInstance;
}

const PARTS: Readonly<Record<string, 'body' | 'query string' | 'path' | 'headers'>> = {
  body: 'body',
  querystring: 'query string',
  params: 'path',
  headers: 'headers',
};

function invalid(findings: readonly Finding[], part: string): InvalidRequest {
  return new InvalidRequest(own(PARTS, part) ?? 'body', fieldErrors(findings));
}

/** Accepts two kinds of bodies: JSON with a bounded number of values, and plain bytes. */
function acceptOnly(app: FastifyInstance): void {
  app.removeContentTypeParser(['text/plain', 'application/json']);
  const parse = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    const excess = excessOf(body, JSON_LIMITS);
    if (excess === null) return parse(request, body, done);
    const what =
      excess === 'values' ? `more than ${JSON_LIMITS.valuesMax} values` : `more than ${JSON_LIMITS.depthMax} levels`;
    done(
      new CodedError('bad-input', `The body has ${what}, which no request needs.`, { advice: 'Nothing was changed.' }),
    );
  });
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));
}

function operationIdOf(request: FastifyRequest): OperationId | null {
  const config = request.routeOptions.config as { readonly operationId?: OperationId };
  return config.operationId ?? null;
}

/** Checks that an HTTP/1.1 request has a Host header (RFC 9112, 3.2). */
function demandHost({ raw, headers }: FastifyRequest): void {
  if (raw.httpVersion !== '1.1' || headers.host !== undefined) return;
  throw new CodedError('bad-input', 'The request has no header Host.', { advice: 'Nothing was changed.' });
}

interface Ending {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly context: Context;
  readonly closing: AbortSignal;
  readonly deadlineMs: number;
}

/** Aborts the request's signal when the client goes, the server closes or the deadline passes. */
function endWith({ request, reply, context, closing, deadlineMs }: Ending): void {
  const { abort, operation } = context;
  const end = (): void => abort.abort(closing.reason);
  closing.addEventListener('abort', end, { once: true });
  if (closing.aborted) end();
  const timer =
    operation.answerMedium === 'event-stream'
      ? undefined
      : setTimeout(expire, deadlineFor(request, operation.answerMedium === 'bytes' ? DOWNLOAD_MS : deadlineMs));
  if (operation.bodyMedium === 'bytes') {
    clearTimeout(timer);
    // A request injected by a test has no socket to set a time on.
    request.raw.setTimeout?.(UPLOAD_IDLE_MS, () => refuseLateBody(request));
  }
  function expire(): void {
    abort.abort(
      new CodedError('deadline', `No answer was ready within ${deadlineMs} ms.`, {
        advice: 'The request may still be carried out; check its result before you repeat it.',
      }),
    );
    // A body that does not come has no handler that could answer.
    if (request.raw.complete === false) refuseLateBody(request);
  }
  reply.raw.once('close', () => {
    clearTimeout(timer);
    closing.removeEventListener('abort', end);
    if (!reply.raw.writableFinished) abort.abort(new CodedError('failed', 'The client went away.'));
  });
}

/** Answers on the connection itself and ends it. */
function refuseLateBody({ raw }: FastifyRequest): void {
  if (raw.complete) return;
  const error = new CodedError('deadline', 'The body of the request did not come in time.', {
    advice: 'Nothing was changed.',
  });
  refuseSocket(raw.socket, error, 408);
}

function deadlineFor(request: FastifyRequest, deadlineMs: number): number {
  const wait = (request.query as { readonly wait?: unknown }).wait;
  if (typeof wait !== 'string' || !/^[0-9]{1,2}$/.test(wait)) return deadlineMs;
  return Math.max(deadlineMs, Number(wait) * 1_000 + LONG_POLL_EXTRA_MS);
}

interface Registration {
  readonly id: OperationId;
  readonly operation: Operation;
  readonly handlers: Handlers;
  readonly contexts: WeakMap<FastifyRequest, Context>;
  readonly authenticator: Authenticator;
}

function register(app: FastifyInstance, { id, operation, handlers, contexts, authenticator }: Registration): void {
  const handler = handlers[id] as (input: Input<OperationId>) => Promise<unknown>;
  app.route({
    method: operation.method,
    url: operation.path.replaceAll(/\{(\w+)\}/g, ':$1'),
    exposeHeadRoute: false,
    config: { operationId: id },
    bodyLimit: operation.bodyBytesMax,
    schema: schemaOf(operation),
    preValidation: async (request) => prepare(request, operation),
    handler: async (request, reply) => {
      const context = present(contexts.get(request), 'context of a request');
      const { signal } = context.abort;
      const input = {
        params: request.params,
        query: request.query,
        body: request.body,
        condition: { ifMatch: operation.ifMatch ? ifMatchOf(request) : null },
        headers: request.headers,
        bytes: operation.bodyMedium === 'bytes' ? bytesOf(request) : null,
        call: { principal: context.principal, signal } satisfies Call,
        sender: senderOf(request),
        setCookie: (header: string) => void reply.header('set-cookie', header),
      } as unknown as Input<OperationId>;
      const answer = await untilAborted(started(handler, input), signal).catch((error: unknown) => {
        if (operation.auth === 'none' && error instanceof CodedError && error.code === 'unauthorized')
          throw authenticator.refusal(senderOf(request).address, error);
        throw error;
      });
      return send(reply, operation, answer);
    },
  });
}

/** Returns the body of an upload. A handler that stops reading leaves the connection open for the answer. */
function bytesOf({ body }: FastifyRequest): Readable | null {
  return body === undefined || body === null ? null : bodyOf(body as Readable);
}

/** A throw before the first await is a rejection like any other. */
async function started(
  handler: (input: Input<OperationId>) => Promise<unknown>,
  input: Input<OperationId>,
): Promise<unknown> {
  return handler(input);
}

/**
 * Makes the request what its schema can judge: typed query values, `{}` for an absent body, nothing where nothing is
 * taken.
 */
function prepare(request: FastifyRequest, operation: Operation): void {
  if (operation.query !== null) request.query = typedQuery(request.query, operation.query);
  if (operation.body !== null) {
    if (request.body === undefined || request.body === null) request.body = {};
    // An upload's content type with a JSON operation: the stream is not the object that is asked for.
    else if (isBytes(request)) throw wrongType('application/json');
  } else if (operation.bodyMedium === 'none' && request.body !== undefined && !isEmptyObject(request.body)) {
    throw new CodedError('bad-input', 'This request takes no body.', { advice: 'Nothing was changed.' });
  } else if (operation.bodyMedium === 'bytes' && !isBytes(request)) throw wrongType('application/octet-stream');
}

const isBytes = (request: FastifyRequest): boolean =>
  (request.headers['content-type'] ?? '').toLowerCase().startsWith('application/octet-stream');

const isEmptyObject = (body: unknown): boolean =>
  body === null || (typeof body === 'object' && Object.keys(body).length === 0 && !('pipe' in body));

/** The revision in If-Match, with or without the quotes of an entity tag. */
function ifMatchOf(request: FastifyRequest): string | null {
  const header = request.headers['if-match'];
  if (header === undefined || header === '*') return null;
  const revision = /^"?([0-9]{1,19})"?$/.exec(header)?.[1];
  if (revision === undefined) {
    const field: FieldError = { pointer: '/if-match', detail: 'it must be a revision' };
    throw new InvalidRequest('headers', [field]);
  }
  return revision;
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function send(reply: FastifyReply, operation: Operation, answer: unknown): FastifyReply {
  reply.code(operation.status).header('cache-control', 'no-store');
  switch (operation.answerMedium) {
    case 'event-stream':
      return reply.header('content-type', 'text/event-stream').send(answer);
    case 'bytes':
      return reply.header('content-type', 'application/octet-stream').send(answer);
    case 'text':
      return reply.header('content-type', PROMETHEUS_TYPE).send(answer);
    case 'none':
      return reply.send();
    default:
      if (isRevisioned(answer)) reply.header('etag', `"${answer.revision}"`);
      return reply.header('content-type', 'application/json; charset=utf-8').send(JSON.stringify(answer));
  }
}

function isRevisioned(answer: unknown): answer is { readonly revision: string } {
  return typeof answer === 'object' && answer !== null && 'revision' in answer && typeof answer.revision === 'string';
}
