import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { after, before, test } from 'node:test';
import type { PeerIdentity } from '../base/identity.ts';
import { parseControlName, parseHostName, parseStorageName, parseVmId } from '../base/ids.ts';
import type { BackupPlaceList, BackupPlaceState } from '../core/model/backup.ts';
import { PORTS, portsOfSlot } from '../core/model/ports.ts';
import { createAuthority, issue } from '../pki/authority.ts';
import type { Credentials } from '../pki/credentials.ts';
import { RpcClient } from '../rpc/client.ts';
import { OwnIdentity } from '../rpc/own-identity.ts';
import type { Parser } from '../rpc/parse.ts';
import type { RpcService } from '../rpc/service.ts';
import { RpcClients } from './links/clients.ts';
import { askBackups, askConsolePeers, controlAnswers } from './links/control-peer.ts';
import { startPeerService } from './peer-service.ts';

/** The ports are fixed, the loopback address is not: tests that run at the same time do not meet. */
const ADDRESS = `127.${randomInt(64, 250)}.${randomInt(1, 250)}.${randomInt(1, 250)}`;
const QMP_PORT = portsOfSlot(3).qmp[0];
const DEADLINE_MS = 5_000;
const C1: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
const C2: PeerIdentity = { kind: 'control', name: parseControlName('c2') };
const anything: Parser<unknown> = (value) => value;

let authority: { certPem: string; keyPem: string };
let service: RpcService;
let echo: Server;
const clients: RpcClient[] = [];
const unexpected: string[] = [];
let followsEtcd = true;
const HELD_VM = parseVmId('vm-000000000001');
const HOLDER = { name: 'ann', since: '2026-05-01T12:00:00.000Z', node: 'c1' };
const LOCAL: BackupPlaceList = {
  ...{ place: 'local', where: '/b', lastAt: 9, failure: { at: 8, message: 'No room.' }, since: 1 },
  backups: [{ file: 'c1-x', control: 'c1', takenAt: 9, revision: 7, sizeBytes: 100 }],
};
const consoleOrders: (readonly [string, string | null])[] = [];

async function credentialsOf(identity: PeerIdentity): Promise<Credentials> {
  return { caPem: authority.certPem, ...(await issue(authority, { identity, daysValid: 1 })) };
}

before(async () => {
  authority = await createAuthority({ clusterName: 'test', daysValid: 1 });
  const onUnexpected = (_error: unknown, request: string): void => void unexpected.push(request);
  service = await startPeerService({
    credentials: new OwnIdentity('/nowhere', await credentialsOf(C1)),
    address: ADDRESS,
    followsEtcd: () => followsEtcd,
    backups: () => [LOCAL],
    console: (vm, takenBy) => {
      consoleOrders.push([vm, takenBy]);
      return vm === HELD_VM ? HOLDER : null;
    },
    onUnexpected,
  });
  echo = createServer((socket) => void socket.pipe(socket));
  echo.listen(QMP_PORT, ADDRESS);
  await once(echo, 'listening');
});
after(async () => {
  for (const client of clients) client.close();
  echo.close();
  await service.close(0);
  assert.deepEqual(unexpected, []);
});

async function clientOf(identity: PeerIdentity): Promise<RpcClient> {
  const target = { address: ADDRESS, port: PORTS.controlPeer, identity: C1 };
  const client = new RpcClient({ credentials: await credentialsOf(identity), target });
  clients.push(client);
  return client;
}

const probe = (client: RpcClient, body: unknown): Promise<unknown> =>
  client.call({ method: 'POST', path: '/v1/probe', body, deadlineMs: DEADLINE_MS, parse: anything });

test('a control node is seen to be there, and one that is not is seen not to be', async () => {
  const own = new RpcClients(await credentialsOf(C2));
  try {
    const said: BackupPlaceState[] = [];
    const onSaid = {
      clock: () => undefined,
      backups: (states: readonly BackupPlaceState[]) => void said.push(...states),
    };
    assert.equal(await controlAnswers(own, { name: 'c1', address: ADDRESS }, onSaid), true);
    const { backups: _, ...state } = LOCAL;
    assert.deepEqual(said, [state]);
    assert.equal(await controlAnswers(own, { name: 'c3', address: ADDRESS }, onSaid), false, 'somebody else is there');
    assert.equal(await controlAnswers(own, { name: 'c1', address: '127.0.0.254' }, onSaid), false);
    assert.deepEqual(await askBackups(own, { name: 'c1', address: ADDRESS }), [LOCAL]);
    assert.equal(await askBackups(own, { name: 'c3', address: ADDRESS }), null);
  } finally {
    own.close();
  }
});

test('one attempt to connect: accepted or refused, to ports of hosts only', async () => {
  const client = await clientOf(C2);
  const deadlineMs = 2_000;
  assert.deepEqual(await probe(client, { address: ADDRESS, port: QMP_PORT, deadlineMs }), {
    outcome: 'accepted',
    lateMs: 0,
  });
  assert.deepEqual(await probe(client, { address: ADDRESS, port: PORTS.reachability, deadlineMs }), {
    outcome: 'refused',
    lateMs: 0,
  });
  for (const port of [22, PORTS.control, PORTS.storage, PORTS.etcdClient, 65_535])
    await assert.rejects(probe(client, { address: ADDRESS, port, deadlineMs }), { code: 'forbidden' });
  for (const wrong of [
    {},
    { address: ADDRESS, port: QMP_PORT },
    { address: ADDRESS, port: '21000', deadlineMs },
    { address: ADDRESS, port: QMP_PORT, deadlineMs: 0 },
    { address: ADDRESS, port: QMP_PORT, deadlineMs: 60_000 },
    { address: 'x'.repeat(101), port: QMP_PORT, deadlineMs },
  ])
    await assert.rejects(probe(client, wrong), { code: 'bad-input' });
});

test('what a control node would reach as leader: whether each machine answered, to ports of agents and storage services only', async () => {
  const client = await clientOf(C2);
  const reach = (targets: unknown, deadlineMs = 2_000): Promise<unknown> =>
    client.call({
      method: 'POST',
      path: '/v1/reach',
      body: { targets, deadlineMs },
      deadlineMs: DEADLINE_MS,
      parse: anything,
    });
  const listener = createServer((socket) => socket.destroy());
  listener.listen(PORTS.agent, ADDRESS);
  await once(listener, 'listening');
  // TCP to a multicast address is refused by the own kernel: what cannot be sent there is not reached.
  const targets = [
    { address: ADDRESS, port: PORTS.agent },
    { address: ADDRESS, port: PORTS.storage },
    { address: '224.0.0.1', port: PORTS.storage },
  ];
  try {
    assert.deepEqual(await reach(targets, 500), { met: [true, true, false] });
    followsEtcd = false;
    assert.deepEqual(await reach(targets), { met: null }, 'it could not lead');
    await assert.rejects(reach([{ address: ADDRESS, port: PORTS.etcdClient }]), { code: 'forbidden' });
    await assert.rejects(reach(Array(201).fill(targets[0])), { code: 'bad-input' });
    await assert.rejects(reach(targets, 60_000), { code: 'bad-input' });
  } finally {
    followsEtcd = true;
    listener.close();
  }
});

test('a relayed connection carries bytes both ways, to ports of hosts only', async () => {
  const client = await clientOf(C2);
  const relayed = await client.connectThrough({ address: ADDRESS, port: QMP_PORT }, { deadlineMs: DEADLINE_MS });
  relayed.write('{"execute": "query-status"}');
  const [answer] = (await once(relayed, 'data')) as [Buffer];
  assert.equal(answer.toString(), '{"execute": "query-status"}');
  relayed.destroy();
  const to = (port: number) => client.connectThrough({ address: ADDRESS, port }, { deadlineMs: DEADLINE_MS });
  await assert.rejects(to(PORTS.storage), { code: 'forbidden' });
  await assert.rejects(to(portsOfSlot(4).serial), { code: 'unavailable' });
});

test('nobody but control nodes is served', async () => {
  const strangers: PeerIdentity[] = [
    { kind: 'host', name: parseHostName('h1') },
    { kind: 'storage', name: parseStorageName('s1') },
  ];
  for (const identity of strangers) {
    const client = await clientOf(identity);
    const alive = client.call({ method: 'GET', path: '/v1/alive', deadlineMs: DEADLINE_MS, parse: anything });
    await assert.rejects(alive, { code: 'forbidden' });
    await assert.rejects(probe(client, { address: ADDRESS, port: QMP_PORT, deadlineMs: 100 }), { code: 'forbidden' });
    const target = { address: ADDRESS, port: QMP_PORT };
    await assert.rejects(client.connectThrough(target, { deadlineMs: DEADLINE_MS }), { code: 'forbidden' });
  }
});

test('a control node tells who holds a console through it, and hears who takes it', async () => {
  const other = new RpcClients(await credentialsOf(C2));
  const here = { name: 'c1', address: ADDRESS };
  // Nobody listens at the second address: a node that does not answer counts as holding no console.
  const controls = [{ name: 'c3', address: '127.0.0.1' }, here];
  const ask = (vm: string, takenBy: string | null) => askConsolePeers(other, controls, { vm: parseVmId(vm), takenBy });
  try {
    assert.deepEqual(await ask(HELD_VM, null), HOLDER);
    assert.deepEqual(await ask(HELD_VM, 'bob'), HOLDER);
    assert.equal(await ask('vm-000000000002', null), null);
  } finally {
    other.close();
  }
  assert.deepEqual(consoleOrders, [
    [HELD_VM, null],
    [HELD_VM, 'bob'],
    ['vm-000000000002', null],
  ]);
  const host = await clientOf({ kind: 'host', name: parseHostName('h1') });
  const body = { vm: HELD_VM, takenBy: 'h1' };
  await assert.rejects(
    host.call({ method: 'POST', path: '/v1/console', body, deadlineMs: DEADLINE_MS, parse: anything }),
    { code: 'forbidden' },
  );
});
