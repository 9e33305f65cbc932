/** Certificates of etcd's members and of its clients are renewed, and the authority changes, while everything runs. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';
import type { PeerIdentity } from '../base/identity.ts';
import { parseControlName } from '../base/ids.ts';
import { createAuthority, crossSign, issue } from '../pki/authority.ts';
import { EtcdClient } from './client.ts';
import { type IdentityCluster, startIdentityCluster } from './testing/identity-cluster.ts';

const C1: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
let cluster: IdentityCluster;
let client: EtcdClient;

before(async () => {
  cluster = await startIdentityCluster(1);
  client = new EtcdClient({ ...(await cluster.optionsOf(C1)), deadlineMsDefault: 5_000 });
});
after(async () => {
  client?.close();
  await cluster?.stop();
});

const put = (value: string) => client.txn({ compare: [], success: [{ put: '/gp/renewal', value }] });

/** The serial number of the certificate that the member shows to a new connection. */
function shownSerial({ tls, endpoints }: Awaited<ReturnType<IdentityCluster['optionsOf']>>): Promise<string> {
  const [host = '', port = ''] = (endpoints[0] ?? '').split(':');
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port: Number(port),
      rejectUnauthorized: false,
      cert: tls?.certPem,
      key: tls?.keyPem,
    });
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
  });
}

test('a member shows its new certificate to the next connection; watches and calls of a renewed client go on', async () => {
  const options = await cluster.optionsOf(C1);
  const before = await shownSerial(options);
  const seen: string[] = [];
  const ending = new AbortController();
  const { revision } = await put('0');
  const watching = client.watch('/gp/renewal', {
    fromRevision: revision + 1,
    signal: ending.signal,
    onEvents: (events) => {
      for (const event of events) if (event.type === 'put') seen.push(event.kv.value);
      if (seen.length === 3) ending.abort();
    },
  });
  await put('1');
  await cluster.renewMember('m1');
  assert.notEqual(await shownSerial(options), before, 'etcd reads its files for each handshake');
  const { tls } = await cluster.optionsOf(C1);
  assert.ok(tls !== undefined);
  client.renew(tls);
  await put('2');
  await put('3');
  await watching.catch(() => undefined);
  assert.deepEqual(seen, ['1', '2', '3']);
});

test('a client of the next authority is let in by a member that trusts the first, and its user is the same', async () => {
  const next = await createAuthority({ clusterName: 'lab', daysValid: 2 });
  const cross = await crossSign(cluster.authority, next.certPem);
  const own = await issue(next, { identity: C1, daysValid: 1 });
  const { tls } = await cluster.optionsOf(C1);
  assert.ok(tls !== undefined);
  client.renew({ ...tls, certPem: `${own.certPem}${cross}`, keyPem: own.keyPem });
  await put('by the next');
  // The member's own certificate as well, to clients that trust both.
  const caPem = `${cluster.authority.certPem}${next.certPem}`;
  await cluster.renewMember('m1', next, cross);
  client.renew({ ...tls, caPem, certPem: `${own.certPem}${cross}`, keyPem: own.keyPem });
  await put('between two of the next');
  assert.equal((await client.get('/gp/renewal'))?.value, 'between two of the next');
});
