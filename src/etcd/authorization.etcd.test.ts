/** Who gets into etcd: three real members, certificates of one authority, users by their common names. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:https';
import { after, before, test } from 'node:test';
import { present } from '../base/assert.ts';
import { parseControlName, parseGeneration, parseHostName, parseStorageName, parseVmId } from '../base/ids.ts';
import type { PeerIdentity } from '../pki/identity.ts';
import { allowReader, ensureAuthorization, revokeUser } from './authorization.ts';
import { EtcdClient } from './client.ts';
import { campaign } from './election.ts';
import { follow } from './follow.ts';
import { startProxy } from './testing/etcd-cluster.ts';
import { type IdentityCluster, startIdentityCluster } from './testing/identity-cluster.ts';

const control = (name: string): PeerIdentity => ({ kind: 'control', name: parseControlName(name) });
const storage = (name: string): PeerIdentity => ({ kind: 'storage', name: parseStorageName(name) });
const HOST: PeerIdentity = { kind: 'host', name: parseHostName('h1') };
const INCARNATION: PeerIdentity = {
  kind: 'incarnation',
  vmId: parseVmId('vm-0123456789ab'),
  generation: parseGeneration(7),
};
const WANTED = {
  controls: ['control:c1', 'control:c2', 'control:c3'],
  readers: ['storage:s1'],
  readPrefix: '/gp/',
  writePrefix: '/gp/reservation/',
};
const FORBIDDEN = { name: 'CodedError', code: 'forbidden' };

let cluster: IdentityCluster;
let controls: readonly EtcdClient[] = [];
let c1: EtcdClient;
let c2: EtcdClient;
let host: EtcdClient;

const clientOf = async (identity: PeerIdentity): Promise<EtcdClient> =>
  new EtcdClient({ ...(await cluster.optionsOf(identity)), deadlineMsDefault: 5_000 });
const put = (client: EtcdClient, key: string, value: string) =>
  client.txn({ compare: [], success: [{ put: key, value }] });

before(async () => {
  cluster = await startIdentityCluster(3);
  controls = await Promise.all(['c1', 'c2', 'c3'].map((name) => clientOf(control(name))));
  c1 = present(controls[0], 'c1');
  c2 = present(controls[1], 'c2');
  host = await clientOf(HOST);
});

after(async () => {
  for (const client of [...controls, host]) client?.close();
  await cluster?.stop();
});

/** Resolves when a lease of the shortest kind has run out that nobody renewed: others that live on were renewed since. */
async function untilALeaseRanOut(client: EtcdClient, key: string): Promise<void> {
  const { lease } = await client.leaseGrant(1);
  const { revision } = await client.txn({ compare: [], success: [{ put: key, value: '', lease }] });
  const gone = new AbortController();
  await client.watch(key, {
    fromRevision: revision + 1,
    signal: AbortSignal.any([gone.signal, AbortSignal.timeout(20_000)]),
    onEvents: () => gone.abort(),
  });
  assert.ok(gone.signal.aborted, 'the lease ran out');
}

test('what would lock its caller out, or makes no sense, is refused and changes nothing', async () => {
  const bad = [
    { ...WANTED, controls: ['control:c2'] },
    { ...WANTED, controls: [] },
    { ...WANTED, controls: [...WANTED.controls, 'root'] },
    { ...WANTED, readers: [''] },
    { ...WANTED, readers: ['control:c2'] },
    { ...WANTED, readPrefix: '/gp' },
    { ...WANTED, writePrefix: '/gp/reservation' },
  ];
  for (const wanted of bad) await assert.rejects(ensureAuthorization(c1, wanted), { code: 'bad-input' });
  await assert.rejects(allowReader(c1, 'root'), { code: 'bad-input' });
  // A reader before there is a role: the user stays without it, as after a crash half-way.
  await assert.rejects(allowReader(c1, 'storage:s1'), { code: 'not-found' });
  assert.equal((await put(host, '/gp/vm', 'x')).succeeded, true, 'nothing is enabled');
});

test('three control nodes enable it at once, under running writers, a watch and a campaign', async () => {
  const leadership = await campaign(c1, { prefix: '/gp/leader', value: 'c1', ttlSeconds: 2 });
  let hasNextWon = false;
  const next = campaign(c2, { prefix: '/gp/leader', value: 'c2', ttlSeconds: 2 }).then((won) => {
    hasNextWon = true;
    return won;
  });
  const start = await c1.list('/gp/w/');
  const stop = new AbortController();
  const seen: string[] = [];
  const losses: unknown[] = [];
  const watching = c2.watch('/gp/w/', {
    fromRevision: start.revision + 1,
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(60_000)]),
    onDisconnected: (error) => losses.push(error),
    onEvents: (events) => {
      for (const event of events) seen.push(event.key);
      if (seen.includes('/gp/w/last')) stop.abort();
    },
  });
  let isEnabled = false;
  const written: string[] = [];
  const writers = controls.map(async (client, i) => {
    for (let n = 0; !isEnabled || n < 50; n += 1) {
      written.push(`/gp/w/${i}-${n}`);
      const guarded = { compare: [leadership.compare], success: [{ put: `/gp/w/${i}-${n}`, value: '1' }] };
      assert.equal((await client.txn(guarded)).succeeded, true);
      assert.equal((await client.get(`/gp/w/${i}-${n}`))?.value, '1');
    }
  });
  await Promise.all(controls.map((client) => ensureAuthorization(client, WANTED)));
  isEnabled = true;
  await assert.rejects(host.get('/gp/vm'), FORBIDDEN, 'enabled');
  await Promise.all(writers);

  await untilALeaseRanOut(c1, '/gp/clock');
  assert.ok(leadership.isValid(), 'renewed after it was enabled');
  assert.equal(hasNextWon, false);
  await leadership.resign();
  const second = await next;
  assert.ok(second.isValid() && second.createRevision > leadership.createRevision);
  await untilALeaseRanOut(c1, '/gp/clock');
  assert.ok(second.isValid());
  await second.resign();

  await put(c1, '/gp/w/last', '1');
  await watching;
  assert.deepEqual(seen.slice().sort(), [...written, '/gp/w/last'].sort());
  assert.deepEqual(losses, []);
  await ensureAuthorization(c1, WANTED); // again, when all is done
});

test('a host and a VM get to no key: not to read, write, watch, lead, nor to end a lease of others', async () => {
  const incarnation = await clientOf(INCARNATION);
  const kept = c1.keepLease(await c1.leaseGrant(2));
  await c1.txn({ compare: [], success: [{ put: '/gp/kept', value: '1', lease: kept.lease }] });
  try {
    for (const client of [host, incarnation]) {
      await assert.rejects(client.get('/gp/vm'), { ...FORBIDDEN, message: /permission denied/ });
      await assert.rejects(client.get('/gp/vm', { serializable: true }), FORBIDDEN);
      await assert.rejects(client.list('/'), FORBIDDEN);
      await assert.rejects(put(client, '/gp/vm', 'mine'), FORBIDDEN);
      await assert.rejects(put(client, '/elsewhere', 'mine'), FORBIDDEN);
      await assert.rejects(client.txn({ compare: [], success: [{ deletePrefix: '/' }] }), FORBIDDEN);
      await assert.rejects(client.txn({ compare: [{ key: '/gp/vm', exists: true }], success: [] }), FORBIDDEN);
      await assert.rejects(client.watch('/gp/', { fromRevision: 1, onEvents: () => assert.fail() }), FORBIDDEN);
      const handlers = { onListing: () => assert.fail(), onEvents: () => assert.fail() };
      await assert.rejects(follow(client, '/gp/', handlers), FORBIDDEN);
      await assert.rejects(campaign(client, { prefix: '/gp/leader', value: 'x', ttlSeconds: 2 }), FORBIDDEN);
      await assert.rejects(client.leaseRevoke(kept.lease), FORBIDDEN);
      const self = present(client.commonName, 'common name');
      await assert.rejects(ensureAuthorization(client, { ...WANTED, controls: [self] }), FORBIDDEN);
      await assert.rejects(allowReader(client, self), FORBIDDEN);
      await assert.rejects(revokeUser(client, 'control:c1'), FORBIDDEN);
      await assert.rejects(revokeUser(client, 'nobody'), FORBIDDEN);
    }
    assert.equal((await c1.get('/gp/vm'))?.value, 'x');
    assert.ok(kept.isValid());
  } finally {
    incarnation.close();
    await c1.leaseRevoke(kept.lease);
  }
});

test('a storage service reads and watches its prefix, and writes reservations and nothing else', async () => {
  const reader = await clientOf(storage('s1'));
  const stop = new AbortController();
  try {
    assert.equal((await reader.get('/gp/vm'))?.value, 'x');
    const values: string[] = [];
    await follow(reader, '/gp/s/', {
      signal: AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]),
      onListing: async () => {
        await put(c1, '/gp/s/1', 'one');
      },
      onEvents: (events) => {
        for (const event of events) if (event.type === 'put') values.push(event.kv.value);
        stop.abort();
      },
    });
    assert.deepEqual(values, ['one']);
    await put(c1, '/other', 'not for readers');
    await assert.rejects(reader.get('/other'), FORBIDDEN);
    await assert.rejects(reader.list('/'), FORBIDDEN);
    await assert.rejects(reader.watch('/', { fromRevision: 1, onEvents: () => assert.fail() }), FORBIDDEN);
    for (const key of ['/gp/vm', '/gp/reservation', '/gp/reservatioo', '/gp/secret/target', '/other'])
      await assert.rejects(put(reader, key, 'mine'), FORBIDDEN);
    const key = '/gp/reservation/disk-1';
    const swap = { compare: [{ key, modRevision: 0 }], success: [{ put: key, value: 'mine' }] };
    assert.deepEqual([(await reader.txn(swap)).succeeded, (await reader.txn(swap)).succeeded], [true, false]);
    await assert.rejects(put(host, key, 'theirs'), FORBIDDEN);
    await assert.rejects(host.get(key), FORBIDDEN);
    await assert.rejects(reader.txn({ compare: [], success: [{ delete: '/gp/vm' }] }), FORBIDDEN);
    await assert.rejects(allowReader(reader, 'host:h1'), FORBIDDEN);
    await assert.rejects(revokeUser(reader, 'storage:s1'), FORBIDDEN);
    assert.equal((await c1.get('/gp/vm'))?.value, 'x');
  } finally {
    reader.close();
  }
});

test('a reader that is let in later, and revoked', async () => {
  const reader = await clientOf(storage('s2'));
  try {
    await assert.rejects(reader.get('/gp/vm'), FORBIDDEN);
    await Promise.all(controls.map((client) => allowReader(client, 'storage:s2')));
    assert.equal((await reader.get('/gp/vm'))?.value, 'x');
    // Of another control node than the one that let it in, through whichever member.
    await Promise.all([revokeUser(c1, 'storage:s2'), revokeUser(c2, 'storage:s2')]);
    await assert.rejects(reader.get('/gp/vm'), FORBIDDEN);
    await assert.rejects(reader.watch('/gp/', { fromRevision: 1, onEvents: () => assert.fail() }), FORBIDDEN);
    await revokeUser(c1, 'storage:s2');
  } finally {
    reader.close();
  }
});

test('users that come and go disturb neither reads nor writes of others', async () => {
  let isOver = false;
  let count = 0;
  const others = controls.flatMap((client, i) =>
    Array.from({ length: 4 }, async () => {
      while (!isOver) {
        await client.get('/gp/vm');
        assert.equal((await put(client, `/gp/busy/${i}`, 'x')).succeeded, true);
        count += 1;
      }
    }),
  );
  try {
    for (let round = 0; round < 15; round += 1) {
      await allowReader(c1, 'storage:s3');
      await revokeUser(c2, 'storage:s3');
    }
  } finally {
    isOver = true;
    await Promise.all(others);
  }
  assert.ok(count > 15);
});

test('when the leading member dies the others know the users', async () => {
  const leader = (await c1.status()).find((state) => 'isLeader' in state && state.isLeader);
  const member = present(
    cluster.members.find(({ clientAddress }) => clientAddress === leader?.endpoint),
    'leader',
  );
  await cluster.kill(member.name);
  await assert.rejects(host.get('/gp/vm', { deadlineMs: 15_000 }), FORBIDDEN);
  assert.equal((await c1.get('/gp/vm', { deadlineMs: 15_000 }))?.value, 'x');
});

/** What the peer port answers to a certificate, from a source address: an HTTP status, or undefined for no answer. */
async function askPeerPort(identity: PeerIdentity, localAddress: string): Promise<number | undefined> {
  const { tls } = await cluster.optionsOf(identity);
  const member = present(
    cluster.members.find(({ process }) => process.exitCode === null && process.signalCode === null),
    'a member that runs',
  );
  const asking = request({
    host: member.clientAddress.split(':')[0],
    port: 2380,
    path: '/members',
    localAddress,
    ca: tls?.caPem,
    cert: tls?.certPem,
    key: tls?.keyPem,
    checkServerIdentity: () => undefined,
    signal: AbortSignal.timeout(60_000),
  });
  asking.end();
  try {
    const [answer] = await once(asking, 'response');
    answer.resume();
    return answer.statusCode;
  } catch (error) {
    assert.match(String(error), /socket hang up|ECONNRESET/);
    return undefined;
  }
}

test('the port for members refuses certificates without the address that they come from', async () => {
  assert.equal(await askPeerPort(control('c1'), '127.0.0.1'), 200);
  assert.equal(await askPeerPort(control('c1'), '127.9.9.9'), undefined, 'a control node from elsewhere');
  assert.equal(await askPeerPort(HOST, '127.0.0.1'), undefined);
  assert.equal(await askPeerPort(INCARNATION, '127.0.0.1'), undefined);
  assert.equal(await askPeerPort(storage('s1'), '127.0.0.1'), undefined);
});

test('without a server name each member must hold the address of its endpoint', async () => {
  const warnings: string[] = [];
  const onWarning = (warning: Error): void => {
    if (/ServerName/.test(warning.message)) warnings.push(warning.message);
  };
  process.on('warning', onWarning);
  await put(c1, '/gp/named', 'x');
  const member = present(
    cluster.members.find(({ process }) => process.exitCode === null && process.signalCode === null),
    'a member that runs',
  );
  const proxies = await Promise.all(
    ['127.0.0.1', '127.9.9.9'].map((listenHost) => startProxy(member.clientAddress, 'open', listenHost)),
  );
  const [held, other] = await Promise.all(
    proxies.map(async ({ address }) => new EtcdClient(await cluster.optionsOf(control('c1'), [address]))),
  );
  try {
    assert.equal((await held?.get('/gp/named'))?.value, 'x');
    await assert.rejects(present(other, 'client').get('/gp/named'), { code: 'unavailable', message: /altnames/ });
    assert.deepEqual(warnings, []);
  } finally {
    process.off('warning', onWarning);
    held?.close();
    other?.close();
    await Promise.all(proxies.map((proxy) => proxy.close()));
  }
});
