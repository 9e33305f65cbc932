/** The header of a forwarded request is believed only with a control node's certificate. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import type { PeerIdentity } from '../../base/identity.ts';
import { parseControlName, parseHostName } from '../../base/ids.ts';
import { type CertifiedKey, createAuthority, issue } from '../../pki/authority.ts';
import type { Credentials } from '../../pki/credentials.ts';
import { publicServerTlsOptions } from '../../pki/tls.ts';
import { startTestApi } from '../testing/api-cluster.ts';
import { createApiServer } from './server.ts';

const CONTROL: PeerIdentity = { kind: 'control', name: parseControlName('c2') };
const HOST: PeerIdentity = { kind: 'host', name: parseHostName('h1') };
const { cluster, token } = await startTestApi({ controls: 3 });
const backend = cluster.backend(cluster.followers[0]);
const handedOn: (string | undefined)[] = [];
let authority: CertifiedKey;
let port = 0;
let close: () => Promise<void> = async () => undefined;

async function credentialsOf(identity: PeerIdentity): Promise<Credentials> {
  return { caPem: authority.certPem, ...(await issue(authority, { identity, daysValid: 1 })) };
}

before(async () => {
  authority = await createAuthority({ clusterName: 'test', daysValid: 1 });
  const tls = publicServerTlsOptions(await credentialsOf({ kind: 'control', name: parseControlName('c1') }));
  const server = createApiServer({
    backend,
    version: '1',
    tls,
    forward: async (_origin, { headers, body }) => {
      handedOn.push(headers['groundplane-forwarded']);
      return { status: 200, headers: {}, body: body ?? Readable.from([]) };
    },
  });
  port = await server.listen();
  close = () => server.close();
});
after(async () => {
  await close();
  cluster.stop();
});

async function ask(identity: PeerIdentity | null, more: Readonly<Record<string, string>> = {}): Promise<number> {
  const own = identity === null ? {} : await credentialsOf(identity);
  const { certPem, keyPem } = own as Partial<Credentials>;
  const shown = certPem === undefined || keyPem === undefined ? {} : { cert: certPem, key: keyPem };
  const headers = { authorization: `Bearer ${token}`, 'content-length': '2', ...more };
  const tls = { ca: authority.certPem, checkServerIdentity: () => undefined, agent: false, ...shown };
  const outgoing = request({ ...tls, host: '127.0.0.1', port, method: 'DELETE', path: '/v1/vms/a', headers });
  outgoing.end('{}');
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  answer.resume();
  return answer.statusCode ?? 0;
}

test('what a control node handed on is not handed on again; the header of anybody else says nothing', async () => {
  const forged = { 'groundplane-forwarded': '10.9.9.9' };
  assert.equal(await ask(CONTROL, forged), 503);
  assert.deepEqual(handedOn, []);
  for (const identity of [null, HOST]) assert.equal(await ask(identity, forged), 200);
  assert.equal(await ask(CONTROL), 200);
  assert.deepEqual(handedOn, ['127.0.0.1', '127.0.0.1', '127.0.0.1']);
});

test('wrong tokens are counted for the address that a control node names, and for the connection of anybody else', async () => {
  const wrong = { authorization: 'Bearer wrong', 'groundplane-forwarded': '10.9.9.8' };
  for (let count = 0; count < 20; count += 1) await ask(CONTROL, wrong);
  assert.equal(await ask(CONTROL, wrong), 429);
  assert.equal(await ask(null, wrong), 401);
});
