import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import type { PeerIdentity } from '../base/identity.ts';
import { parseControlName, parseHostName } from '../base/ids.ts';
import { createApiServer } from '../control/api/server.ts';
import { hang, testApi } from '../control/testing/api-cluster.ts';
import { fill, tell } from '../control/testing/arranged.ts';
import { createAuthority, issue } from '../pki/authority.ts';
import { createClient } from './client.ts';
import { openConsole } from './console.ts';
import { readEvents, type ServerEvent } from './server-events.ts';

async function serve(t: TestContext, identity: PeerIdentity, deadlineMs?: number) {
  const authority = await createAuthority({ clusterName: 'test', daysValid: 1 });
  const { certPem, keyPem } = await issue(authority, { identity, daysValid: 1 });
  const { cluster, backend, token } = await testApi(t);
  const server = createApiServer({ backend, version: '1.2.3', tls: { cert: certPem, key: keyPem } });
  const port = await server.listen();
  t.after(() => server.close());
  const target = { apiUrl: `https://127.0.0.1:${port}`, caPem: authority.certPem, token };
  const client = createClient(target, deadlineMs === undefined ? {} : { deadlineMs });
  t.after(() => client.close());
  return { cluster, backend, client, target };
}

const CONTROL: PeerIdentity = { kind: 'control', name: parseControlName('c1') };

const hasCode = (code: string) => (error: unknown) => error instanceof CodedError && error.code === code;

test('a certificate of the authority that is a host’s is no control node', async (t) => {
  const { client, target } = await serve(t, { kind: 'host', name: parseHostName('h1') });
  const refused = (error: unknown): boolean =>
    hasCode('unavailable')(error) && /not that of a control node/.test(String(error));
  await assert.rejects(client.call(client.http.GET('/v1/vms')), refused);
  await assert.rejects(openConsole(target, 'web1'), refused);
});

test('a request ends at its deadline, or when its signal fires', async (t) => {
  const { client, backend } = await serve(t, CONTROL, 50);
  hang(backend.vms, 'list');
  await assert.rejects(client.call(client.http.GET('/v1/vms')), hasCode('deadline'));
  const reason = new Error('stop');
  await assert.rejects(client.call(client.http.GET('/v1/vms', { signal: AbortSignal.abort(reason) })), reason);
});

test('while nobody leads a request is sent again, until somebody does or it takes too long', async (t) => {
  const { client, backend } = await serve(t, CONTROL, 3_000);
  const leader = backend.controlNodes.leader.bind(backend.controlNodes);
  let asked = 0;
  const unled = (times: number): void => {
    asked = 0;
    backend.controlNodes.leader = () => (asked++ < times ? null : leader());
  };
  const create = (name: string) =>
    client.call(client.http.POST('/v1/networks', { body: { name, cidr: null } as never }));
  unled(2);
  await assert.rejects(create('Not A Name'), hasCode('bad-input'));
  assert.equal(asked, 3, 'what was refused for another reason is not sent again');
  unled(Number.POSITIVE_INFINITY);
  const startedMs = performance.now();
  await assert.rejects(create('lan2'), hasCode('unavailable'));
  assert.ok(performance.now() - startedMs < 2_900, 'it says why, and does not end at its deadline');
  assert.ok(asked > 2);
});

test('problem details become coded errors', async (t) => {
  const { client } = await serve(t, CONTROL);
  const asked = client.call(client.http.GET('/v1/vms/{vm}', { params: { path: { vm: 'none' } } }));
  await assert.rejects(asked, hasCode('not-found'));
});

test('a list is read page after page, the latest of what is newest first in its order', async (t) => {
  const { client, cluster } = await serve(t, CONTROL);
  // More than one page of the largest size.
  const names = Array.from({ length: 1_005 }, (_, index) => `vm${String(index).padStart(4, '0')}`);
  await fill(cluster, names);
  const vms = await client.list('/v1/vms');
  assert.deepEqual(
    vms.map(({ name }) => name),
    names,
  );
  const labelled = await client.list('/v1/vms', { params: { query: { name: 'vm1004' } } });
  assert.equal(labelled.length, 1);
  for (let from = 0; from < 1_100; from += 100)
    await tell(cluster, ...Array.from({ length: 100 }, (_, n) => ({ at: from + n, message: String(from + n) })));
  const latest = await client.latest('/v1/events', 1_050);
  assert.deepEqual(
    latest.map(({ message }) => Number(message)),
    Array.from({ length: 1_050 }, (_, index) => index + 50),
  );
});

test('a watch gives changes, and ends with its signal', async (t) => {
  const { client, backend } = await serve(t, CONTROL);
  const abort = new AbortController();
  const watch = backend.events.watch.bind(backend.events);
  backend.events.watch = async function* (...args) {
    // The subscription is there once the first value is asked for.
    setImmediate(() => void backend.vms.create({ name: 'web1', image: 'tiny', start: false }));
    yield* watch(...args);
  };
  const names: string[] = [];
  for await (const change of client.watch({ signal: abort.signal })) {
    names.push(change.name);
    abort.abort();
  }
  assert.equal(names[0], 'web1');
});

test('server-sent events are put together from any chunks', async () => {
  const text =
    'retry: 1\n\n: heartbeat\n\nid: 7\nevent: vm\ndata: {"ä":\ndata: 1}\n\nid: 8\r\ndata:x\r\n\r\ndata: cut off';
  const bytes = Buffer.from(text);
  for (const sizeBytes of [1, 2, 3, 1_000]) {
    const chunks = Array.from({ length: Math.ceil(bytes.length / sizeBytes) }, (_, i) =>
      bytes.subarray(i * sizeBytes, (i + 1) * sizeBytes),
    );
    const events: ServerEvent[] = [];
    for await (const event of readEvents(
      (async function* () {
        yield* chunks;
      })(),
    ))
      events.push(event);
    assert.deepEqual(events, [
      { id: '7', name: 'vm', data: '{"ä":\n1}' },
      { id: '8', name: 'message', data: 'x' },
    ]);
  }
});
