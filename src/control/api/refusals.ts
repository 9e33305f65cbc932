/**
 * Error answers of the API. Guarantees: every error is problem details (RFC 9457) without internals, also for bytes
 * that the HTTP parser cannot read; a client that is refused while it sends gets the answer at once, and may or may not
 * finish sending.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify';
import { SMALL_BODY_BYTES_MAX } from '../../api/common.ts';
import { OPERATIONS, type OperationId } from '../../api/operations.ts';
import { AssertionFailed } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import { NOBODY_LEADS_HEADER, NobodyLeads, PROBLEM_TYPE, problemOf } from '../../base/problem.ts';
import { forgetBody } from '../../os/request-body.ts';
import { answerSocket, unexpected, unreadable } from '../../os/socket-refusal.ts';
import { isPageOfWeb, sendPage } from './web-files.ts';

/** For how long the rest of a refused body is read, in ms. */
const REFUSED_BODY_MS = 30_000;

export interface RefusalOptions {
  readonly onBug?: (error: AssertionFailed) => void;
  /** Overrides REFUSED_BODY_MS in tests. */
  readonly refusedBodyMs?: number;
  /** Folder of the built web interface. */
  readonly webDir: string;
  readonly operationIdOf: (request: FastifyRequest) => OperationId | null;
}

/** Installs the error handlers of a server: for unknown routes, errors of routes, and malformed requests. */
export function answerErrors(app: FastifyInstance, options: RefusalOptions): void {
  const { onBug, refusedBodyMs = REFUSED_BODY_MS, operationIdOf, webDir } = options;
  const refuse = (request: FastifyRequest, reply: FastifyReply, error: CodedError): void => {
    forgetBody(request.raw, reply.raw, refusedBodyMs);
    sendProblem(reply, error);
  };
  app.setNotFoundHandler((request, reply) => {
    if (isPageOfWeb(request)) return sendPage(reply, webDir);
    return refuse(
      request,
      reply,
      new CodedError('not-found', `There is no ${request.method} of this path.`, {
        advice: 'GET /v1/openapi.json lists every path.',
      }),
    );
  });
  app.setErrorHandler((error, request, reply) => {
    const coded = codedOf(error, operationIdOf(request));
    if (coded.cause !== undefined) request.log.error({ err: coded.cause, code: coded.code }, coded.message);
    refuse(request, reply, coded);
    if (error instanceof AssertionFailed) onBug?.(error);
    return reply;
  });
  app.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    forgetBody(request, response, refusedBodyMs);
    const error = unexpected();
    const { body, headers } = written(error);
    response.writeHead(problemOf(error).status, headers).end(body);
  });
  app.server.on('connect', (_request, socket) => {
    refuseSocket(socket, new CodedError('bad-input', 'The API is no proxy.', { advice: NOTHING }));
  });
}

const NOTHING = 'Nothing was changed.';

/** Options for Fastify: its own answers to malformed requests and to paths that cannot be decoded. */
export const unreadableRequests: Pick<FastifyServerOptions, 'clientErrorHandler' | 'frameworkErrors'> = {
  clientErrorHandler: (error: Error & { readonly code?: string }, socket: Duplex) => {
    const { status, error: refusal } = unreadable(error.code);
    refuseSocket(socket, refusal, status);
  },
  frameworkErrors: (_error, _request, reply) => {
    const coded = new CodedError('bad-input', 'The path of the request cannot be read.', { advice: NOTHING });
    void forgetBody(reply.request.raw, reply.raw, REFUSED_BODY_MS);
    sendProblem(reply, coded);
  },
};

/** Answers on a raw socket, then closes it. `status` overrides the code's own status. */
export function refuseSocket(socket: Duplex, error: CodedError, status = problemOf(error).status): void {
  const { body, headers } = written(error, status);
  answerSocket(socket, { status, title: problemOf(error).title, body }, headers);
}

function sendProblem(reply: FastifyReply, error: CodedError): void {
  const { body, headers } = written(error);
  // Without this, Fastify would close the connection because of the unread body.
  void reply.removeHeader('connection').code(problemOf(error).status).headers(headers).send(body);
}

/** Formats problem details; `status` overrides the code's own status. */
function written(
  error: CodedError,
  status = problemOf(error).status,
): { readonly body: string; readonly headers: Readonly<Record<string, string>> } {
  const body = JSON.stringify({ ...problemOf(error), status });
  return {
    body,
    headers: {
      'cache-control': 'no-store',
      'content-type': `${PROBLEM_TYPE}; charset=utf-8`,
      'content-length': String(Buffer.byteLength(body)),
      ...(error.code === 'unauthorized' ? { 'www-authenticate': 'Bearer' } : {}),
      ...(error.code === 'too-many' || error.code === 'unavailable' ? { 'retry-after': '1' } : {}),
      ...(error instanceof NobodyLeads ? { [NOBODY_LEADS_HEADER]: '1' } : {}),
    },
  };
}

/** Returns the error for a body with the wrong media type. */
export function wrongType(wanted: string): CodedError {
  return new CodedError('bad-input', `The Content-Type must be ${wanted}.`, {
    advice: `Nothing was changed. Send it again with the header "Content-Type: ${wanted}".`,
  });
}

/** Converts an error: coded errors as they are, HTTP errors by their status, bugs to a sentence without internals. */
function codedOf(error: unknown, id: OperationId | null): CodedError {
  if (error instanceof CodedError) return error;
  const status = typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : 500;
  if (status === 413) {
    const bytesMax = id === null ? SMALL_BODY_BYTES_MAX : OPERATIONS[id].bodyBytesMax;
    return new CodedError('too-large', `The body is larger than ${bytesMax} bytes.`, { advice: NOTHING });
  }
  // The body has no media type, or the wrong one.
  if (status === 415 && id !== null && OPERATIONS[id].bodyMedium !== 'none')
    return wrongType(OPERATIONS[id].bodyMedium === 'bytes' ? 'application/octet-stream' : 'application/json');
  if (typeof status === 'number' && status >= 400 && status < 500 && error instanceof Error)
    return new CodedError('bad-input', `The request cannot be read: ${error.message}.`.replace('..', '.'), {
      advice: NOTHING,
    });
  return new CodedError('failed', 'The control node failed to answer this request.', {
    cause: error,
    advice: 'Its log says why. Look at the object before asking again.',
  });
}
