import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseControlName, parseStorageName } from '../base/ids.ts';
import { createAuthority, issue, issueForRequest } from '../pki/authority.ts';
import { createJoinToken } from '../pki/join-token.ts';
import { publicServerTlsOptions } from '../pki/tls.ts';
import { joinPatiently } from './join.ts';

const ADDRESS = '127.0.0.1';

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, ADDRESS);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

test('a machine that is started before its token is there, and before a control node is, joins when they are', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'gp-join-'));
  t.after(() => rm(directory, { recursive: true }));
  const authority = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  const control = await issue(authority, {
    identity: { kind: 'control', name: parseControlName('c1') },
    ipAddresses: [ADDRESS],
    daysValid: 1,
  });
  const { token } = createJoinToken(authority.certPem);
  const [port, tokenFile] = [await freePort(), join(directory, 'token')];
  const waits: string[] = [];
  const waited = Promise.withResolvers<void>();
  const joining = joinPatiently(
    { controlAddresses: [ADDRESS], tokenFile },
    {
      role: 'storage',
      name: 's1',
      addresses: { control: ADDRESS, storage: ADDRESS },
      port,
      proofPort: await freePort(),
      onWait: (reason) => {
        waits.push(reason);
        waited.resolve();
      },
    },
  );
  await waited.promise;
  await writeFile(tokenFile, `${token}\n`);
  const server = createServer(publicServerTlsOptions({ caPem: authority.certPem, ...control }), (request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk;
    });
    request.on('end', () => {
      const { csrPem } = JSON.parse(body) as { readonly csrPem: string };
      const identity = { kind: 'storage', name: parseStorageName('s1') } as const;
      void issueForRequest(authority, csrPem, { identity, daysValid: 1 }).then((certPem) =>
        response.end(JSON.stringify({ certPem, caPem: authority.certPem, etcdEndpoints: [] })),
      );
    });
  });
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(port, ADDRESS);
  const { credentials } = await joining;
  assert.equal(credentials.caPem, authority.certPem);
  assert.equal(waits.length, 1, 'it is said once');
  assert.match(waits[0] ?? '', /There is no join token in/);
});

test('a machine waits for addresses of its own before it says anything to anybody', async () => {
  const told = Promise.withResolvers<string>();
  const addresses = { control: ADDRESS, storage: '192.0.2.1' };
  const who = { role: 'storage', name: 's1', addresses, port: 1, proofPort: await freePort() } as const;
  const by = { controlAddresses: [ADDRESS], tokenFile: '/dev/null' };
  const joining = joinPatiently(by, {
    ...who,
    onWait: (reason) => {
      told.resolve(reason);
      // The attempt ends here: it waits for the address no longer than this test.
      addresses.storage = ADDRESS;
    },
  });
  // An empty token is no token: it is looked at once the addresses are right.
  await assert.rejects(joining, { code: 'bad-input' });
  assert.match(
    await told.promise,
    /^No interface of this machine has the storage address 192\.0\.2\.1 of its configuration/,
  );
});

test('without a place for a token nothing is waited for', async () => {
  const who = { role: 'host', name: 'h1', addresses: {}, port: 1, proofPort: 1, onWait: () => assert.fail() } as const;
  await assert.rejects(joinPatiently(undefined, who), { code: 'bad-input', message: /no join token/ });
});
