import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { duplexPair } from 'node:stream';
import { test } from 'node:test';
import type { PeerIdentity } from '../base/identity.ts';
import { parseControlName, parseHostName } from '../base/ids.ts';
import { createAuthority, issue } from '../pki/authority.ts';
import { connectQmp, type QmpConnection } from './connect.ts';

const CONTROL: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
const HOST: PeerIdentity = { kind: 'host', name: parseHostName('h1') };
const authority = await createAuthority({ clusterName: 'lab', daysValid: 1 });
const credentials = { caPem: authority.certPem, ...(await issue(authority, { identity: CONTROL, daysValid: 1 })) };

/**
 * The result of an attempt at a server that behaves like `onConnection`, and whether the attempt closed the connection.
 */
async function attempt(onConnection: (socket: Socket) => void, deadlineMs: number): Promise<QmpConnection> {
  const server: Server = createServer();
  try {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert(address !== null && typeof address === 'object');
    const gone = new Promise<void>((resolve) => {
      server.once('connection', (socket) => {
        socket.on('error', () => undefined);
        socket.once('close', () => resolve());
        onConnection(socket);
      });
    });
    const connection = await connectQmp(
      { kind: 'tls', host: '127.0.0.1', port: address.port, credentials, peer: HOST },
      { deadlineMs },
    );
    await gone;
    return connection;
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

test('nobody listens: refused', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert(address !== null && typeof address === 'object');
  await new Promise((resolve) => server.close(resolve));
  const connection = await connectQmp(
    { kind: 'tls', host: '127.0.0.1', port: address.port, credentials, peer: HOST },
    { deadlineMs: 10_000 },
  );
  assert.equal(connection.outcome, 'refused');
  assert.equal(
    (await connectQmp({ kind: 'unix', path: '/nonexistent/qmp' }, { deadlineMs: 10_000 })).outcome,
    'refused',
  );
});

test('accepted and then nothing: accepted-but-silent, with our own lateness', async () => {
  const connection = await attempt((socket) => socket.resume(), 100);
  assert.equal(connection.outcome, 'accepted-but-silent');
  assert(connection.lateByMs >= 0);
});

test('ended, reset or answered with something else: rejected', async () => {
  const behaviours: ((socket: Socket) => void)[] = [
    (socket) => socket.destroy(),
    (socket) => socket.resetAndDestroy(),
    (socket) => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n'),
  ];
  for (const behaviour of behaviours) assert.equal((await attempt(behaviour, 10_000)).outcome, 'rejected');
});

test('an address that is none is unreachable, not silent', async () => {
  const connection = await connectQmp(
    { kind: 'tls', host: '255.255.255.255', port: 9, credentials, peer: HOST },
    { deadlineMs: 10_000 },
  );
  assert.equal(connection.outcome, 'unreachable');
});

test('a tunnel that says nothing is accepted-but-silent and is let go', async () => {
  const [ours, theirs] = duplexPair();
  const connection = await connectQmp(
    { kind: 'stream', stream: ours, tls: { credentials, peer: HOST } },
    { deadlineMs: 50 },
  );
  assert.equal(connection.outcome, 'accepted-but-silent');
  assert(ours.destroyed);
  theirs.destroy();
});
