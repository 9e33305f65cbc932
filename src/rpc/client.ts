/**
 * The client of a cluster process's JSON service. Guarantees: the peer is exactly the expected identity or nothing is
 * sent; every call ends at its deadline; a refusal by the peer comes back as the same CodedError, and a peer that
 * cannot be reached is 'unavailable' or 'deadline'; renewed credentials serve the next connection, and open connections
 * continue.
 */

import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import type { Duplex, Readable } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import { CodedError } from '../base/errors.ts';
import { commonName, type PeerIdentity } from '../base/identity.ts';
import { withDeadline } from '../os/deadline.ts';
import type { Credentials } from '../pki/credentials.ts';
import { clientTlsOptions } from '../pki/tls.ts';
import { type Parser, parseJson } from './parse.ts';
import { connectionError, errorOfAnswer } from './problem.ts';

export interface RpcTarget {
  readonly address: string;
  readonly port: number;
  readonly identity: PeerIdentity;
}

export interface RpcClientOptions {
  /** Without a certificate of our own (`caPem` alone) only public servers answer. */
  readonly credentials: Credentials | Pick<Credentials, 'caPem'>;
  readonly target: RpcTarget;
  /** Connections kept at most; 8 by default. A call beyond waits for a free one, within its deadline. */
  readonly connectionsMax?: number | undefined;
}

export interface RpcCall<T> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** With its query. */
  readonly path: string;
  readonly body?: unknown;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly parse: Parser<T>;
}

export interface RpcUpload<T> extends Omit<RpcCall<T>, 'body'> {
  readonly stream: Readable;
  readonly sizeBytes: number;
}

interface Answer {
  readonly response: IncomingMessage;
  readonly body: string;
}

const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const IDLE_MS = 30_000;

/** One service at one address. Connections are kept and used again. */
export class RpcClient {
  readonly #agent: Agent;
  readonly #options: RpcClientOptions;
  readonly #peer: string;

  constructor(options: RpcClientOptions) {
    const { credentials, target } = options;
    this.#options = options;
    this.#peer = `${commonName(target.identity)} at ${target.address}:${target.port}`;
    this.#agent = new Agent({
      keepAlive: true,
      keepAliveMsecs: 5_000,
      maxSockets: options.connectionsMax ?? 8,
      maxFreeSockets: 2,
      timeout: IDLE_MS,
      // Every connection checks the peer's certificate itself: a resumed session would not.
      maxCachedSessions: 0,
      ...clientTlsOptions(credentials, target.identity),
    });
  }

  /** One call; repeated once when a kept connection turns out to be closed: orders are idempotent. */
  async call<T>(call: RpcCall<T>): Promise<T> {
    const body = call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body));
    const { body: answer } = await this.#within(call, async (signal) => {
      const once = () => this.#exchange(call, { sizeBytes: body?.length ?? 0, signal }, (request) => request.end(body));
      try {
        return await once();
      } catch (error) {
        if (error instanceof StaleConnection) return await once();
        throw error;
      }
    });
    return this.#read(answer, call.parse);
  }

  /** Sends a stream as the body; it is destroyed when the call fails. */
  async upload<T>(call: RpcUpload<T>): Promise<T> {
    try {
      const { body } = await this.#within(call, (signal) =>
        this.#exchange(call, { sizeBytes: call.sizeBytes, signal }, (request) => {
          call.stream.once('error', (error) => request.destroy(error));
          call.stream.pipe(request);
        }),
      );
      return this.#read(body, call.parse);
    } finally {
      call.stream.destroy();
    }
  }

  /**
   * Opens a body as a stream; the deadline is for its beginning, the rest is bounded by `signal` and by 60 s of
   * silence.
   */
  async download(
    path: string,
    { deadlineMs, signal }: { readonly deadlineMs: number; readonly signal?: AbortSignal | undefined },
  ): Promise<{ readonly stream: Readable; readonly sizeBytes: number | undefined }> {
    const response = await this.#within({ deadlineMs, signal }, (inner) =>
      this.#open({ method: 'GET', path }, { sizeBytes: 0, signal: inner }, (request) => request.end()),
    );
    if (response.statusCode !== 200) throw errorOfAnswer(response.statusCode ?? 0, await readAll(response), this.#peer);
    response.setTimeout(60_000, () => response.destroy(new CodedError('deadline', `${this.#peer} went silent.`)));
    signal?.addEventListener('abort', () => response.destroy(), { once: true });
    const length = response.headers['content-length'];
    return { stream: response, sizeBytes: length === undefined ? undefined : Number(length) };
  }

  /** A TCP connection through the service's relay (CONNECT). The caller ends it. */
  connectThrough(
    { address, port }: { readonly address: string; readonly port: number },
    { deadlineMs, signal }: { readonly deadlineMs: number; readonly signal?: AbortSignal | undefined },
  ): Promise<Duplex> {
    const authority = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    const { credentials, target } = this.#options;
    return this.#within({ deadlineMs, signal }, (inner) => {
      return new Promise<Duplex>((resolve, reject) => {
        const socket = tlsConnect({
          ...clientTlsOptions(credentials, target.identity),
          host: target.address,
          port: target.port,
        });
        const fail = (error: unknown): void => {
          socket.destroy();
          reject(connectionError(error, this.#peer));
        };
        const onAbort = (): void => fail(inner.reason);
        inner.addEventListener('abort', onAbort, { once: true });
        socket.once('error', fail);
        socket.once('secureConnect', () => {
          const request = httpsRequest({ method: 'CONNECT', path: authority, createConnection: () => socket });
          request.once('error', fail);
          request.once('response', (response) => {
            readAll(response).then((body) => fail(errorOfAnswer(response.statusCode ?? 0, body, this.#peer)), fail);
          });
          request.once('connect', (response, relayed: Duplex, head: Buffer) => {
            if (response.statusCode !== 200) {
              // Node hands over any answer to a CONNECT this way; its body is still in the socket.
              collect(relayed, head).then(
                (body) => fail(errorOfAnswer(response.statusCode ?? 0, body, this.#peer)),
                fail,
              );
              return;
            }
            inner.removeEventListener('abort', onAbort);
            socket.off('error', fail);
            if (head.length > 0) relayed.unshift(head);
            resolve(relayed);
          });
          request.end();
        });
      });
    });
  }

  /** Ends the connections; calls under way fail. */
  close(): void {
    this.#agent.destroy();
  }

  /** CodedError 'failed' for a malformed answer: 'bad-input' would say that the request was malformed. */
  #read<T>(answer: string, parse: Parser<T>): T {
    try {
      return parse(parseJson(answer, `The answer of ${this.#peer}`), 'answer');
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'bad-input') throw error;
      throw new CodedError('failed', `${this.#peer} answered something else than expected: ${error.message}`, {
        cause: error,
      });
    }
  }

  #within<T>(
    { deadlineMs, signal }: { readonly deadlineMs: number; readonly signal?: AbortSignal | undefined },
    start: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    return withDeadline(start, { deadlineMs, signal, what: `the answer of ${this.#peer}` });
  }

  async #exchange(
    call: Pick<RpcCall<unknown>, 'method' | 'path'>,
    sending: Sending,
    write: (request: ClientRequest) => void,
  ): Promise<Answer> {
    const sent: { request?: ClientRequest } = {};
    const response = await this.#open(call, sending, (request) => {
      sent.request = request;
      write(request);
    });
    const body = await readAll(response).catch((error: unknown) => {
      throw connectionError(error, this.#peer);
    });
    const status = response.statusCode ?? 0;
    // Refused before all of the body was sent: the rest is of no use, and the connection neither.
    if (sent.request?.writableFinished === false) sent.request.destroy();
    if (status < 200 || status > 299) throw errorOfAnswer(status, body, this.#peer);
    return { response, body };
  }

  #open(
    { method, path }: Pick<RpcCall<unknown>, 'method' | 'path'>,
    { sizeBytes, signal }: Sending,
    write: (request: ClientRequest) => void,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const { target, credentials } = this.#options;
      // The agent keeps connections apart by their options: those of earlier credentials end when they are idle.
      Object.assign(this.#agent.options, clientTlsOptions(credentials, target.identity));
      const request = httpsRequest({
        agent: this.#agent,
        host: target.address,
        port: target.port,
        method,
        path,
        headers: { 'content-length': sizeBytes, ...(sizeBytes > 0 ? { 'content-type': 'application/json' } : {}) },
      });
      // Destroying the request takes its connection along: an answer that comes late is never taken for the next
      // call's.
      const onAbort = (): void => void request.destroy();
      signal.addEventListener('abort', onAbort, { once: true });
      request.once('close', () => signal.removeEventListener('abort', onAbort));
      request.once('response', resolve);
      request.once('error', (error: NodeJS.ErrnoException) => {
        const stale = request.reusedSocket && error.code === 'ECONNRESET';
        reject(stale ? new StaleConnection(error) : connectionError(error, this.#peer));
      });
      write(request);
    });
  }
}

interface Sending {
  readonly sizeBytes: number;
  readonly signal: AbortSignal;
}

/** The server closed a kept connection before it could have seen the call. */
class StaleConnection extends CodedError {
  constructor(cause: Error) {
    super('unavailable', `The connection was closed: ${cause.message}.`, { cause });
  }
}

function readAll(response: IncomingMessage): Promise<string> {
  return collect(response, Buffer.alloc(0));
}

async function collect(stream: Readable, head: Buffer): Promise<string> {
  const chunks = [head];
  let sizeBytes = head.length;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > ANSWER_BYTES_MAX)
      throw new CodedError('failed', `An answer was larger than ${ANSWER_BYTES_MAX} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
