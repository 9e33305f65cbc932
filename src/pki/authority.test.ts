import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect, createServer, type TlsOptions } from 'node:tls';
import { present } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import { ANY_CONTROL_NAME, type PeerIdentity } from '../base/identity.ts';
import { parseControlName, parseGeneration, parseHostName, parseVmId } from '../base/ids.ts';
import { type CertifiedKey, createAuthority, createRequest, issue, issueForRequest } from './authority.ts';
import { type Credentials, readCredentials, writeCredentials } from './credentials.ts';
import {
  certificateFingerprint,
  clientTlsOptions,
  fetchPinnedAuthority,
  peerIdentity,
  publicServerTlsOptions,
  serverTlsOptions,
  withBrowserCertificate,
} from './tls.ts';

const CONTROL: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
const HOST: PeerIdentity = { kind: 'host', name: parseHostName('h1') };
const RUN: PeerIdentity = { kind: 'incarnation', vmId: parseVmId('vm-0123456789ab'), generation: parseGeneration(7) };

const code = (expected: string) => (error: unknown) => error instanceof CodedError && error.code === expected;
let authority: CertifiedKey;
let work = '';
before(async () => {
  authority = await createAuthority({ clusterName: 'lab', daysValid: 10 });
  work = await mkdtemp(join(tmpdir(), 'groundplane-pki-'));
});
after(() => rm(work, { recursive: true }));

async function credentialsOf(identity: PeerIdentity, from = authority): Promise<Credentials> {
  return { caPem: from.certPem, ...(await issue(from, { identity, daysValid: 1 })) };
}

/** One connection up to its first byte: the server's view of the client, or a rejection when the client got none. */
async function handshake(
  serverOptions: TlsOptions,
  clientOptions: object,
): Promise<{ protocol: string | null; seen: PeerIdentity | undefined }> {
  const server = createServer(serverOptions);
  const sockets: Socket[] = [];
  try {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert(address !== null && typeof address === 'object');
    let seen: PeerIdentity | undefined;
    server.on('connection', (socket) => sockets.push(socket));
    server.on('secureConnection', (socket) => {
      seen = peerIdentity(socket);
      socket.on('error', () => undefined);
      socket.write('greeting');
    });
    server.on('tlsClientError', () => undefined);
    const client = connect({ host: '127.0.0.1', port: address.port, ...clientOptions });
    sockets.push(client);
    // With TLS 1.3 a client learns only from the next message whether the server accepted its certificate.
    await new Promise((resolve, reject) => {
      client.once('data', resolve);
      client.once('error', reject);
      client.once('close', () => reject(new Error('closed by the server')));
    });
    return { protocol: client.getProtocol(), seen };
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

test('what a certificate says', async () => {
  const ca = new X509Certificate(authority.certPem);
  assert.equal(ca.subject, 'CN=authority:lab');
  assert(ca.ca && ca.verify(ca.publicKey));
  const { certPem, keyPem } = await issue(authority, {
    identity: RUN,
    ipAddresses: ['10.1.2.3', 'fd00::1'],
    daysValid: 2,
  });
  const leaf = new X509Certificate(certPem);
  assert(leaf.verify(ca.publicKey) && leaf.checkIssued(ca) && !leaf.ca);
  assert(leaf.checkPrivateKey(createPrivateKey(keyPem)));
  assert.match(keyPem, /^-----BEGIN PRIVATE KEY-----\n/);
  assert.equal(leaf.subject, 'CN=incarnation:vm-0123456789ab:7');
  assert.equal(
    leaf.subjectAltName,
    'DNS:g7.vm-0123456789ab.vm.groundplane, IP Address:10.1.2.3, IP Address:FD00:0:0:0:0:0:0:1',
  );
  assert.deepEqual(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  assert.match(leaf.serialNumber, /^[4-7][0-9A-F]{31}$/);
  const fromMs = Date.parse(leaf.validFrom) - Date.now();
  assert(fromMs > -3_602_000 && fromMs <= -3_599_000, `${fromMs}`);
  const toMs = Date.parse(leaf.validTo) - Date.now() - 2 * 86_400_000;
  assert(Math.abs(toMs) < 30_000, `${toMs}`);
});

test('a certificate never outlives its authority, and serial numbers differ', async () => {
  const a = new X509Certificate((await issue(authority, { identity: HOST, daysValid: 1000 })).certPem);
  const b = new X509Certificate((await issue(authority, { identity: HOST, daysValid: 1000 })).certPem);
  assert.equal(a.validTo, new X509Certificate(authority.certPem).validTo);
  assert.notEqual(a.serialNumber, b.serialNumber);
  await assert.rejects(issue(authority, { identity: HOST, daysValid: 0 }), code('bad-input'));
  await assert.rejects(createAuthority({ clusterName: 'Not, a name', daysValid: 1 }), code('bad-input'));
});

test('a request gets the identity the authority decides, for the key it holds', async () => {
  const { requestPem, keyPem } = await createRequest();
  const certPem = await issueForRequest(authority, requestPem, { identity: HOST, daysValid: 1 });
  const leaf = new X509Certificate(certPem);
  assert.equal(leaf.subject, 'CN=host:h1');
  assert(leaf.checkPrivateKey(createPrivateKey(keyPem)));
  assert.deepEqual(
    leaf.publicKey.export({ type: 'spki', format: 'der' }),
    createPublicKey(keyPem).export({ type: 'spki', format: 'der' }),
  );
});

test('a request that is broken, tampered with or of another kind of key is refused', async () => {
  const { requestPem } = await createRequest();
  const der = Buffer.from(requestPem.replace(/-----[^-]+-----/g, ''), 'base64');
  // The last byte is in the signature; byte 60 in the public key.
  for (const index of [der.length - 1, 60]) {
    const changed = Buffer.from(der);
    changed[index] = (changed[index] ?? 0) ^ 1;
    const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${changed.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
    await assert.rejects(issueForRequest(authority, pem, { identity: HOST, daysValid: 1 }), code('bad-input'));
  }
  await assert.rejects(issueForRequest(authority, 'nonsense', { identity: HOST, daysValid: 1 }), code('bad-input'));
});

test('mutual TLS: both ends know the other, over TLS 1.3', async () => {
  const options = serverTlsOptions(await credentialsOf(CONTROL));
  const { protocol, seen } = await handshake(options, clientTlsOptions(await credentialsOf(RUN), CONTROL));
  assert.deepEqual(seen, RUN);
  assert.equal(protocol, 'TLSv1.3');
});

test('a server that is somebody else, or of another authority, is refused by the client', async () => {
  const own = await credentialsOf(HOST);
  await assert.rejects(
    handshake(serverTlsOptions(await credentialsOf(CONTROL)), clientTlsOptions(own, RUN)),
    code('forbidden'),
  );
  const other = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  const stranger = serverTlsOptions(await credentialsOf(CONTROL, other));
  await assert.rejects(handshake(stranger, clientTlsOptions(own, CONTROL)), /self-signed|unable to/);
});

test('a client without a certificate, or of another authority, is refused by the server', async () => {
  const options = serverTlsOptions(await credentialsOf(CONTROL));
  await assert.rejects(handshake(options, clientTlsOptions({ caPem: authority.certPem }, CONTROL)));
  const other = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  const stranger = { ...(await credentialsOf(HOST, other)), caPem: authority.certPem };
  await assert.rejects(handshake(options, clientTlsOptions(stranger, CONTROL)));
  const open = publicServerTlsOptions(await credentialsOf(CONTROL));
  assert.equal((await handshake(open, clientTlsOptions({ caPem: authority.certPem }, CONTROL))).seen, undefined);
});

test('a joining host finds the authority by its fingerprint alone, and only that one', async () => {
  const server = createServer(publicServerTlsOptions(await credentialsOf(CONTROL)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const bound = server.address();
    assert(bound !== null && typeof bound === 'object');
    const address = { host: '127.0.0.1', port: bound.port };
    const fingerprint = certificateFingerprint(authority.certPem);
    const found = await fetchPinnedAuthority(address, fingerprint, { deadlineMs: 10_000 });
    assert.equal(certificateFingerprint(found), fingerprint);
    const other = await createAuthority({ clusterName: 'lab', daysValid: 1 });
    const wrong = fetchPinnedAuthority(address, certificateFingerprint(other.certPem), { deadlineMs: 10_000 });
    await assert.rejects(wrong, code('forbidden'));
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
  const gone = fetchPinnedAuthority({ host: '127.0.0.1', port: 1 }, 'x', { deadlineMs: 10_000 });
  await assert.rejects(gone, code('unavailable'));
});

test('browsers that ask for a name of the organisation get its certificate, everybody else the cluster’s', async () => {
  const browsers = await createAuthority({ clusterName: 'organisation', daysValid: 1 });
  const { certPem, keyPem } = await credentialsOf(HOST, browsers);
  const own = publicServerTlsOptions(await credentialsOf(CONTROL));
  const both = withBrowserCertificate(own, { names: ['gp.Example'], certPem, keyPem });
  const shown = async (caPem: string, servername?: string): Promise<string> => {
    const server = createServer(both);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const bound = server.address();
    assert(bound !== null && typeof bound === 'object');
    const name = servername === undefined ? {} : { servername };
    const socket = connect({
      port: bound.port,
      host: '127.0.0.1',
      ca: caPem,
      checkServerIdentity: () => undefined,
      ...name,
    });
    try {
      await once(socket, 'secureConnect');
      return certificateFingerprint(present(socket.getPeerX509Certificate(), 'a certificate').toString());
    } finally {
      socket.destroy();
      server.close();
    }
  };
  assert.equal(await shown(browsers.certPem, 'gp.example'), certificateFingerprint(certPem));
  for (const name of [undefined, ANY_CONTROL_NAME, 'other.example'])
    assert.equal(await shown(authority.certPem, name), certificateFingerprint(both.cert));
  const wrong = { names: [], certPem, keyPem: (await credentialsOf(HOST, browsers)).keyPem };
  assert.throws(() => withBrowserCertificate(own, wrong), code('bad-input'));
});

test('credentials on disk are private, and come back', async () => {
  const directory = join(work, 'creds');
  assert.equal(await readCredentials(directory), undefined);
  const credentials = await credentialsOf(HOST);
  await writeCredentials(directory, credentials);
  assert.deepEqual(await readCredentials(directory), credentials);
  assert.equal((await stat(directory)).mode & 0o777, 0o700);
  const names = await readdir(directory);
  assert.deepEqual(names.sort(), [
    'ca-cert.pem',
    'client-cert.pem',
    'client-key.pem',
    'dh-params.pem',
    'server-cert.pem',
    'server-key.pem',
  ]);
  for (const name of names) assert.equal((await stat(join(directory, name))).mode & 0o777, 0o600);
  await rm(join(directory, 'client-key.pem'));
  await assert.rejects(readCredentials(directory), code('failed'));
});
