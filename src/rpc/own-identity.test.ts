import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import type { PeerIdentity } from '../base/identity.ts';
import { parseControlName, parseHostName, parseStorageName, type Term } from '../base/ids.ts';
import type { Denied } from '../base/machine-identity.ts';
import {
  type CertifiedKey,
  createAuthority,
  crossSign,
  describeCertificate,
  issue,
  issueForRequest,
} from '../pki/authority.ts';
import { writeCredentials } from '../pki/credentials.ts';
import { RpcClient } from './client.ts';
import { OwnIdentity } from './own-identity.ts';
import { type RpcService, startService } from './service.ts';

const STORAGE: PeerIdentity = { kind: 'storage', name: parseStorageName('s1') };
const CONTROL: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
const HOST: PeerIdentity = { kind: 'host', name: parseHostName('h1') };
const NOBODY: Denied = { identities: [], certificates: [] };
const code = (expected: string) => (error: unknown) => error instanceof CodedError && error.code === expected;

let work = '';
let first: CertifiedKey;
let second: CertifiedKey;
const ends: (() => unknown)[] = [];
before(async () => {
  work = await mkdtemp(join(tmpdir(), 'groundplane-identity-'));
  first = await createAuthority({ clusterName: 'lab', daysValid: 10 });
  second = await createAuthority({ clusterName: 'lab', daysValid: 10 });
});
after(async () => {
  for (const end of ends) await end();
  await rm(work, { recursive: true });
});

async function identityOf(identity: PeerIdentity, where: string): Promise<OwnIdentity> {
  const directory = join(work, where);
  await writeCredentials(directory, { caPem: first.certPem, ...(await issue(first, { identity, daysValid: 1 })) });
  return OwnIdentity.open(directory);
}

function order(own: OwnIdentity, given: { certPem?: string; caPem?: string; denied?: Denied; tag?: string }) {
  const { certPem = null, caPem = own.caPem, denied = NOBODY, tag = 'a' } = given;
  return { term: 1 as Term, certPem, trust: { tag, caPem, denied } };
}

async function renewed(own: OwnIdentity, identity: PeerIdentity, by = first): Promise<string> {
  const { requestPem } = await own.describe();
  return issueForRequest(by, requestPem, { identity, daysValid: 2 });
}

/** A service that says how many connections it has had, and a client of it. */
async function serve(server: OwnIdentity, client: OwnIdentity): Promise<{ service: RpcService; peer: RpcClient }> {
  const hold = Promise.withResolvers<void>();
  const service = await startService({
    credentials: server,
    address: '127.0.0.1',
    port: 0,
    routes: [
      { method: 'GET', path: '/v1/alive', allow: ['control', 'host'], handle: async () => ({ json: 'yes' }) },
      {
        method: 'GET',
        path: '/v1/slow',
        allow: ['control', 'host'],
        handle: async () => {
          await hold.promise;
          return { json: 'at last' };
        },
      },
      { method: 'POST', path: '/v1/go', allow: ['control'], handle: async () => ({ json: hold.resolve() ?? null }) },
    ],
    onUnexpected: (error) => assert.fail(error as Error),
  });
  const peer = new RpcClient({
    credentials: client,
    target: { address: '127.0.0.1', port: service.port, identity: STORAGE },
  });
  ends.push(
    () => peer.close(),
    () => service.close(0),
  );
  return { service, peer };
}

const get = (peer: RpcClient, path: string): Promise<unknown> =>
  peer.call({ method: 'GET', path, deadlineMs: 5_000, parse: (value) => value });

test('a renewed certificate serves at once, survives a restart, and no connection and no request ends', async () => {
  const server = await identityOf(STORAGE, 'renewed-server');
  const client = await identityOf(CONTROL, 'renewed-client');
  const { peer } = await serve(server, client);
  assert.equal(await get(peer, '/v1/alive'), 'yes');
  const slow = get(peer, '/v1/slow');
  const before = describeCertificate(server.certPem).serial;
  await server.take(order(server, { certPem: await renewed(server, STORAGE) }));
  await client.take(order(client, { certPem: await renewed(client, CONTROL) }));
  assert.notEqual(describeCertificate(server.certPem).serial, before);
  assert.equal(await get(peer, '/v1/alive'), 'yes');
  await peer.call({ method: 'POST', path: '/v1/go', deadlineMs: 5_000, parse: (value) => value });
  assert.equal(await slow, 'at last');
  const again = await OwnIdentity.open(join(work, 'renewed-server'));
  assert.equal(again.certPem, server.certPem);
  assert.equal((await again.describe()).trust, 'a');
});

test('from one authority to the next: trust both, renew one end after the other, and all the time all can talk', async () => {
  const server = await identityOf(STORAGE, 'rotated-server');
  const client = await identityOf(CONTROL, 'rotated-client');
  const { peer } = await serve(server, client);
  const both = `${first.certPem}${second.certPem}`;
  // A machine that has not been told of the next authority accepts it because the first one has signed it.
  const cross = await crossSign(first, second.certPem);
  await client.take(order(client, { certPem: `${await renewed(client, CONTROL, second)}${cross}`, caPem: both }));
  assert.equal(await get(peer, '/v1/alive'), 'yes');
  await server.take(order(server, { caPem: both }));
  assert.equal(await get(peer, '/v1/alive'), 'yes');
  await server.take(order(server, { certPem: `${await renewed(server, STORAGE, second)}${cross}` }));
  assert.equal(await get(peer, '/v1/alive'), 'yes');
  await server.take(order(server, { caPem: second.certPem }));
  await client.take(order(client, { caPem: second.certPem }));
  assert.equal(await get(peer, '/v1/alive'), 'yes');
  const late = await identityOf(HOST, 'rotated-late');
  const { port } = (await serve(server, client)).service;
  const stranger = new RpcClient({
    credentials: late,
    target: { address: '127.0.0.1', port, identity: STORAGE },
  });
  ends.push(() => stranger.close());
  await assert.rejects(get(stranger, '/v1/alive'), code('unavailable'));
});

test('who is denied is cut off at once, by name or by serial number, at either end', async () => {
  const server = await identityOf(STORAGE, 'denied-server');
  const client = await identityOf(HOST, 'denied-client');
  const { peer, service } = await serve(server, client);
  assert.equal(await get(peer, '/v1/alive'), 'yes');
  const slow = assert.rejects(get(peer, '/v1/slow'), code('unavailable'));
  await server.take(order(server, { denied: { identities: ['host:h1'], certificates: [] } }));
  await slow;
  await assert.rejects(get(peer, '/v1/alive'), code('unavailable'));
  // The machine joins again: its name is good, its old certificate is not.
  const { serial } = describeCertificate(client.certPem);
  await server.take(order(server, { denied: { identities: [], certificates: [{ id: 'host:h1', serial }] } }));
  await assert.rejects(get(peer, '/v1/alive'), code('unavailable'));
  assert.ok(!server.denies({ commonName: 'host:h2', serial }), 'a number is denied for its own name only');
  const rejoined = await identityOf(HOST, 'denied-rejoined');
  const again = new RpcClient({
    credentials: rejoined,
    target: { address: '127.0.0.1', port: service.port, identity: STORAGE },
  });
  ends.push(() => again.close());
  assert.equal(await get(again, '/v1/alive'), 'yes');
  // A client refuses a denied server as well.
  await rejoined.take(order(rejoined, { denied: { identities: ['storage:s1'], certificates: [] } }));
  const more = new RpcClient({
    credentials: rejoined,
    target: { address: '127.0.0.1', port: service.port, identity: STORAGE },
  });
  ends.push(() => more.close());
  await assert.rejects(get(more, '/v1/alive'), (error: Error) => /denied/.test(error.message));
  // Denials are known again after a restart, before anybody has sent them again.
  const restarted = await OwnIdentity.open(join(work, 'denied-rejoined'));
  assert.ok(restarted.denies({ commonName: 'storage:s1', serial: '1' }));
});

test('a trust that could not be kept whole is not said to be kept, nor after a restart', async () => {
  const own = await identityOf(HOST, 'half');
  const directory = join(work, 'half');
  await own.take(order(own, { tag: 'old' }));
  const caPem = await readFile(join(directory, 'ca-cert.pem'), 'utf8');
  await rm(join(directory, 'ca-cert.pem'));
  await mkdir(join(directory, 'ca-cert.pem', 'in-the-way'), { recursive: true });
  await assert.rejects(own.take(order(own, { tag: 'new', caPem: `${first.certPem}${second.certPem}` })));
  assert.equal((await own.describe()).trust, 'old');
  await rm(join(directory, 'ca-cert.pem'), { recursive: true });
  await writeFile(join(directory, 'ca-cert.pem'), caPem);
  assert.equal((await (await OwnIdentity.open(directory)).describe()).trust, 'old');
});

test('only a certificate for this key and this name by one of the authorities is taken, from the newest leader', async () => {
  const own = await identityOf(HOST, 'refused');
  const kept = own.certPem;
  const other = await identityOf(HOST, 'refused-other');
  const strangers = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  for (const certPem of [
    await renewed(own, STORAGE),
    await renewed(other, HOST),
    await renewed(own, HOST, strangers),
    '-----BEGIN CERTIFICATE-----\nnothing',
  ])
    await assert.rejects(own.take(order(own, { certPem })), code('bad-input'));
  await assert.rejects(own.take(order(own, { caPem: strangers.certPem })), code('bad-input'));
  assert.equal(own.certPem, kept);
  await own.take({ ...order(own, {}), term: 5 as Term });
  await assert.rejects(own.take({ ...order(own, {}), term: 4 as Term }), code('stale-order'));
});
