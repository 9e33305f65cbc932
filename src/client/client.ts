/**
 * The typed client of the API: paths, bodies and answers are checked at compile time against the OpenAPI document.
 * Guarantees: the client talks only to a control node with a certificate of the cluster's own authority; every request
 * has a deadline; every failure is a CodedError (`unavailable`: no server answers; `deadline`; otherwise the server's
 * own error).
 */
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import type { PeerCertificate } from 'node:tls';
import createFetchClient, { type Client, type Middleware } from 'openapi-fetch';
import { Agent, type Dispatcher, fetch as undiciFetch } from 'undici';
import { PAGE_ITEMS_MAX } from '../api/page-size.ts';
import { errorOfProblem } from '../api/problem.ts';
import type { EventFilter } from '../api/requests.ts';
import type { WatchChange } from '../api/views.ts';
import { CodedError } from '../base/errors.ts';
import { ANY_CONTROL_NAME, parseDnsName } from '../base/identity.ts';
import { NOBODY_LEADS_HEADER } from '../base/problem.ts';
import { sleep } from '../base/sleep.ts';
import { systemClock } from '../os/clock.ts';
import { deadlineError } from '../os/deadline.ts';
import { monotonicMs } from '../os/monotonic.ts';
import type { paths } from './generated/schema.d.ts';
import { readEvents } from './server-events.ts';

const CONNECT_MS = 5_000;
const DEADLINE_MS = 35_000;
/** How long a request is sent again while no control node leads, and the wait before each attempt. */
const ELECTION_MS = 15_000;
const AGAIN_MS = 500;
const TRANSFER_IDLE_MS = 120_000;
const CONNECTIONS_MAX = 16;

/** The address of a cluster and what is needed to talk to it. */
export interface Target {
  /** https://address:port, without a path. */
  readonly apiUrl: string;
  /** The authority's certificate (PEM): no other is trusted. */
  readonly caPem: string;
  readonly token: string;
}

/** An upload of one file. */
export interface Upload {
  readonly sha256: string;
  readonly kind: 'disk' | 'kernel' | 'initrd';
  readonly sizeBytes: number;
  /** Bytes in blocks of 64 KiB that are not all zeroes: the room that the image needs in a pool. */
  readonly dataBytes: number;
  readonly content: Readable;
}

/** Type of the JSON answer to a GET of this path, if it has one. */
type AnswerOf<P extends keyof paths> = paths[P] extends {
  get: { responses: { 200: { content: { 'application/json': infer Answer } } } };
}
  ? Answer
  : never;
/** Paths that return lists in pages. */
type ListPath = {
  [P in keyof paths]: AnswerOf<P> extends { items: unknown[]; next: unknown } ? P : never;
}[keyof paths];
type ItemOf<P extends ListPath> = AnswerOf<P> extends { items: (infer Item)[] } ? Item : never;
type ParametersOf<P extends ListPath> = paths[P] extends {
  get: { parameters: { query?: infer Query; path?: infer InPath } };
}
  ? { readonly query?: Omit<NonNullable<Query>, 'limit' | 'after'>; readonly path?: NonNullable<InPath> }
  : never;
interface ListOptions<P extends ListPath> {
  readonly params?: ParametersOf<P>;
  readonly signal?: AbortSignal;
}

/** The content that a watch should deliver. */
export interface WatchWish {
  readonly after?: string;
  readonly filter?: EventFilter;
  readonly signal: AbortSignal;
}

/** A connection pool to one cluster; `close` it. */
export interface ApiClient {
  /** Typed by the document; throws CodedError instead of returning `error`. */
  readonly http: Client<paths>;
  /** The result of a call of `http`: its data. */
  call<T>(work: Promise<{ readonly data?: T }>): Promise<T>;
  /**
   * Reads a whole list, page after page. Objects that are created or deleted in the meantime may be missing; every
   * other object is returned exactly once.
   */
  list<P extends ListPath>(path: P, options?: ListOptions<P>): Promise<ItemOf<P>[]>;
  /** Returns the latest `count` objects, oldest first, of a list whose first page has the latest ones. */
  latest<P extends ListPath>(path: P, count: number, options?: ListOptions<P>): Promise<ItemOf<P>[]>;
  upload(upload: Upload, signal?: AbortSignal): Promise<void>;
  /**
   * The bytes of an answer that is a file. Ends by `signal` or with an error; 'unavailable' where the connection is cut, or
   * stands still for two minutes.
   */
  download(path: '/v1/backup', signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Delivers changes after `after` (a revision), or from now on; with an event filter, only matching events. Ends by
   * `signal` or with an error.
   */
  watch(options: WatchWish): AsyncIterable<WatchChange>;
  close(): Promise<void>;
}

/** TLS of a client without a certificate of its own: it accepts any control node of the cluster, at any address. */
export function clientTls(caPem: string) {
  return {
    ca: caPem,
    servername: ANY_CONTROL_NAME,
    minVersion: 'TLSv1.3',
    rejectUnauthorized: true,
    checkServerIdentity: (_host: string, certificate: PeerCertificate): Error | undefined => {
      const names = (certificate.subjectaltname ?? '')
        .split(', ')
        .flatMap((name) => (name.startsWith('DNS:') ? [name.slice(4)] : []));
      return names.some((name) => parseDnsName(name)?.kind === 'control')
        ? undefined
        : new Error('The certificate is not that of a control node.');
    },
  } as const;
}

/** Makes a client; connects at the first request. `deadlineMs`: of one request, 35 s unless given. */
export function createClient(target: Target, options: { readonly deadlineMs?: number } = {}): ApiClient {
  const agent = new Agent({
    connect: { ...clientTls(target.caPem), timeout: CONNECT_MS },
    connections: CONNECTIONS_MAX,
    // Deadlines are signals: a long-poll is silent for longer than undici's own limits.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const baseUrl = target.apiUrl.replace(/\/+$/, '');
  const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  const http = createFetchClient<paths>({
    baseUrl,
    headers: { authorization: `Bearer ${target.token}` },
    fetch: (request: Request) => send(request, agent, deadlineMs),
  });
  http.use(problemsAsErrors);
  const get = http.GET as unknown as GetPage;
  return {
    http,
    call: async <T>(work: Promise<{ readonly data?: T }>): Promise<T> => (await work).data as T,
    list: async (path, options = {}) =>
      (await readPages(get, { path, count: Number.MAX_SAFE_INTEGER, ...options })).flat() as never[],
    latest: async (path, count, options = {}) =>
      (await readPages(get, { path, count, ...options })).reverse().flat() as never[],
    upload: (upload, signal) => sendFile({ agent, baseUrl, target, upload, signal }),
    download: (path, signal) => receive({ agent, baseUrl, target, path, signal }),
    watch: (wish) => watchChanges({ ...wish, agent, baseUrl, target }),
    close: () => agent.destroy(),
  };
}

/** Reads one page of any list. */
type GetPage = (
  path: string,
  init: object,
) => Promise<{ readonly data?: { readonly items: readonly unknown[]; readonly next: string | null } }>;

interface PagesRequest {
  readonly path: string;
  /** The number of objects wanted, 1 or more. */
  readonly count: number;
  readonly params?: { readonly query?: object; readonly path?: object };
  readonly signal?: AbortSignal;
}

/** Reads pages one after the other until a page says that it is the last one. */
async function readPages(get: GetPage, { path, count, params, signal }: PagesRequest): Promise<(readonly unknown[])[]> {
  const pages: (readonly unknown[])[] = [];
  let wanted = count;
  let after: string | null = null;
  do {
    const query = { ...params?.query, limit: Math.min(wanted, PAGE_ITEMS_MAX), ...(after === null ? {} : { after }) };
    const { data } = await get(path, { params: { ...params, query }, ...(signal === undefined ? {} : { signal }) });
    if (data === undefined) break;
    pages.push(data.items);
    wanted -= data.items.length;
    after = data.next;
  } while (after !== null && wanted > 0);
  return pages;
}

const problemsAsErrors: Middleware = {
  onResponse: async ({ response }) => {
    if (response.ok) return;
    throw errorOfProblem(response.status, await response.json().catch(() => undefined));
  },
};

/**
 * Sends a request through our own connections: Node's global fetch would not take an Agent of another undici. While no
 * control node leads, which the answer says, the request is sent again: an election takes a few seconds.
 */
async function send(request: Request, dispatcher: Dispatcher, deadlineMs: number): Promise<Response> {
  const deadline = AbortSignal.timeout(deadlineMs);
  const againUntilMs = monotonicMs() + Math.min(ELECTION_MS, deadlineMs / 2);
  const body = request.body === null ? null : await request.text();
  const signal = AbortSignal.any([request.signal, deadline]);
  try {
    for (;;) {
      const answer = await undiciFetch(request.url, {
        ...{ method: request.method, headers: [...request.headers], body, dispatcher, redirect: 'error', signal },
      });
      const mayBeSentAgain = answer.headers.has(NOBODY_LEADS_HEADER) && monotonicMs() < againUntilMs;
      if (!mayBeSentAgain) return answer as unknown as Response;
      await answer.body?.cancel();
      await sleep(systemClock, AGAIN_MS, { signal });
    }
  } catch (error) {
    if (deadline.aborted) throw deadlineError(`${request.method} ${new URL(request.url).pathname}`, deadlineMs);
    if (request.signal.aborted) throw request.signal.reason;
    throw unreachable(new URL(request.url).origin, error);
  }
}

interface FileRequest {
  readonly agent: Agent;
  readonly baseUrl: string;
  readonly target: Target;
  readonly upload: Upload;
  readonly signal: AbortSignal | undefined;
}

async function sendFile({ agent, baseUrl, target, upload, signal }: FileRequest): Promise<void> {
  // The parameter is sent only if it has an effect: an older server rejects it.
  const sparse = upload.dataBytes < upload.sizeBytes ? `&dataBytes=${upload.dataBytes}` : '';
  try {
    const answer = await agent.request({
      origin: baseUrl,
      path: `/v1/artifacts/${upload.sha256}?kind=${upload.kind}${sparse}`,
      method: 'PUT',
      headers: {
        authorization: `Bearer ${target.token}`,
        'content-type': 'application/octet-stream',
        'content-length': String(upload.sizeBytes),
      },
      body: Readable.from(paced(upload.content), { objectMode: false }),
      headersTimeout: TRANSFER_IDLE_MS,
      bodyTimeout: TRANSFER_IDLE_MS,
      ...(signal === undefined ? {} : { signal }),
    });
    const body: unknown = await answer.body.json().catch(() => undefined);
    if (answer.statusCode >= 300) throw errorOfProblem(answer.statusCode, body);
  } catch (error) {
    if (error instanceof CodedError) throw error;
    if (signal?.aborted === true) throw signal.reason;
    throw unreachable(baseUrl, error);
  } finally {
    upload.content.destroy();
  }
}

interface DownloadRequest {
  readonly agent: Agent;
  readonly baseUrl: string;
  readonly target: Target;
  readonly path: string;
  readonly signal: AbortSignal | undefined;
}

async function* receive({ agent, baseUrl, target, path, signal }: DownloadRequest): AsyncGenerator<Uint8Array> {
  try {
    const answer = await agent.request({
      ...{ origin: baseUrl, path, method: 'GET' },
      headers: { authorization: `Bearer ${target.token}` },
      headersTimeout: TRANSFER_IDLE_MS,
      bodyTimeout: TRANSFER_IDLE_MS,
      ...(signal === undefined ? {} : { signal }),
    });
    if (answer.statusCode !== 200)
      throw errorOfProblem(answer.statusCode, await answer.body.json().catch(() => undefined));
    for await (const chunk of answer.body) yield chunk as Uint8Array;
  } catch (error) {
    if (error instanceof CodedError) throw error;
    if (signal?.aborted === true) throw signal.reason;
    throw unreachable(baseUrl, error);
  }
}

/**
 * Yields the content with a turn of the event loop between two parts, so that an answer (and the end of the connection
 * after it) is read before the next write can fail.
 */
async function* paced(content: Readable): AsyncGenerator<Buffer> {
  for await (const chunk of content as AsyncIterable<Buffer>) {
    yield chunk;
    await setImmediate();
  }
}

interface WatchRequest extends WatchWish {
  readonly agent: Agent;
  readonly baseUrl: string;
  readonly target: Target;
}

async function* watchChanges(request: WatchRequest): AsyncGenerator<WatchChange> {
  const { agent, baseUrl, target, after, filter = {}, signal } = request;
  const query = new URLSearchParams(
    Object.entries(filter).flatMap(([name, value]) => [value].flat().map((each) => [name, each] as [string, string])),
  ).toString();
  const path = `/v1/watch${query === '' ? '' : `?${query}`}`;
  const headers = {
    authorization: `Bearer ${target.token}`,
    ...(after === undefined ? {} : { 'last-event-id': after }),
  };
  let answer: Dispatcher.ResponseData;
  try {
    answer = await agent.request({ origin: baseUrl, path, method: 'GET', headers, signal });
  } catch (error) {
    if (signal.aborted) return;
    throw unreachable(baseUrl, error);
  }
  if (answer.statusCode !== 200) {
    throw errorOfProblem(answer.statusCode, await answer.body.json().catch(() => undefined));
  }
  try {
    for await (const event of readEvents(answer.body)) {
      if (event.name === 'problem') throw errorOfProblem(500, JSON.parse(event.data));
      yield JSON.parse(event.data) as WatchChange;
    }
  } catch (error) {
    if (signal.aborted) return;
    throw error instanceof CodedError ? error : unreachable(baseUrl, error);
  }
}

/** The error for an address where no server, or a server of another cluster, answers. */
export function unreachable(origin: string, cause: unknown): CodedError {
  return new CodedError('unavailable', `The cluster cannot be reached at ${origin}: ${reasonOf(cause)}.`, {
    cause,
    advice: 'VMs run on without it. Is it running (`gp up`), and is this the right cluster (`gp context show`)?',
  });
}

function reasonOf(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(inner instanceof Error)) return 'the connection failed';
  const code = 'code' in inner && typeof inner.code === 'string' ? inner.code : '';
  switch (code) {
    case 'ECONNREFUSED':
      return 'nothing listens there';
    case 'ECONNRESET':
    case 'UND_ERR_SOCKET':
      return 'the connection was cut';
    case 'UND_ERR_CONNECT_TIMEOUT':
    case 'ETIMEDOUT':
      return 'no answer to the connection attempt';
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'CERT_SIGNATURE_FAILURE':
      return 'its certificate is not of this cluster’s authority';
    default:
      return inner.message.replace(/\.$/, '');
  }
}
