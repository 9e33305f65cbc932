/** The service's bounds, at a loopback address: who asks, how much, how long. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { parseNetworkName, parseVmId } from '../../base/ids.ts';
import { HostGuests } from '../../core/agent/host-guests.ts';
import type { NetworkPlan } from '../../core/ports/host-link.ts';
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
