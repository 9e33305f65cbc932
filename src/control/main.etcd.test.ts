import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { present } from '../base/assert.ts';
import { parseControlName, parseDiskId, parseStorageName } from '../base/ids.ts';
import { EtcdClient } from '../etcd/client.ts';
import { type CutProxy, startProxy } from '../etcd/testing/etcd-cluster.ts';
import { type IdentityCluster, startIdentityCluster } from '../etcd/testing/identity-cluster.ts';
import { onDeadline } from '../os/deadline.ts';
import { until } from '../os/testing/until.ts';
import { createAuthority } from '../pki/authority.ts';
import { type Credentials, writeCredentials } from '../pki/credentials.ts';
import { createApiToken } from '../pki/join-token.ts';
import { withReservationKeys } from './links/reservation-keys.ts';
import type { StorageClient } from './links/storage-link.ts';
import { storageRecord } from './testing/records.ts';

const SERVER = join(import.meta.dirname, 'main.ts');
const { token, tokenSha256 } = createApiToken();
let etcd: IdentityCluster;
let dir = '';
let credentials: Credentials;

before(async () => {
  etcd = await startIdentityCluster(1);
  dir = await mkdtemp(join(tmpdir(), 'gp-control-'));
  const options = await etcd.optionsOf({ kind: 'control', name: parseControlName('c1') });
  const { caPem, certPem, keyPem } = present(options.tls, 'TLS of the cluster');
  credentials = { caPem, certPem, keyPem };
  await writeCredentials(join(dir, 'credentials'), credentials);
  const authority = await createAuthority({ clusterName: 'test', daysValid: 1 });
  await mkdir(join(dir, 'authority'), { mode: 0o700 });
  await writeFile(join(dir, 'authority/ca-cert.pem'), authority.certPem);
  await writeFile(join(dir, 'authority/ca-key.pem'), authority.keyPem, { mode: 0o600 });
});
after(async () => {
  await etcd.stop();
  await rm(dir, { recursive: true });
});

/** The server as a process, with what it prints. */
class Server {
  readonly address = `127.${randomInt(1, 255)}.${randomInt(0, 255)}.9`;
  readonly output: string[] = [];
  child: ChildProcess | null = null;
  readonly #lookers = new Set<() => void>();

  async start(
    endpoint: string,
    {
      credentialsDir = join(dir, 'credentials'),
      quotaBytes,
      others = [],
    }: {
      readonly credentialsDir?: string;
      readonly quotaBytes?: number;
      /** Control nodes that the configuration names besides. */
      readonly others?: readonly { readonly name: string; readonly address: string }[];
    } = {},
  ): Promise<void> {
    const config = {
      name: 'c1',
      address: this.address,
      stateDir: dir,
      runDir: dir,
      credentialsDir,
      authorityDir: join(dir, 'authority'),
      etcd: { endpoints: [`https://${endpoint}`], ...(quotaBytes === undefined ? {} : { quotaBytes }) },
      peers: [{ name: 'c1', address: this.address }, ...others],
      adminTokenSha256: tokenSha256,
    };
    const file = join(dir, `${this.address}.json`);
    await writeFile(file, JSON.stringify(config), { mode: 0o600 });
    this.child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, SERVER, '--config', file]);
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output.push(text);
        for (const look of [...this.#lookers]) look();
      });
  }

  /** Resolves when the output from `from` on matches; fails after 30 s. */
  async says(what: RegExp, from = 0): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        if (!what.test(this.output.slice(from).join(''))) return;
        cancel();
        this.#lookers.delete(look);
        resolve();
      };
      const cancel = onDeadline(30_000, () => reject(new Error(`not said: ${what}: ${this.output.join('')}`)));
      this.#lookers.add(look);
      look();
    });
  }

  ask(
    method: string,
    path: string,
    body?: object,
    ca = credentials.caPem,
  ): Promise<{ status: number; json: Record<string, unknown> }> {
    return new Promise((resolve, reject) => {
      const content = body === undefined ? undefined : JSON.stringify(body);
      const sending = request(
        {
          host: this.address,
          port: 7440,
          method,
          path,
          agent: false,
          ca,
          checkServerIdentity: () => undefined,
          headers: {
            authorization: `Bearer ${token}`,
            ...(content === undefined ? {} : { 'content-type': 'application/json' }),
          },
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (chunk: string) => {
            text += chunk;
          });
          response.on('end', () => resolve({ status: response.statusCode ?? 0, json: JSON.parse(text) }));
        },
      );
      sending.once('error', reject);
      sending.end(content);
    });
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const { child } = this;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const exited = once(child, 'exit');
    child.kill(signal);
    const [code] = await exited;
    return code;
  }
}

test('etcd away at the start and for a while later: the server lives on, reads answer, writes say why, it leads again', async (t) => {
  const target = etcd.members[0]?.clientAddress ?? '';
  const proxy: CutProxy = await startProxy(target, 'closed');
  t.after(() => proxy.close());
  const server = new Server();
  t.after(() => server.stop('SIGKILL'));
  await server.start(proxy.address);
  await server.says(/waiting for etcd/);
  proxy.admit();
  await server.says(/"leading"/);
  assert.equal((await server.ask('POST', '/v1/networks', { name: 'lan', cidr: '10.1.0.0/24' })).status, 201);
  assert.equal((await server.ask('GET', '/healthz')).json['storeReachable'], true);

  const from = server.output.length;
  etcd.signal('m1', 'SIGSTOP');
  t.after(() => etcd.signal('m1', 'SIGCONT'));
  const write = await server.ask('POST', '/v1/networks', { name: 'lan2' });
  assert.ok(write.status === 503 || write.status === 504, String(write.status));
  await server.says(/no longer leading/, from);
  const read = await server.ask('GET', '/v1/networks/lan');
  assert.equal(read.status, 200);
  assert.equal(read.json['cidr'], '10.1.0.0/24');
  const health = await server.ask('GET', '/healthz');
  assert.equal(health.json['storeReachable'], false);
  assert.equal((await server.ask('POST', '/v1/networks', { name: 'lan3' })).status, 503);

  etcd.signal('m1', 'SIGCONT');
  await server.says(/"leading"/, from);
  assert.equal((await server.ask('POST', '/v1/networks', { name: 'lan4' })).status, 201);
  assert.equal((await server.ask('GET', '/healthz')).json['storeReachable'], true);
  assert.equal(await server.stop(), 0, server.output.join(''));
});

test('whatever is in etcd under whatever key, the server starts, lives on, leads, and names it', async (t) => {
  const client = new EtcdClient(etcd.clientOptions());
  t.after(() => client.close());
  const put = async (values: Readonly<Record<string, string>>): Promise<void> => {
    const success = Object.entries(values).map(([key, value]) => ({ put: key, value }));
    await client.txn({ compare: [], success });
  };
  const before: Readonly<Record<string, string>> = {
    '/gp/reservation/disk-00000000000f': 'not JSON',
    '/gp/reservation/disk-00000000000e': JSON.stringify('x'.repeat(1_000_000)),
    '/gp/reservation/disk-00000000000d': '['.repeat(500_000),
    '/gp/reservation/': 'null',
    '/gp/vm/vm-00000000000f': JSON.stringify({ id: 'vm-00000000000f', phase: { kind: 'running' } }),
    '/gp/host/h9': '[]',
    '/gp/election/nobody': 'no lease ends it',
    '/gp/future/kind': '{}',
  };
  const later: Readonly<Record<string, string>> = {
    '/gp/vm/broken': '{',
    '/gp/token/t': '7',
    '/gp/disk/x': '"\ufffd"',
  };
  await put(before);
  const server = new Server();
  t.after(() => server.stop('SIGKILL'));
  await server.start(etcd.members[0]?.clientAddress ?? '');
  await server.says(/"leading"/);
  await put(later);
  await server.says(/\/gp\/disk\/x/);
  assert.equal((await server.ask('POST', '/v1/networks', { name: 'lan9' })).status, 201);
  const { alarms } = (await server.ask('GET', '/v1/cluster')).json as { alarms: { about: string; kind: string }[] };
  const named = alarms.filter(({ kind }) => kind === 'unreadable-record').map(({ about }) => about);
  const keys = [...Object.keys(before), ...Object.keys(later)].filter((key) => !key.startsWith('/gp/election/'));
  assert.deepEqual([...named].sort(), keys.sort());
  for (const [key, value] of Object.entries(before)) assert.equal((await client.get(key))?.value, value, 'left alone');
  await client.txn({ compare: [], success: Object.keys({ ...before, ...later }).map((key) => ({ delete: key })) });
  assert.equal((await server.ask('POST', '/v1/networks', { name: 'lan10' })).status, 201);
  const now = (await server.ask('GET', '/v1/cluster')).json as { alarms: unknown[] };
  assert.deepEqual(now.alarms, []);
  assert.equal(await server.stop(), 0, server.output.join(''));
});

test('a leader lets the storage nodes of the records read etcd, which a restored etcd does not know; not a lost one', async (t) => {
  const client = new EtcdClient(etcd.clientOptions());
  const clientOf = async (name: string) =>
    new EtcdClient(await etcd.optionsOf({ kind: 'storage', name: parseStorageName(name) }));
  const [kept, lost] = [await clientOf('s1'), await clientOf('s2')];
  const server = new Server();
  t.after(async () => {
    await server.stop('SIGKILL');
    await client.txn({ compare: [], success: [{ deletePrefix: '/gp/storage/' }] });
    for (const each of [client, kept, lost]) each.close();
  });
  const record = (name: string, more: object) => ({
    put: `/gp/storage/${name}`,
    value: JSON.stringify({ ...storageRecord(name), ...more }),
  });
  const success = [record('s1', {}), record('s2', { lost: { at: 1, by: 'ann' } })];
  await client.txn({ compare: [], success });
  await server.start(etcd.members[0]?.clientAddress ?? '');
  await server.says(/"leading"/);
  await until('s1 reads etcd', async () => {
    const answer = await kept.get('/gp/storage/s1').catch(() => undefined);
    return answer !== undefined;
  });
  // The same order makes both the user and its permission to write.
  const disk = parseDiskId('disk-00000000000a');
  const made: string[] = [];
  const orders = withReservationKeys(
    { createSharedDisk: async (name: string) => void made.push(name) } as unknown as StorageClient,
    client,
  );
  await orders.createSharedDisk(parseStorageName('s3'), disk, {} as never, { deadlineMs: 1_000 });
  assert.deepEqual(made, ['s3']);
  await assert.rejects(lost.get('/gp/storage/s1'), { code: 'forbidden' });
});

test('a server that starts with a full etcd makes room, leads and takes writes', { timeout: 90_000 }, async (t) => {
  const full = await startIdentityCluster(1, { quotaBytes: 16 * 1024 * 1024 });
  t.after(() => full.stop());
  const { tls } = await full.optionsOf({ kind: 'control', name: parseControlName('c1') });
  const { caPem, certPem, keyPem } = present(tls, 'TLS of the cluster');
  const home = join(dir, 'full');
  await writeCredentials(home, { caPem, certPem, keyPem });
  const client = new EtcdClient(full.clientOptions());
  t.after(() => client.close());
  await assert.rejects(async () => {
    for (let n = 0; n < 1_000; n++)
      await client.txn({
        compare: [],
        success: [{ put: '/gp/event/x', value: `{"n":${n},"text":"${'x'.repeat(300_000)}"}` }],
      });
  }, /database space exceeded/);
  const server = new Server();
  t.after(() => server.stop('SIGKILL'));
  await server.start(full.members[0]?.clientAddress ?? '', { credentialsDir: home, quotaBytes: 16 * 1024 * 1024 });
  await server.says(/"leading"/);
  const created = await server.ask('POST', '/v1/networks', { name: 'room' }, caPem);
  assert.equal(created.status, 201, JSON.stringify(created.json));
  const { etcd: space } = (await server.ask('GET', '/v1/cluster', undefined, caPem)).json as {
    etcd: { usedPercent: number };
  };
  assert.ok(space.usedPercent < 60, String(space.usedPercent));
});

test('while etcd is away a server that starts listens, and says what it waits for', async (t) => {
  const proxy: CutProxy = await startProxy(etcd.members[0]?.clientAddress ?? '', 'closed');
  t.after(() => proxy.close());
  const server = new Server();
  t.after(() => server.stop('SIGKILL'));
  await server.start(proxy.address);
  await server.says(/waiting for etcd/);
  const health = (await server.ask('GET', '/healthz')).json;
  assert.equal(health['ok'], false);
  assert.match(String(health['waitingFor']), /^etcd/);
  for (const [method, path] of [
    ['GET', '/v1/vms'],
    ['POST', '/v1/networks'],
  ] as const) {
    const { status, json } = await server.ask(method, path, method === 'GET' ? undefined : { name: 'lan' });
    assert.equal(status, 503, path);
    assert.equal(json['code'], 'unavailable');
    assert.match(String(json['detail']), /^Control node c1 has started and waits for etcd/);
    assert.match(String(json['advice']), /VMs run on/);
  }
  proxy.admit();
  await server.says(/"leading"/);
  assert.equal((await server.ask('GET', '/healthz')).json['waitingFor'], null);
  assert.equal((await server.ask('GET', '/v1/vms')).status, 200);
  assert.equal(await server.stop(), 0, server.output.join(''));
});

test('control nodes that were removed get nothing of etcd back: the server of one waits, and says so', async (t) => {
  const client = new EtcdClient(etcd.clientOptions());
  const stranger = new EtcdClient(await etcd.optionsOf({ kind: 'control', name: parseControlName('c9') }));
  const removed = { issued: [], denied: [], removed: { at: 1, by: 'ann' } };
  const keyOf = (name: string): string => `/gp/certificate/control:${name}`;
  const success = ['c1', 'c9'].map((name) => ({
    put: keyOf(name),
    value: JSON.stringify({ id: `control:${name}`, ...removed }),
  }));
  await client.txn({ compare: [], success });
  const server = new Server();
  t.after(async () => {
    await server.stop('SIGKILL');
    await client.txn({ compare: [], success: ['c1', 'c9'].map((name) => ({ delete: keyOf(name) })) });
    for (const each of [client, stranger]) each.close();
  });
  // Its configuration is from before c9 was removed.
  await server.start(etcd.members[0]?.clientAddress ?? '', { others: [{ name: 'c9', address: '127.0.0.99' }] });
  await server.says(/this control node was removed from its cluster/);
  const health = (await server.ask('GET', '/healthz')).json;
  assert.match(String(health['waitingFor']), /^a new join: this control node was removed from its cluster/);
  await client.txn({ compare: [], success: [{ delete: keyOf('c1') }] });
  await server.says(/"leading"/);
  await assert.rejects(stranger.get('/gp/control/c1'), { code: 'forbidden' });
  const known = await readFile(join(dir, 'controls.json'), 'utf8');
  assert.doesNotMatch(known, /c9/);
  assert.equal(await server.stop(), 0, server.output.join(''));
});
