/** The service's bounds, at a loopback address: who asks, how much, how long. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { parseNetworkName, parseVmId } from '../../base/ids.ts';
import { HostGuests } from '../../core/agent/host-guests.ts';
import type { NetworkPlan } from '../../core/ports/host-link.ts';
import { until } from '../../os/testing/until.ts';
import { MetadataService } from './service.ts';

const PORT = 17_446;
const GATEWAY = '127.0.0.9';
const PLAN: NetworkPlan = {
  revision: 1,
  networks: [
    {
      ...{ name: parseNetworkName('lan'), vni: 100, peers: [], nat: false, dhcp: [], metadata: true },
      gateway: { address: GATEWAY, prefixLength: 8 },
    },
  ],
  drop: [],
  guests: [
    { vm: parseVmId('vm-000000000001'), name: 'web', vni: 100, address: '127.0.0.10', incarnation: 1, event: null },
  ],
};

function serving(t: { after: (end: () => void) => void }): { guests: HostGuests; service: MetadataService } {
  const guests = new HostGuests();
  const service = new MetadataService(guests, { info: () => undefined, warn: () => undefined }, PORT);
  guests.planned(PLAN);
  service.follow();
  t.after(() => service.close());
  return { guests, service };
}

/** The HTTP status that a guest at an address gets, or the reason why no answer came. */
function ask(localAddress: string, body: string | null = null): Promise<number | string> {
  return new Promise((resolve) => {
    const path = '/metadata/scheduledevents?api-version=2020-07-01';
    const options = { host: GATEWAY, port: PORT, path, localAddress, method: body === null ? 'GET' : 'POST' };
    const asking = request({ ...options, headers: { metadata: 'true' }, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asking.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asking.end(body ?? undefined);
  });
}

async function opened(localAddress: string): Promise<Socket> {
  const socket = connect({ host: GATEWAY, port: PORT, localAddress });
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

const closed = (socket: Socket): Promise<unknown> =>
  socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once('close', resolve));

test('a guest is answered; who is no guest of the network, or sends too much, is not', async (t) => {
  const { guests, service } = serving(t);
  assert.equal(await ask('127.0.0.10'), 200);
  assert.equal(await ask('127.0.0.11'), 'ECONNRESET');
  assert.equal(await ask('127.0.0.10', '{"StartRequests":[]}'), 400);
  assert.equal(typeof (await ask('127.0.0.10', 'x'.repeat(64 * 1024))), 'string');
  guests.planned({ ...PLAN, networks: [] });
  service.follow();
  assert.equal(await ask('127.0.0.10'), 'ECONNREFUSED');
});

test('a guest that only opens connections has four of them, for five seconds, and keeps no other guest out', async (t) => {
  const { guests } = serving(t);
  const [first] = PLAN.guests ?? [];
  assert(first !== undefined);
  guests.planned({ ...PLAN, guests: [first, { ...first, name: 'other', address: '127.0.0.12' }] });
  const idle = await Promise.all([1, 2, 3, 4].map(() => opened('127.0.0.10')));
  assert.equal(await ask('127.0.0.10'), 'ECONNRESET');
  assert.equal(await ask('127.0.0.12'), 200);
  await Promise.all(idle.map(closed));
  assert.equal(await ask('127.0.0.10'), 200);
});

/** Sends something and waits for the end of the connection; the milliseconds until then. */
async function untilClosed(localAddress: string, text: string): Promise<number> {
  const socket = await opened(localAddress);
  const startMs = performance.now();
  socket.resume().write(text);
  await closed(socket);
  return performance.now() - startMs;
}

const REQUEST = 'GET /metadata/scheduledevents?api-version=2020-07-01 HTTP/1.1\r\nhost: x\r\nmetadata: true\r\n';

test('headers that do not end or are too large, and a body that does not come, are not waited for', async (t) => {
  serving(t);
  const post = REQUEST.replace('GET', 'POST');
  const tookMs = await Promise.all([
    untilClosed('127.0.0.10', REQUEST),
    untilClosed('127.0.0.10', `${post}content-length: 1000\r\n\r\n{`),
  ]);
  assert.ok(Math.max(...tookMs) < 10_000, `${tookMs.join()} ms`);
  // More than that is not even awaited.
  const large = await untilClosed('127.0.0.10', `${REQUEST}x: ${'y'.repeat(32 * 1024)}`);
  assert.ok(large < 3_000, `${large} ms`);
  assert.equal(await ask('127.0.0.10'), 200);
});

test('a guest that opens a thousand connections has four, and another guest is answered meanwhile', async (t) => {
  const { guests } = serving(t);
  const [first] = PLAN.guests ?? [];
  assert(first !== undefined);
  guests.planned({ ...PLAN, guests: [first, { ...first, name: 'other', address: '127.0.0.12' }] });
  const sockets = Array.from({ length: 1_000 }, () =>
    connect({ host: GATEWAY, port: PORT, localAddress: '127.0.0.10' }),
  );
  for (const socket of sockets) socket.on('error', () => socket.destroy()).resume();
  const answered = await ask('127.0.0.12');
  const isOpen = (socket: Socket): boolean => !socket.destroyed && socket.readyState === 'open';
  await until('all but four are refused', () => sockets.filter(isOpen).length <= 4);
  for (const socket of sockets) socket.destroy();
  assert.equal(answered, 200);
});
