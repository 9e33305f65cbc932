import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpsServer } from 'node:https';
import { connect, createServer, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { CodedError } from '../base/errors.ts';
import type { PeerIdentity } from '../base/identity.ts';
import { parseControlName, parseHostName, parseStorageName } from '../base/ids.ts';
import { flood, stillOpen } from '../os/testing/flood.ts';
import { until } from '../os/testing/until.ts';
import { createAuthority, issue, issueForRequest } from '../pki/authority.ts';
import type { Credentials } from '../pki/credentials.ts';
import { createJoinToken, tokenSha256 } from '../pki/join-token.ts';
import { certificateFingerprint, clientTlsOptions, publicServerTlsOptions } from '../pki/tls.ts';
import { RpcClient } from './client.ts';
import { joinCluster } from './join.ts';
import { isRecord, type Parser, parseNothing } from './parse.ts';
import { Relay } from './relay.ts';
import { matchRoute, parseAuthority, type Route, type RpcService, startService } from './service.ts';

const CONTROL: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
const HOST: PeerIdentity = { kind: 'host', name: parseHostName('h1') };
const STORAGE: PeerIdentity = { kind: 'storage', name: parseStorageName('s1') };
const anything: Parser<unknown> = (value) => value;

const credentialsOf = new Map<PeerIdentity, Credentials>();
let authority: { certPem: string; keyPem: string };
let service: RpcService;
const unexpected: unknown[] = [];
const relay = new Relay({ pairsMax: 1, idleMs: 60_000 });
const aborted: Promise<void>[] = [];

const routes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/hello/:name',
    allow: ['control', 'host'],
    handle: async ({ parameters, query, peer }) => ({ json: { ...parameters, q: query.get('q'), peer: peer.kind } }),
  },
  {
    method: 'POST',
    path: '/v1/echo',
    allow: ['control'],
    body: 1000,
    handle: async ({ body }) => ({ json: { body } }),
  },
  {
    method: 'POST',
    path: '/v1/refuse',
    allow: ['control'],
    handle: async () => {
      throw new CodedError('stale-order', 'Too old.', { advice: 'Give up.' });
    },
  },
  {
    method: 'POST',
    path: '/v1/bug',
    allow: ['control'],
    handle: async () => {
      throw new TypeError('secret detail');
    },
  },
  {
    method: 'POST',
    path: '/v1/hang',
    allow: ['control'],
    handle: ({ signal }) => {
      const gone = once(signal, 'abort').then(() => undefined);
      aborted.push(gone);
      return gone.then(() => ({ json: {} }));
    },
  },
  {
    method: 'PUT',
    path: '/v1/count',
    allow: ['control'],
    body: 'stream',
    handle: async ({ stream, sizeBytes }) => {
      let countBytes = 0;
      for await (const chunk of stream as AsyncIterable<Buffer>) countBytes += chunk.length;
      return { json: { countBytes, sizeBytes } };
    },
  },
  {
    method: 'GET',
    path: '/v1/bytes',
    allow: ['control'],
    handle: async () => ({ stream: Readable.from([Buffer.alloc(70_000, 1)]), sizeBytes: 70_000 }),
  },
];

function clientOf(identity: PeerIdentity, expected: PeerIdentity = STORAGE): RpcClient {
  const credentials = credentialsOf.get(identity);
  assert.ok(credentials !== undefined);
  return new RpcClient({ credentials, target: { address: service.address, port: service.port, identity: expected } });
}

const coded = (code: string) => (error: unknown) => error instanceof CodedError && error.code === code;
let control: RpcClient;

before(async () => {
  authority = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  for (const identity of [CONTROL, HOST, STORAGE])
    credentialsOf.set(identity, { caPem: authority.certPem, ...(await issue(authority, { identity, daysValid: 1 })) });
  const credentials = credentialsOf.get(STORAGE);
  assert.ok(credentials !== undefined);
  service = await startService({
    credentials,
    address: '127.0.0.1',
    port: 0,
    routes,
    onUnexpected: (error) => unexpected.push(error),
    connect: {
      allow: ['control'],
      open: (target, signal) => relay.open(target, { deadlineMs: 2000, signal }),
      join: (a, b) => relay.join(a, b),
    },
  });
  control = clientOf(CONTROL);
});
after(async () => {
  control.close();
  await service.close(100);
});

const call = (method: 'GET' | 'POST', path: string, body?: unknown, client = control) =>
  client.call({ method, path, body, deadlineMs: 3000, parse: anything });

test('a call reaches its handler with parameters, query and identity', async () => {
  assert.deepEqual(await call('GET', '/v1/hello/ann?q=1'), { name: 'ann', q: '1', peer: 'control' });
  assert.deepEqual(await call('POST', '/v1/echo', { a: [1] }), { body: { a: [1] } });
});

test('a kind that the route does not allow is forbidden; an unknown route is not found', async () => {
  const host = clientOf(HOST);
  assert.deepEqual(await call('GET', '/v1/hello/x', undefined, host), { name: 'x', q: null, peer: 'host' });
  await assert.rejects(call('POST', '/v1/echo', {}, host), coded('forbidden'));
  await assert.rejects(call('POST', '/v1/none', {}), coded('not-found'));
  host.close();
});

test('a coded error arrives as it was thrown; a bug shows nothing of itself', async () => {
  await assert.rejects(call('POST', '/v1/refuse', {}), (error: unknown) => {
    assert.ok(error instanceof CodedError);
    assert.deepEqual([error.code, error.message, error.advice], ['stale-order', 'Too old.', 'Give up.']);
    return true;
  });
  await assert.rejects(call('POST', '/v1/bug', {}), (error: unknown) => {
    assert.ok(error instanceof CodedError && error.code === 'failed' && !error.message.includes('secret'));
    return true;
  });
  assert.equal(unexpected.length, 1);
});

test('an answer that cannot be read is no word against the call', async () => {
  const parse: Parser<never> = () => {
    throw new CodedError('bad-input', 'answer.pid must be an integer.');
  };
  await assert.rejects(control.call({ method: 'POST', path: '/v1/echo', body: {}, deadlineMs: 3000, parse }), {
    code: 'failed',
    message: /answered something else than expected: answer\.pid must be an integer/,
  });
});

test('a body beyond the bound is refused, and the next call works', async () => {
  await assert.rejects(call('POST', '/v1/echo', 'x'.repeat(2000)), coded('too-large'));
  assert.deepEqual(await call('POST', '/v1/echo', 1), { body: 1 });
});

test('a call ends at its deadline and the handler is told', async () => {
  await assert.rejects(
    control.call({ method: 'POST', path: '/v1/hang', body: {}, deadlineMs: 100, parse: parseNothing }),
    coded('deadline'),
  );
  await Promise.all(aborted);
});

test('another identity than the expected one gets nothing', async () => {
  const mistaken = clientOf(CONTROL, HOST);
  await assert.rejects(call('GET', '/v1/hello/x', undefined, mistaken), coded('forbidden'));
  mistaken.close();
});

test('bodies are streamed both ways', async () => {
  const sizeBytes = 3_000_000;
  const stream = Readable.from(
    (function* () {
      for (let i = 0; i < 30; i++) yield Buffer.alloc(100_000);
    })(),
  );
  assert.deepEqual(
    await control.upload({ method: 'PUT', path: '/v1/count', stream, sizeBytes, deadlineMs: 5000, parse: anything }),
    { countBytes: sizeBytes, sizeBytes },
  );
  const download = await control.download('/v1/bytes', { deadlineMs: 3000 });
  let countBytes = 0;
  for await (const chunk of download.stream as AsyncIterable<Buffer>) countBytes += chunk.length;
  assert.deepEqual([countBytes, download.sizeBytes], [70_000, 70_000]);
  await assert.rejects(control.download('/v1/none', { deadlineMs: 3000 }), coded('not-found'));
});

test('an upload that is refused while it is being sent is told why', async () => {
  const host = clientOf(HOST);
  for (let round = 0; round < 10; round++) {
    const sizeBytes = 50_000_000;
    const stream = Readable.from(
      (function* () {
        for (let i = 0; i < 500; i++) yield Buffer.alloc(100_000);
      })(),
    );
    await assert.rejects(
      host.upload({ method: 'PUT', path: '/v1/count', stream, sizeBytes, deadlineMs: 5000, parse: anything }),
      coded('forbidden'),
    );
  }
  host.close();
});

test('CONNECT relays bytes, is bounded, and ends both ends together', async () => {
  const echo = createServer((socket) => socket.pipe(socket));
  echo.listen(0, '127.0.0.1');
  await once(echo, 'listening');
  const address = echo.address();
  assert.ok(isRecord(address) && typeof address['port'] === 'number');
  const target = { address: '127.0.0.1', port: address['port'] };
  const stream = await control.connectThrough(target, { deadlineMs: 3000 });
  const data = Buffer.alloc(1_000_000, 7);
  stream.write(data);
  let countBytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    countBytes += chunk.length;
    if (countBytes >= data.length) break;
  }
  assert.equal(countBytes, data.length);
  const second = await control.connectThrough(target, { deadlineMs: 3000 }).catch((error: unknown) => error);
  // Leaving the loop destroyed the first pair; whether its end has arrived at the relay yet decides about the second.
  if (second instanceof Error) assert.ok(coded('no-capacity')(second));
  else if (second !== null && typeof second === 'object' && 'destroy' in second)
    (second as { destroy(): void }).destroy();
  stream.destroy();
  echo.close();
  await once(echo, 'close');
  await assert.rejects(
    control.connectThrough(target, { deadlineMs: 3000 }),
    (error) => coded('unavailable')(error) || coded('no-capacity')(error),
  );
});

test("joining: the pinned authority is required, the key stays here, the certificate is the answer's", async () => {
  const serverKeys = await issue(authority, { identity: CONTROL, daysValid: 1 });
  const { token, tokenSha256: stored } = createJoinToken(authority.certPem);
  const bodies: unknown[] = [];
  const server = createHttpsServer(
    publicServerTlsOptions({ caPem: authority.certPem, ...serverKeys }),
    (request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => {
        body += chunk.toString();
      });
      const answer = async (): Promise<void> => {
        const value: unknown = JSON.parse(body);
        bodies.push(value);
        assert.ok(isRecord(value) && typeof value['csrPem'] === 'string');
        const certPem = await issueForRequest(authority, value['csrPem'], { identity: STORAGE, daysValid: 1 });
        response.end(JSON.stringify({ certPem, caPem: authority.certPem, etcdEndpoints: ['https://e1:2379'] }));
      };
      request.on('end', () => void answer());
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(isRecord(address) && typeof address['port'] === 'number');
  const port = address['port'];
  const options = { role: 'storage', name: 's1', addresses: { control: '127.0.0.1' }, deadlineMs: 3000 } as const;
  const controls = [
    { address: '127.0.0.1', port: 1 },
    { address: '127.0.0.1', port },
  ];
  const joined = await joinCluster({ ...options, controls, token });
  assert.equal(certificateFingerprint(joined.credentials.caPem), certificateFingerprint(authority.certPem));
  assert.deepEqual(joined.etcdEndpoints, ['https://e1:2379']);
  const sent = bodies[0];
  assert.ok(isRecord(sent) && typeof sent['token'] === 'string' && tokenSha256(sent['token']) === stored);
  assert.ok(!JSON.stringify(sent).includes('PRIVATE'));
  const other = await createAuthority({ clusterName: 'other', daysValid: 1 });
  await assert.rejects(
    joinCluster({ ...options, controls, token: createJoinToken(other.certPem).token }),
    coded('forbidden'),
  );
  assert.equal(bodies.length, 1);
  server.closeAllConnections();
  server.close();
});

test('silent, half-closed and unfinished connections end, and while they come the cluster is answered', async () => {
  const credentials = credentialsOf.get(STORAGE);
  assert.ok(credentials !== undefined);
  const flooded = await startService({
    credentials,
    address: '127.0.0.1',
    port: 0,
    routes,
    onUnexpected: (error) => unexpected.push(error),
    firstWordsMs: 1_000,
  });
  const { port } = flooded;
  const clientAs = (identity: PeerIdentity): RpcClient =>
    new RpcClient({
      credentials: credentialsOf.get(identity) ?? credentials,
      target: { address: '127.0.0.1', port, identity: STORAGE },
    });
  const old = clientAs(CONTROL);
  await call('GET', '/v1/hello/old', undefined, old);
  const sockets: Socket[] = [];
  for (const last of [1, 2, 3, 4, 5])
    sockets.push(...flood({ host: '127.0.0.1', port, count: 30, localAddress: `127.0.0.${last}` }));
  // One connection with a certificate that is not served here, and one with a certificate of the cluster that then
  // sends nothing.
  for (const { caPem, certPem, keyPem } of [credentials, credentialsOf.get(HOST) ?? credentials]) {
    const options = {
      host: '127.0.0.1',
      port,
      ca: caPem,
      cert: certPem,
      key: keyPem,
      checkServerIdentity: () => undefined,
    };
    for (let count = 0; count < 20; count++)
      sockets.push(
        connectTls(options)
          .on('error', () => undefined)
          .resume(),
      );
  }
  for (let round = 0; round < 10; round++) {
    const fresh = clientAs(CONTROL);
    await call('GET', '/v1/hello/x', undefined, fresh);
    await call('GET', '/v1/hello/old', undefined, old);
    fresh.close();
  }
  await until('all of them are ended', () => stillOpen(sockets) === 0);
  await call('GET', '/v1/hello/old', undefined, old);
  old.close();
  await flooded.close(100);
});

test('one host holds no more connections than its share, from whatever addresses', async () => {
  const credentials = credentialsOf.get(HOST);
  assert.ok(credentials !== undefined);
  const { port } = service;
  const held = [1, 2, 3].flatMap((last) =>
    Array.from({ length: 40 }, () => {
      const below = connect({ host: '127.0.0.1', port, localAddress: `127.0.0.${last}` }).on('error', () => undefined);
      const socket = connectTls({ ...clientTlsOptions(credentials, STORAGE), socket: below });
      return socket.on('error', () => undefined).resume();
    }),
  );
  await until('those above the share are closed', () => stillOpen(held) === 64);
  for (const socket of held) socket.destroy();
});

/** Sends bytes over a connection with a control node's certificate; returns everything received until it ends. */
async function saidTo(text: string): Promise<string> {
  const credentials = credentialsOf.get(CONTROL);
  assert.ok(credentials !== undefined);
  const socket = connectTls({ ...clientTlsOptions(credentials, STORAGE), host: service.address, port: service.port });
  let said = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    said += chunk;
  });
  socket.on('error', () => undefined);
  socket.write(text, 'latin1');
  await once(socket, 'close', { signal: AbortSignal.timeout(20_000) });
  return said;
}

test('what is no request, and what HTTP has answers of its own for, is answered with problem details', async () => {
  const head = (first: string, more = '') => `${first} HTTP/1.1\r\nHost: s1\r\nConnection: close\r\n${more}\r\n`;
  const cases: readonly (readonly [string, number, string])[] = [
    [head('GET /v1/hello/a', `X: ${'x'.repeat(20_000)}\r\n`), 431, 'too-large'],
    ['\u0000\u0001\r\n\r\n', 400, 'bad-input'],
    [head('FETCH /v1/hello/a'), 400, 'bad-input'],
    [`${head('POST /v1/echo', 'Expect: x\r\nContent-Length: 2\r\n')}{}`, 400, 'bad-input'],
    [head('GET /v1/hello/%zz'), 404, 'not-found'],
    [head('GET /v1/hello/\u009b'), 400, 'bad-input'],
    [head('CONNECT nowhere'), 400, 'bad-input'],
    [`${head('POST /v1/echo', 'Content-Length: 5\r\n')}{"\u001b[2`, 400, 'bad-input'],
    [`${head('POST /v1/none', 'Content-Length: 200000\r\n')}${'x'.repeat(200_000)}`, 404, 'not-found'],
    [`${head('POST /v1/echo', 'Content-Length: 200000\r\n')}${'x'.repeat(200_000)}`, 413, 'too-large'],
  ];
  for (const [request, status, code] of cases) {
    const said = await saidTo(request);
    const [headers = '', body = ''] = said.split('\r\n\r\n');
    assert.match(headers, new RegExp(`^HTTP/1\\.1 ${status} `), said);
    assert.match(headers, /content-type: application\/problem\+json/i);
    const problem = JSON.parse(body) as Readonly<Record<'status' | 'code' | 'detail', unknown>>;
    assert.deepEqual([problem.status, problem.code], [status, code]);
    assert.doesNotMatch(body, /\\u00|\u009b/);
  }
});

test('routes and authorities are taken apart strictly', () => {
  assert.throws(() => matchRoute(routes, { method: 'GET', url: '/v1/hello/' }), coded('not-found'));
  assert.throws(() => matchRoute(routes, { method: 'GET', url: '/v1/hello/a%2fb' }), coded('not-found'));
  assert.throws(() => matchRoute(routes, { method: 'PUT', url: '/v1/hello/a' }), coded('not-found'));
  assert.deepEqual(parseAuthority('[::1]:80'), { address: '::1', port: 80 });
  assert.deepEqual(parseAuthority('10.0.0.1:21000'), { address: '10.0.0.1', port: 21_000 });
  for (const text of ['', 'a', 'a:', 'a:0', 'a:70000', 'http://a:1', 'a b:1', 'a:1/'])
    assert.throws(() => parseAuthority(text), coded('bad-input'));
});
