import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { parseControlName } from '../base/ids.ts';
import { createAuthority, issue } from '../pki/authority.ts';
import type { Credentials } from '../pki/credentials.ts';
import { publicServerTlsOptions } from '../pki/tls.ts';
import type { ForwardRequest } from './api/call.ts';
import { forwardOverTls } from './forward.ts';

const NEVER = new AbortController().signal;
const LEADER = { name: parseControlName('c2'), address: '127.0.0.1' };

let authority: { certPem: string; keyPem: string };
let follower: Credentials;
let leader: Server;
let impostor: Server;
let handle: (request: IncomingMessage, response: ServerResponse) => void;
let reachedImpostor = 0;

async function serverOf(name: string, listener: typeof handle): Promise<Server> {
  const own = await issue(authority, { identity: { kind: 'control', name: parseControlName(name) }, daysValid: 1 });
  const server = createServer(publicServerTlsOptions({ caPem: authority.certPem, ...own }), listener);
  server.listen(0, LEADER.address);
  await once(server, 'listening');
  return server;
}

before(async () => {
  authority = await createAuthority({ clusterName: 'test', daysValid: 1 });
  const identity = { kind: 'control', name: parseControlName('c1') } as const;
  follower = { caPem: authority.certPem, ...(await issue(authority, { identity, daysValid: 1 })) };
  leader = await serverOf('c2', (request, response) => handle(request, response));
  impostor = await serverOf('c3', (_request, response) => {
    reachedImpostor++;
    response.end();
  });
});
after(() => {
  for (const server of [leader, impostor]) {
    server.closeAllConnections();
    server.close();
  }
});

const originOf = (server: Server): string => `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
const forward = (origin: string, request: Partial<ForwardRequest> = {}, signal = NEVER) =>
  forwardOverTls({ credentials: follower, peers: () => [LEADER] })(
    origin,
    { method: 'GET', path: '/v1/vms?label=a', headers: { authorization: 'Bearer secret' }, body: null, ...request },
    signal,
  );

async function textOf(stream: Readable): Promise<string> {
  return Buffer.concat(await stream.toArray()).toString();
}

test('a request and its answer pass whole: method, path, headers, body, status', async () => {
  handle = (request, response) => {
    const seen = [request.method, request.url, request.headers.authorization, request.headers['if-match']];
    void textOf(request).then((body) => {
      response.writeHead(412, { etag: '"7"', 'set-cookie': ['a=1', 'b=2'] });
      response.end(JSON.stringify([...seen, body.length]));
    });
  };
  const body = Readable.from([Buffer.alloc(300_000, 'x'), Buffer.from('end')], { objectMode: false });
  const headers = { authorization: 'Bearer secret', 'if-match': '"7"', 'content-length': '300003' };
  const answer = await forward(originOf(leader), { method: 'PATCH', path: '/v1/vms/a?x=%2f', headers, body });
  assert.equal(answer.status, 412);
  assert.deepEqual([answer.headers['etag'], answer.headers['set-cookie']], ['"7"', 'a=1, b=2']);
  const seen: unknown = JSON.parse(await textOf(answer.body));
  assert.deepEqual(seen, ['PATCH', '/v1/vms/a?x=%2f', 'Bearer secret', '"7"', 300_003]);
});

test('an answer that does not end is passed on as it comes, and ends with the signal', async () => {
  const gone = Promise.withResolvers<void>();
  handle = (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: 1\n\n');
    response.once('close', gone.resolve);
  };
  const ending = new AbortController();
  const answer = await forward(originOf(leader), {}, ending.signal);
  const [first] = (await once(answer.body, 'data')) as [Buffer];
  assert.equal(first.toString(), 'data: 1\n\n');
  answer.body.on('error', () => undefined);
  ending.abort();
  await gone.promise;
});

test('only the control node that the election names is trusted, and nobody else hears anything', async () => {
  await assert.rejects(forward('https://127.0.0.2:7440'), {
    code: 'unavailable',
    message: /127\.0\.0\.2 is not that of/,
  });
  await assert.rejects(forward(originOf(impostor)), { code: 'unavailable', message: /leader c2 cannot be reached/ });
  assert.equal(reachedImpostor, 0);
});

test('a leader that is gone, or goes in the middle, is unavailable', async () => {
  const silent = await serverOf('c2', () => undefined);
  const origin = originOf(silent);
  handle = (request) => void request.socket.destroy();
  await assert.rejects(forward(originOf(leader)), { code: 'unavailable', advice: /Try again/ });
  const late = new AbortController();
  const waiting = forward(origin, {}, late.signal);
  late.abort();
  await assert.rejects(waiting, { code: 'unavailable' });
  silent.closeAllConnections();
  silent.close();
  await once(silent, 'close');
  await assert.rejects(forward(origin), { code: 'unavailable', message: /ECONNREFUSED/ });
});
