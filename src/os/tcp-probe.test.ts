import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { probeTcp } from './tcp-probe.ts';

test('a listener accepts; without one the kernel refuses', async () => {
  const server = createServer((socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  assert.deepEqual(await probeTcp({ address: '127.0.0.1', port }, 5_000), { outcome: 'accepted', lateMs: 0 });
  server.close();
  await once(server, 'close');
  assert.deepEqual(await probeTcp({ address: '127.0.0.1', port }, 5_000), { outcome: 'refused', lateMs: 0 });
});

test('a fault of our own side says nothing about the peer', async () => {
  // There is no TCP route from a loopback source to a multicast address: our own kernel says so.
  const { outcome } = await probeTcp({ address: '224.0.0.1', port: 9 }, 5_000);
  assert.equal(outcome, 'void');
});

test('a prober that was itself held up does not speak of silence', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const probing = probeTcp({ address: '127.0.0.1', port }, 1);
  const until = performance.now() + 300;
  while (performance.now() < until);
  // The answer came in time and was only read late: it counts; if it did not come, nothing is concluded.
  assert.match((await probing).outcome, /^(accepted|void)$/);
  server.close();
});
