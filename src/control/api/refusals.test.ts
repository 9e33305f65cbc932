/**
 * Malformed requests, and requests for which HTTP has an answer of its own, get problem details, also through the
 * one-machine cluster's proxy.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Value } from 'typebox/value';
import { ProblemSchema } from '../../api/views.ts';
import { startApiProxy } from '../../lab/api-proxy.ts';
import { startTestApi } from '../testing/api-cluster.ts';
import { type ApiServer, createApiServer } from './server.ts';

const { backend, token: secret, cluster } = await startTestApi();
const closing: (() => Promise<unknown>)[] = [];
let server: ApiServer;
let ports: readonly number[] = [];

before(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'groundplane-refusals-'));
  server = createApiServer({ backend, version: '1.2.3', headersMs: 300 });
  const path = join(directory, 'api');
  const local = createServer((socket) => void server.app.server.emit('connection', socket)).listen(path);
  await once(local, 'listening');
  const proxy = await startApiProxy({ ports: [0], socketPaths: [path] });
  ports = [await server.listen(), proxy.port];
  closing.push(
    () => proxy.close(),
    () => server.close(),
    async () => cluster.stop(),
    async () => local.close(),
    () => rm(directory, { recursive: true }),
  );
});
after(async () => {
  for (const close of closing) await close();
});

/** Returns everything that is sent to `text` until the connection ends. */
async function heard(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let said = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    said += chunk;
  });
  socket.on('error', () => undefined);
  socket.write(text, 'latin1');
  await once(socket, 'close', { signal: AbortSignal.timeout(20_000) });
  return said;
}

const token = `Authorization: Bearer ${secret}\r\n`;
const head = (first: string, more = '') => `${first} HTTP/1.1\r\nHost: gp\r\nConnection: close\r\n${token}${more}\r\n`;
const json = 'Content-Type: application/json\r\n';

const CASES: readonly (readonly [what: string, request: string, status: number, code: string])[] = [
  ['a path with a broken escape', head('GET /v1/vms/%zz'), 400, 'bad-input'],
  ['a path that is no UTF-8', head('GET /v1/vms/%ff%fe'), 400, 'bad-input'],
  ['a parameter that is far too long', head(`GET /v1/vms/${'a'.repeat(4_000)}`), 404, 'not-found'],
  ['a path that is unknown', head('GET /v1/nothing'), 404, 'not-found'],
  ['a path out of the folder of the web interface', head('GET /%2e%2e/%2e%2e/etc/passwd'), 400, 'bad-input'],
  ['a file that the web interface does not have', head('GET /assets/none.js'), 404, 'not-found'],
  ['headers of 20 kB', head('GET /v1/vms', `X: ${'x'.repeat(20_000)}\r\n`), 431, 'too-large'],
  ['a path of 20 kB', head(`GET /v1/vms?${'x'.repeat(20_000)}`), 431, 'too-large'],
  ['headers that do not end', 'GET /v1/vms HTTP/1.1\r\nHost: gp\r\n', 408, 'deadline'],
  ['no request at all', '\u0000\u0001\u0002\r\n\r\n', 400, 'bad-input'],
  ['a method that nobody knows', head('FETCH /v1/vms'), 400, 'bad-input'],
  ['a method that we have not', head('PROPFIND /v1/vms'), 404, 'not-found'],
  ['TRACE', head('TRACE /v1/vms'), 404, 'not-found'],
  ['CONNECT', head('CONNECT 10.0.0.1:22'), 400, 'bad-input'],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'bad-input'],
  ['no header Host', `GET /v1/vms HTTP/1.1\r\nConnection: close\r\n${token}\r\n`, 400, 'bad-input'],
  ['two lengths', head('POST /v1/vms', 'Content-Length: 2\r\nContent-Length: 3\r\n'), 400, 'bad-input'],
  [
    'a length and chunks',
    head('POST /v1/vms', 'Content-Length: 2\r\nTransfer-Encoding: chunked\r\n'),
    400,
    'bad-input',
  ],
  ['a chunk that is none', `${head('POST /v1/vms', `${json}Transfer-Encoding: chunked\r\n`)}zz\r\n`, 400, 'bad-input'],
  ['an encoding that nobody has', head('POST /v1/vms', `${json}Transfer-Encoding: zip\r\n`), 400, 'bad-input'],
  ['Expect', `${head('POST /v1/vms', `${json}Expect: x\r\nContent-Length: 2\r\n`)}{}`, 400, 'bad-input'],
  ['a control character in a header', head('GET /v1/vms', 'X: a\u0001b\r\n'), 400, 'bad-input'],
  [
    'an upgrade to nothing',
    head('GET /v1/vms', '').replace('Connection: close', 'Connection: Upgrade\r\nUpgrade: h3'),
    400,
    'bad-input',
  ],
  ['a DELETE with a body', `${head('DELETE /v1/vms/web9', `${json}Content-Length: 9\r\n`)}{"a":"b"}`, 400, 'bad-input'],
  ['no JSON', `${head('POST /v1/vms', `${json}Content-Length: 5\r\n`)}{"\u001b[2`, 400, 'bad-input'],
];

for (const [what, request, status, code] of CASES) {
  test(`${what} is answered with problem details`, async () => {
    for (const port of ports) {
      const text = await heard(port, request);
      const [headers = '', body = ''] = text.split('\r\n\r\n');
      assert.match(headers, new RegExp(`^HTTP/1\\.1 ${status} `), text);
      assert.match(headers, /content-type: application\/problem\+json/i, text);
      const problem: unknown = JSON.parse(body);
      assert(Value.Check(ProblemSchema, problem), body);
      assert.deepEqual([problem.status, problem.code], [status, code]);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may come back
      assert.doesNotMatch(JSON.stringify(Object.values(problem)), /\\u00|[\u0000-\u001f\u007f]/);
    }
  });
}
