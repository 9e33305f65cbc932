import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { flood, stillOpen } from '../os/testing/flood.ts';
import { until } from '../os/testing/until.ts';
import { type ApiProxy, startApiProxy } from './api-proxy.ts';

const DEADLINE_MS = 20_000;
const nodes: Server[] = [];
const sockets: Socket[] = [];
let directory: string;
let proxy: ApiProxy | undefined;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'groundplane-proxy-'));
});

beforeEach(async () => {
  await proxy?.close();
});

after(async () => {
  await proxy?.close();
  for (const node of nodes) node.close();
  for (const socket of sockets) socket.destroy();
  await rm(directory, { recursive: true });
});

/** A control node's socket; `behave` gets each connection. */
async function node(name: string, behave: (socket: Socket) => void): Promise<string> {
  const path = join(directory, name);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => socket.destroy());
    behave(socket);
  });
  nodes.push(server.listen(path));
  await once(server, 'listening');
  return path;
}

const echoAs = (name: string) => (socket: Socket) => {
  socket.on('data', (chunk) => socket.write(`${name}:${chunk}`));
  socket.on('end', () => socket.end());
};

async function exchange(port: number, text: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  sockets.push(socket);
  socket.end(text);
  let heard = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    heard += chunk;
  });
  await once(socket, 'close', { signal: AbortSignal.timeout(DEADLINE_MS) });
  return heard;
}

test('a dead node is passed over, and tried last from then on', async () => {
  let asked = 0;
  const flaky = await node('flaky', (socket) => {
    asked += 1;
    socket.destroy();
  });
  const good = await node('good', echoAs('good'));
  proxy = await startApiProxy({ ports: [0], socketPaths: [join(directory, 'absent'), flaky, good] });
  assert.equal(await exchange(proxy.port, 'hello'), 'good:hello');
  assert.equal(await exchange(proxy.port, 'again'), 'good:again');
  assert.equal(asked, 1);
});

test('a node that accepts and keeps silent is passed over; the only one is waited for', async () => {
  const frozen = await node('frozen', () => undefined);
  const awake = await node('awake', echoAs('awake'));
  proxy = await startApiProxy({ ports: [0], socketPaths: [frozen, awake], firstAnswerMs: 50 });
  assert.equal(await exchange(proxy.port, 'hello'), 'awake:hello');
  await proxy.close();
  const slow = await node('slow', (socket) => {
    socket.once('data', (chunk) => setTimeout(() => socket.end(`slow:${chunk}`), 300));
  });
  proxy = await startApiProxy({ ports: [0], socketPaths: [slow], firstAnswerMs: 50 });
  assert.equal(await exchange(proxy.port, 'hello'), 'slow:hello');
});

test('without any node the client is let go', async () => {
  proxy = await startApiProxy({ ports: [0], socketPaths: [join(directory, 'absent')] });
  assert.equal(await exchange(proxy.port, 'hello').catch(() => ''), '');
});

test('much data arrives whole, both ways', async () => {
  const mirror = await node('mirror', (socket) => socket.pipe(socket));
  proxy = await startApiProxy({ ports: [0], socketPaths: [mirror] });
  const text = randomBytes(2 * 1024 * 1024).toString('hex');
  assert.equal((await exchange(proxy.port, text)) === text, true);
});

test('clients that say nothing, half-close or are never answered end, and while they come others are answered', async () => {
  const picky = await node('picky', (socket) => {
    socket.once('data', (chunk) => {
      if (String(chunk).startsWith('hello')) socket.end(`picky:${chunk}`);
    });
  });
  proxy = await startApiProxy({ ports: [0], socketPaths: [picky], unansweredMs: 2_000 });
  const silent = flood({ host: '127.0.0.1', port: proxy.port, count: 150 });
  sockets.push(...silent);
  for (let round = 0; round < 5; round++) assert.equal(await exchange(proxy.port, 'hello'), 'picky:hello');
  await until('all of them are ended', () => stillOpen(silent) === 0);
  assert.equal(await exchange(proxy.port, 'hello'), 'picky:hello');
});

test('a client that closed its direction and is answered without end is let go', async () => {
  const endless = await node('endless', (socket) => socket.once('data', () => socket.write('more to come')));
  proxy = await startApiProxy({ ports: [0], socketPaths: [endless], halfClosedMs: 100 });
  assert.equal(await exchange(proxy.port, 'hello'), 'more to come');
});

test('a port in use is refused when it was asked for, else another one is taken', async () => {
  proxy = await startApiProxy({ ports: [0], socketPaths: [] });
  const { port } = proxy;
  await assert.rejects(startApiProxy({ ports: [port], socketPaths: [] }), (error) => {
    return error instanceof CodedError && error.code === 'conflict' && /--api-port/.test(error.advice ?? '');
  });
  const other = await startApiProxy({ ports: [port, 0], socketPaths: [] });
  assert.notEqual(other.port, port);
  await other.close();
});
