/** Which certificates get into etcd: three real members, certificates of one authority, users by their common names. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:https';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';
import { present } from '../base/assert.ts';
import type { PeerIdentity } from '../base/identity.ts';
import { parseControlName, parseGeneration, parseHostName, parseStorageName, parseVmId } from '../base/ids.ts';
import { allowReader, allowWriting, ensureAuthorization, forbidWriting, revokeUser } from './authorization.ts';
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
  readPrefixes: ['/gp/vm/', '/gp/s/', '/gp/reservation/'],
};
const FORBIDDEN = { name: 'CodedError', code: 'forbidden' };

let cluster: IdentityCluster;
let controls: readonly EtcdClient[] = [];
let c1: EtcdClient;
let c2: EtcdClient;
/** A storage node that was never let in: its certificate alone is not enough. */
let stranger: EtcdClient;

const clientOf = async (identity: PeerIdentity): Promise<EtcdClient> =>
  new EtcdClient({ ...(await cluster.optionsOf(identity)), deadlineMsDefault: 5_000 });
const put = (client: EtcdClient, key: string, value: string) =>
  client.txn({ compare: [], success: [{ put: key, value }] });

before(async () => {
  cluster = await startIdentityCluster(3);
  controls = await Promise.all(['c1', 'c2', 'c3'].map((name) => clientOf(control(name))));
  c1 = present(controls[0], 'c1');
  c2 = present(controls[1], 'c2');
  stranger = await clientOf(storage('s9'));
});

after(async () => {
  for (const client of [...controls, stranger]) client?.close();
  await cluster?.stop();
});

/** Resolves when a lease of the shortest kind has expired without renewal: leases that live on were renewed since. */
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
    { ...WANTED, readPrefixes: ['/gp'] },
  ];
  for (const wanted of bad) await assert.rejects(ensureAuthorization(c1, wanted), { code: 'bad-input' });
  await assert.rejects(allowReader(c1, 'root'), { code: 'bad-input' });
  // A reader before there is a role: the user stays without it, as after a crash half-way.
  await assert.rejects(allowReader(c1, 'storage:s1'), { code: 'not-found' });
  assert.equal((await put(stranger, '/gp/vm/1', 'x')).succeeded, true, 'nothing is enabled');
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
  await assert.rejects(stranger.get('/gp/vm/1'), FORBIDDEN, 'enabled');
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

test('a storage node that is no user gets to no key: not to read, write, watch, lead, nor to end a lease of others', async () => {
  const kept = c1.keepLease(await c1.leaseGrant(2));
  await c1.txn({ compare: [], success: [{ put: '/gp/kept', value: '1', lease: kept.lease }] });
  try {
    for (const client of [stranger]) {
      await assert.rejects(client.get('/gp/vm/1'), { ...FORBIDDEN, message: /permission denied/ });
      await assert.rejects(client.get('/gp/vm/1', { serializable: true }), FORBIDDEN);
      await assert.rejects(client.list('/'), FORBIDDEN);
      await assert.rejects(put(client, '/gp/vm/1', 'mine'), FORBIDDEN);
      await assert.rejects(put(client, '/elsewhere', 'mine'), FORBIDDEN);
      await assert.rejects(client.txn({ compare: [], success: [{ deletePrefix: '/' }] }), FORBIDDEN);
      await assert.rejects(client.txn({ compare: [{ key: '/gp/vm/1', exists: true }], success: [] }), FORBIDDEN);
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
    assert.equal((await c1.get('/gp/vm/1'))?.value, 'x');
    assert.ok(kept.isValid());
  } finally {
    await c1.leaseRevoke(kept.lease);
  }
});

/** Bytes that etcd's port for clients sends after a TLS handshake with this certificate, or the alert that ends it. */
async function handshake(identity: PeerIdentity, port: number): Promise<string> {
  const { tls } = await cluster.optionsOf(identity);
  const [host] = present(cluster.members[0], 'm1').clientAddress.split(':');
  const socket = connect({
    ...{ host, port, ca: tls?.caPem, cert: tls?.certPem, key: tls?.keyPem, ALPNProtocols: ['h2'] },
    checkServerIdentity: () => undefined,
  });
  try {
    // HTTP/2's preface and an empty SETTINGS frame: a server that takes the certificate answers with its own.
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
    const [first] = await once(socket, 'data', { signal: AbortSignal.timeout(20_000) });
    return `${(first as Buffer).length > 0}`;
  } catch (error) {
    return String((error as { readonly code?: unknown }).code);
  } finally {
    socket.destroy();
  }
}

test('hosts and QEMUs get no handshake at either port of etcd, so that they raise no alarm, compact nothing and grant no lease', async () => {
  for (const identity of [HOST, INCARNATION]) {
    for (const port of [2379, 2380])
      assert.match(await handshake(identity, port), /BAD_CERTIFICATE|ECONNRESET/, `${identity.kind} at ${port}`);
    const client = new EtcdClient({ ...(await cluster.optionsOf(identity)), deadlineMsDefault: 1_500 });
    try {
      const refused = { name: 'CodedError', code: 'unavailable' };
      await assert.rejects(client.get('/gp/vm/1'), refused);
      await assert.rejects(client.leaseGrant(5), refused);
      await assert.rejects(client.compact(2), refused);
      await assert.rejects(client.disarm(), refused);
      await assert.rejects(client.members(), refused);
    } finally {
      client.close();
    }
  }
  assert.equal(await handshake(control('c1'), 2379), 'true');
  assert.equal(await handshake(storage('s1'), 2379), 'true');
  assert.match(await handshake(storage('s1'), 2380), /BAD_CERTIFICATE|ECONNRESET/);
});

test('a storage service reads and watches its prefixes, and writes the keys that it was given and nothing else', async () => {
  const reader = await clientOf(storage('s1'));
  const stop = new AbortController();
  try {
    assert.equal((await reader.get('/gp/vm/1'))?.value, 'x');
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
    await assert.rejects(reader.get('/gp/token/1'), FORBIDDEN);
    await assert.rejects(reader.list('/gp/'), FORBIDDEN);
    const key = '/gp/reservation/disk-1';
    await assert.rejects(put(reader, key, 'mine'), FORBIDDEN, 'not given yet');
    const given = { commonName: 'storage:s1', key };
    await Promise.all(controls.map((client) => allowWriting(client, given)));
    await allowWriting(c1, given);
    for (const other of ['/gp/vm/1', '/gp/reservation/disk-2', `${key}0`, '/gp/secret/target', '/other'])
      await assert.rejects(put(reader, other, 'mine'), FORBIDDEN);
    const swap = { compare: [{ key, modRevision: 0 }], success: [{ put: key, value: 'mine' }] };
    assert.deepEqual([(await reader.txn(swap)).succeeded, (await reader.txn(swap)).succeeded], [true, false]);
    await assert.rejects(put(stranger, key, 'theirs'), FORBIDDEN);
    await assert.rejects(stranger.get(key), FORBIDDEN);
    await assert.rejects(reader.txn({ compare: [], success: [{ delete: '/gp/vm/1' }] }), FORBIDDEN);
    await assert.rejects(allowReader(reader, 'storage:s9'), FORBIDDEN);
    await assert.rejects(allowWriting(reader, { ...given, key: '/gp/vm/1' }), FORBIDDEN);
    await forbidWriting(c2, given);
    await forbidWriting(c2, given);
    await assert.rejects(put(reader, key, 'late'), FORBIDDEN);
    await assert.rejects(allowWriting(c1, { ...given, commonName: 'storage:s9' }), { code: 'not-found' });
    await assert.rejects(revokeUser(reader, 'storage:s1'), FORBIDDEN);
    assert.equal((await c1.get('/gp/vm/1'))?.value, 'x');
  } finally {
    reader.close();
  }
});

test('a reader that is let in later, and revoked', async () => {
  const reader = await clientOf(storage('s2'));
  try {
    await assert.rejects(reader.get('/gp/vm/1'), FORBIDDEN);
    await Promise.all(controls.map((client) => allowReader(client, 'storage:s2')));
    assert.equal((await reader.get('/gp/vm/1'))?.value, 'x');
    // By another control node than the one that let it in, through any member.
    await Promise.all([revokeUser(c1, 'storage:s2'), revokeUser(c2, 'storage:s2')]);
    await assert.rejects(reader.get('/gp/vm/1'), FORBIDDEN);
    await assert.rejects(reader.watch('/gp/vm/', { fromRevision: 1, onEvents: () => assert.fail() }), FORBIDDEN);
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
        await client.get('/gp/vm/1');
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
  await assert.rejects(stranger.get('/gp/vm/1', { deadlineMs: 15_000 }), FORBIDDEN);
  assert.equal((await c1.get('/gp/vm/1', { deadlineMs: 15_000 }))?.value, 'x');
});

/** The peer port's answer to a certificate, from a source address: an HTTP status, or undefined for no answer. */
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
    assert.match(String(error), /socket hang up|ECONNRESET|bad certificate/);
    return undefined;
  }
}

test('the port for members takes those of control nodes only, wherever they come from', async () => {
  assert.equal(await askPeerPort(control('c1'), '127.0.0.1'), 200);
  assert.equal(await askPeerPort(control('c1'), '127.9.9.9'), 200);
  for (const identity of [HOST, INCARNATION, storage('s1')])
    assert.equal(await askPeerPort(identity, '127.0.0.1'), undefined, identity.kind);
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
