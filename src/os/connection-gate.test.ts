import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { after, afterEach, test } from 'node:test';
import { ConnectionGate, type GateOptions } from './connection-gate.ts';
import { until } from './testing/until.ts';

const OPTIONS: GateOptions<'member' | 'other'> = {
  strangers: { max: 6, perAddressMax: 3 },
  proveMs: 60_000,
  ranks: {
    member: { max: 4, perAddressMax: 2, perPeerMax: 9, makesRoom: false },
    other: { max: 1, perAddressMax: 1, perPeerMax: 9, makesRoom: false },
  },
};
const servers: Server[] = [];
const clients: Socket[] = [];

afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});
after(() => {
  for (const server of servers) server.close();
});

interface Listener {
  readonly gate: ConnectionGate<'member' | 'other'>;
  /** The accepted end of a new connection from a loopback address, and whether its client saw it end. */
  readonly open: (from: string) => Promise<{ readonly socket: Socket; readonly client: Socket }>;
}

async function listener(options: Partial<GateOptions<'member' | 'other'>> = {}): Promise<Listener> {
  const gate = new ConnectionGate({ ...OPTIONS, ...options });
  const server = createServer((socket) => gate.admit(socket));
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const open: Listener['open'] = async (from) => {
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const client = connect({ port, host: '127.0.0.1', localAddress: from });
    clients.push(client.on('error', () => undefined).resume());
    const [socket] = await accepted;
    return { socket, client };
  };
  return { gate, open };
}

test('an address has few strangers: the one that waited longest makes room, and others keep theirs', async () => {
  const { open } = await listener();
  const other = await open('127.0.0.2');
  const mine = [];
  for (let count = 0; count < 5; count++) mine.push(await open('127.0.0.1'));
  assert.deepEqual(
    mine.map(({ socket }) => socket.destroyed),
    [true, true, false, false, false],
  );
  assert.equal(other.socket.destroyed, false);
});

test('where all strangers are many, the address that has most of them gives', async () => {
  const { open } = await listener();
  const many = [];
  for (let count = 0; count < 3; count++) many.push(await open('127.0.0.1'));
  const few = [];
  for (const last of [2, 3, 4, 5]) few.push(await open(`127.0.0.${last}`));
  assert.deepEqual(
    many.map(({ socket }) => socket.destroyed),
    [true, false, false],
  );
  assert.ok(few.every(({ socket }) => !socket.destroyed));
});

test('who proved itself is not touched by any number of strangers, and has a share that others cannot use', async () => {
  const { gate, open } = await listener();
  const first = await open('127.0.0.1');
  assert.equal(gate.prove(first.socket, 'member', 'm'), true);
  const second = await open('127.0.0.2');
  assert.equal(gate.prove(second.socket, 'other', 'o'), true);
  for (let count = 0; count < 40; count++) await open(`127.0.0.${1 + (count % 9)}`);
  assert.equal(first.socket.destroyed, false);
  const third = await open('127.0.0.3');
  assert.equal(gate.prove(third.socket, 'other', 'o'), false, 'the share of that rank is full');
  assert.equal(third.socket.destroyed, true);
  const fourth = await open('127.0.0.1');
  assert.equal(gate.prove(fourth.socket, 'member', 'm'), true);
  const fifth = await open('127.0.0.1');
  assert.equal(gate.prove(fifth.socket, 'member', 'm'), false, 'the share of that address is full');
  first.client.destroy();
  await once(first.socket, 'close');
  const sixth = await open('127.0.0.1');
  assert.equal(gate.prove(sixth.socket, 'member', 'm'), true, 'what is closed gives its room back');
  assert.equal(gate.prove(sixth.socket, 'member', 'm'), true, 'and proving again changes nothing');
});

test('one identity has a bound, from whatever addresses it comes, and keeps no other one out', async () => {
  const ranks = {
    member: { max: 6, perAddressMax: 4, perPeerMax: 5, makesRoom: true },
    other: OPTIONS.ranks.other,
  };
  const { gate, open } = await listener({ ranks });
  const greedy: Socket[] = [];
  const member = async (from: string, peer: string): Promise<boolean> => {
    const { socket } = await open(from);
    if (peer === 'greedy') greedy.push(socket);
    return gate.prove(socket, 'member', peer);
  };
  const asked = [];
  for (const last of [1, 1, 1, 1, 1, 2, 2]) asked.push(await member(`127.0.0.${last}`, 'greedy'));
  assert.deepEqual(asked, [true, true, true, true, false, true, false], 'by address, then by identity');
  // On the same address, whose share is full: the identity with the most connections gives one up.
  assert.equal(await member('127.0.0.1', 'modest'), true);
  assert.equal(await member('127.0.0.1', 'modest'), true);
  assert.equal(await member('127.0.0.1', 'modest'), false, 'no more than the other one');
  assert.equal(await member('127.0.0.1', 'greedy'), false, 'who has most gets no more by that');
  assert.deepEqual(
    greedy.slice(0, 4).map(({ destroyed }) => destroyed),
    [true, true, false, false],
  );
  // All shares are full: the result is the same.
  assert.equal(await member('127.0.0.3', 'third'), true);
  assert.equal(await member('127.0.0.4', 'fourth'), true);
  assert.equal(greedy[2]?.destroyed, true);
});

test('a stranger has a deadline; who proved itself in time has none', async () => {
  const due: (() => void)[] = [];
  const { gate, open } = await listener({
    after: (_delayMs, callback) => {
      due.push(callback);
      return () => void due.splice(due.indexOf(callback), 1);
    },
  });
  const silent = await open('127.0.0.1');
  const member = await open('127.0.0.1');
  gate.prove(member.socket, 'member', 'm');
  assert.equal(due.length, 1);
  for (const callback of due.splice(0)) callback();
  assert.equal(silent.socket.destroyed, true);
  assert.equal(member.socket.destroyed, false);
  await until('the client saw the end', () => silent.client.destroyed);
  assert.equal(gate.prove(silent.socket, 'member', 'm'), false, 'too late');
});
