/**
 * For tests: a small S3 server that keeps objects in memory. It checks each request's signature by itself, as AWS describes
 * Signature Version 4, and the hash of what is sent. A test says what it answers instead.
 */
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { CertifiedKey } from '../../../pki/authority.ts';

export const S3_KEYS = { id: 'AKIDEXAMPLE', secret: 'wJalrXUtnFEMI+K7MDENG+bPxRfiCYEXAMPLEKEY' };
const BUCKET = 'backups';
const PAGE = 2;
const CLOCK_MS = 300_000;

const sha256 = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Buffer, data: string): Buffer => createHmac('sha256', key).update(data).digest();

export interface S3Server {
  readonly endpoint: string;
  readonly objects: Map<string, Buffer>;
  /** Statuses that the next requests are answered with, whatever they ask. */
  readonly refusals: number[];
  /** Requests so far. */
  readonly requests: string[];
  /** From now on connections are taken and nothing is answered. */
  silent: boolean;
  close(): Promise<void>;
}

/** Starts it on the loopback address. */
export async function startS3Server(tls: CertifiedKey): Promise<S3Server> {
  const server: Server = createServer({ cert: tls.certPem, key: tls.keyPem });
  const state = {
    objects: new Map<string, Buffer>(),
    refusals: [] as number[],
    requests: [] as string[],
    silent: false,
  };
  server.on('request', (request, response) => {
    void (async () => {
      const body = await bodyOf(request);
      state.requests.push(`${request.method} ${request.url}`);
      if (state.silent) return;
      const refusal = state.refusals.shift();
      const { status, text } =
        refusal === undefined ? answer(request, body, state.objects) : { status: refusal, text: code('SlowDown') };
      response.writeHead(status).end(text);
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return Object.assign(state, {
    endpoint: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  });
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const code = (text: string): string => `<?xml version="1.0"?><Error><Code>${text}</Code></Error>`;

function answer(
  request: IncomingMessage,
  body: Buffer,
  objects: Map<string, Buffer>,
): { readonly status: number; readonly text: string } {
  const wrong = wrongWith(request, body);
  if (wrong !== null) return { status: 403, text: code(wrong) };
  const { pathname, searchParams } = new URL(request.url ?? '', 'https://s3');
  const key = decodeURIComponent(pathname.slice(`/${BUCKET}/`.length));
  if (!pathname.startsWith(`/${BUCKET}`)) return { status: 404, text: code('NoSuchBucket') };
  if (request.method === 'PUT') objects.set(key, body);
  if (request.method === 'DELETE') return { status: objects.delete(key) ? 204 : 404, text: '' };
  return { status: 200, text: request.method === 'GET' ? listing(objects, searchParams) : '' };
}

function listing(objects: ReadonlyMap<string, Buffer>, query: URLSearchParams): string {
  const after = query.get('continuation-token') ?? '';
  const keys = [...objects.keys()].filter((key) => key.startsWith(query.get('prefix') ?? '')).toSorted();
  const rest = keys.filter((key) => key > after);
  const page = rest.slice(0, PAGE);
  const contents = page.map((key) => `<Contents><Key>${key}</Key><Size>${objects.get(key)?.length}</Size></Contents>`);
  const next = rest.length > PAGE ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : '';
  return `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>${next}${contents.join('')}</ListBucketResult>`;
}

/** What is wrong with the signature of a request; null: nothing. */
function wrongWith(request: IncomingMessage, body: Buffer): string | null {
  const given =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? '',
    );
  if (given === null) return 'AccessDenied';
  const [, id = '', day = '', region = '', signedHeaders = '', signature = ''] = given;
  if (id !== S3_KEYS.id) return 'InvalidAccessKeyId';
  const header = (name: string): string => String(request.headers[name] ?? '').trim();
  const time = header('x-amz-date');
  const at = Date.parse(time.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (!(Math.abs(Date.now() - at) < CLOCK_MS) || !time.startsWith(day)) return 'RequestTimeTooSkewed';
  const names = signedHeaders.split(';');
  if (!names.includes('host') || !names.includes('x-amz-content-sha256')) return 'SignatureDoesNotMatch';
  if (header('x-amz-content-sha256') !== sha256(body)) return 'XAmzContentSHA256Mismatch';
  const [path = '', search = ''] = (request.url ?? '').split('?');
  const query = [...new URLSearchParams(search)]
    .map(([name, value]) => `${strictly(name)}=${strictly(value)}`)
    .toSorted()
    .join('&');
  const canonical = [
    request.method,
    path,
    query,
    ...names.map((name) => `${name}:${header(name)}`),
    '',
    signedHeaders,
    sha256(body),
  ].join('\n');
  const scope = `${day}/${region}/s3/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n');
  const key = [day, region, 's3', 'aws4_request'].reduce<Buffer | string>(hmac, `AWS4${S3_KEYS.secret}`);
  return hmac(key, toSign).toString('hex') === signature ? null : 'SignatureDoesNotMatch';
}

const strictly = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
