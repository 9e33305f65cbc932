import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { Join } from '../../api/requests.ts';
import type { Event, WatchChange } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { parseHostName } from '../../base/ids.ts';
import { until } from '../../os/testing/until.ts';
import { createRequest } from '../../pki/authority.ts';
import { parseJoinToken, tokenSha256 } from '../../pki/join-token.ts';
import { ADMIN_TOKEN, startBackend, type TestBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { type RunningStore, storageRecord } from '../testing/records.ts';
import { AccessBackend } from './access.ts';
import { NetworksBackend } from './networks.ts';
import { VmsBackend } from './vms.ts';
import { watchChanges } from './watch.ts';

const CALL = { signal: new AbortController().signal, principal: { name: 'test' } };
const etcd = etcdOfFile();
let running: RunningStore;
let backend: TestBackend;
let access: AccessBackend;

beforeEach(async () => {
  running = await etcd.follow();
  backend = await startBackend(running);
  access = new AccessBackend(backend.context);
});

async function joinOf(name: string, validMs = 60_000): Promise<Join> {
  const { token } = await access.createJoinToken({ role: 'host', name, validMs });
  const { requestPem: csrPem } = await createRequest();
  return { token: parseJoinToken(token).secret, role: 'host', name, csrPem, addresses: { control: '10.0.0.9' } };
}

test('a join token is for one name and role, once', async () => {
  const join = await joinOf('h9');
  await assert.rejects(access.join({ ...join, name: 'h8' }), { code: 'unauthorized' });
  await assert.rejects(access.join({ ...join, role: 'storage' }), { code: 'unauthorized' });
  await assert.rejects(access.join({ ...join, role: 'control' }), { code: 'unauthorized' });
  await assert.rejects(access.join({ ...join, token: `${join.token}x` }), { code: 'unauthorized' });
  await assert.rejects(access.join({ ...join, csrPem: 'no request at all'.repeat(8) }), { code: 'bad-input' });
  const joined = await access.join(join);
  assert.match(joined.certPem, /BEGIN CERTIFICATE/);
  assert.deepEqual(joined.etcdEndpoints, []);
  assert.equal(running.store.hosts.get('h9')?.value.addresses.overlay, '10.0.0.9');
  await assert.rejects(access.join(join), { code: 'unauthorized' });
  assert.doesNotMatch(JSON.stringify((await running.client.list('/gp/')).entries), new RegExp(join.token));
});

test('a machine joins with addresses of its own only; a refusal does not cost the token', async () => {
  await new NetworksBackend(backend.context).create({ name: 'guests', cidr: '10.66.0.0/24' });
  const join = await joinOf('h9');
  await access.join({
    ...(await joinOf('h2')),
    addresses: { control: '10.0.0.2', storage: '10.1.0.2', overlay: '10.2.0.2' },
  });
  const s2 = { ...storageRecord('s2'), addresses: { control: '10.0.0.3', storage: '10.1.0.3' } };
  await running.store.transact([{ key: '/gp/storage/s2', value: s2, expect: 0 }], null);
  const wrong = { control: '10.0.0.9', storage: '10.1.0.9', overlay: '10.2.0.9' };
  for (const address of ['127.0.0.1', '0.0.0.0', '255.255.255.255', '224.0.0.1', '169.254.3.4'])
    for (const network of Object.keys(wrong))
      await assert.rejects(
        access.join({ ...join, addresses: { ...wrong, [network]: address } }),
        { code: 'bad-input', message: new RegExp(`The ${network} address ${address.replaceAll('.', '\\.')} is in`) },
        `${network} ${address}`,
      );
  const taken = ['10.0.0.2', '10.1.0.2', '10.2.0.2', '10.0.0.3', '10.1.0.3', '10.66.0.1', '10.66.0.200'];
  for (const address of taken)
    for (const network of Object.keys(wrong))
      await assert.rejects(
        access.join({ ...join, addresses: { ...wrong, [network]: address } }),
        { code: 'conflict' },
        `${network} ${address}`,
      );
  assert.equal(running.store.hosts.get('h9'), undefined);
  await access.join({ ...join, addresses: wrong });
  // A machine that joins again keeps its addresses, or gets others.
  await access.join({ ...(await joinOf('h9')), addresses: wrong });
  await access.join({ ...(await joinOf('h9')), addresses: { ...wrong, overlay: '10.2.0.10' } });
});

test('a machine whose record cannot be read does not join over it: its quarantine stands there', async () => {
  const join = await joinOf('h9');
  await running.client.txn({ compare: [], success: [{ put: '/gp/host/h9', value: '[]' }] });
  await until('the value is known to be none', () => running.store.unreadable.has('/gp/host/h9'));
  await assert.rejects(access.join(join), {
    code: 'conflict',
    message: /What etcd holds at \/gp\/host\/h9 is no object/,
  });
  assert.equal((await running.client.list('/gp/host/h9')).entries[0]?.value, '[]');
  await running.client.txn({ compare: [], success: [{ delete: '/gp/host/h9' }] });
  await until('the key is gone', () => !running.store.unreadable.has('/gp/host/h9'));
  await access.join(join);
});

test('of two machines with one address that join at once, one does', async () => {
  const joins = [await joinOf('h7'), await joinOf('h8'), await joinOf('h6')];
  const results = await Promise.allSettled(joins.map((one) => access.join(one)));
  assert.deepEqual(
    // The machine's timing decides which of them is first.
    results.map(({ status }) => status).sort(),
    ['fulfilled', 'rejected', 'rejected'],
  );
});

test('a machine that nothing reaches at its address does not join; where nobody can look, it does', async () => {
  const answers = new Map<string, 'proved' | 'other' | 'silent' | 'unknown'>([
    ['control 10.0.0.9', 'proved'],
    ['storage 10.1.0.9', 'silent'],
  ]);
  const asking = new AccessBackend({
    ...backend.context,
    addressAnswers: async (network, address) => answers.get(`${network} ${address}`) ?? 'unknown',
  });
  const join = {
    ...(await joinOf('h9')),
    addresses: { control: '10.0.0.9', storage: '10.1.0.9', overlay: '10.2.0.9' },
  };
  await assert.rejects(asking.join(join), /Nothing answers at the storage address 10\.1\.0\.9/);
  answers.set('storage 10.1.0.9', 'unknown');
  answers.set('control 10.0.0.9', 'silent');
  await assert.rejects(asking.join(join), /Nothing answers at the control address 10\.0\.0\.9/);
  answers.set('control 10.0.0.9', 'other');
  await assert.rejects(asking.join(join), {
    code: 'conflict',
    message: /at the control address 10\.0\.0\.9 does not prove that it is the machine that joins/,
  });
  answers.set('control 10.0.0.9', 'proved');
  await asking.join(join);
});

test('of many that use one token at the same time, exactly one joins', async () => {
  const other = await etcd.follow();
  const join = await joinOf('h9');
  await other.store.waitFor(() => (other.store.tokens.size > 0 ? true : undefined), {
    deadlineMs: 5_000,
    signal: new AbortController().signal,
    what: 'the token',
  });
  const theirs = new AccessBackend({ ...backend.context, store: other.store });
  const results = await Promise.allSettled([access, theirs, access, theirs].map((one) => one.join(join)));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('an expired token is none, and is tidied away', async () => {
  const join = await joinOf('h9', -1);
  await assert.rejects(access.join(join), { code: 'unauthorized' });
  await joinOf('h8');
  assert.equal(running.store.tokens.size, 1);
});

test('API tokens: given out once, known by hash, revoked by name', async () => {
  const { token, id } = await access.create({ name: 'ci' }, CALL);
  assert.equal((await access.authenticate(token))?.name, 'ci');
  assert.equal((await access.authenticate(ADMIN_TOKEN))?.name, 'admin');
  assert.equal(await access.authenticate(`${token}x`), null);
  await assert.rejects(access.create({ name: 'ci' }, CALL), { code: 'exists' });
  assert.deepEqual(
    (await access.list({}, CALL)).items.map((one) => one.id),
    [id],
  );
  await access.delete('ci');
  assert.deepEqual([await access.authenticate(token), access.recheck(tokenSha256(token))], [null, null]);
  await assert.rejects(access.delete('ci'), { code: 'not-found' });
  const { token: joinToken } = await access.createJoinToken({ role: 'host', name: 'h9' });
  assert.equal(await access.authenticate(parseJoinToken(joinToken).secret), null, 'a join token opens no API');
});

test('a node that is cut off from etcd takes no token that may have been revoked, within five seconds; the administrator’s it takes', async (t) => {
  const { token } = await access.create({ name: 'ci' }, CALL);
  assert.equal((await access.authenticate(token))?.name, 'ci');
  const isRefused = (): boolean => {
    try {
      return access.recheck(tokenSha256(token)) === null;
    } catch (error) {
      return error instanceof CodedError && error.code === 'unavailable';
    }
  };
  t.after(() => etcd.signal('m1', 'SIGCONT'));
  etcd.signal('m1', 'SIGSTOP');
  const since = performance.now();
  await until('the token is refused', isRefused);
  assert(performance.now() - since < 5_000, `${performance.now() - since} ms`);
  await assert.rejects(access.authenticate(token), { code: 'unavailable', message: /cut off from etcd/ });
  assert.equal((await access.authenticate(ADMIN_TOKEN))?.name, 'admin');
  assert.equal(access.recheck(tokenSha256(ADMIN_TOKEN))?.name, 'admin');
  assert.equal(await access.authenticate('gp_api_wrong'), null);
  etcd.signal('m1', 'SIGCONT');
  await until('the token is taken again', () =>
    access.authenticate(token).then(
      (principal) => principal !== null,
      () => false,
    ),
  );
});

test('networks: one of a name, deleted only when no VM uses it', async () => {
  const networks = new NetworksBackend(backend.context);
  const vms = new VmsBackend(backend.context);
  const both = await Promise.allSettled([networks.create({ name: 'lan' }), networks.create({ name: 'lan' })]);
  assert.equal(both.filter(({ status }) => status === 'fulfilled').length, 1);
  await assert.rejects(networks.create({ name: 'x', dhcp: true }), /needs a range for DHCP/);
  await assert.rejects(networks.create({ name: 'x', cidr: '10.0.0.0/30' }), { code: 'bad-input' });
  for (const cidr of ['127.0.0.0/24', '0.0.0.0/8', '169.254.0.0/24', '224.0.0.0/24', '250.0.0.0/8'])
    await assert.rejects(networks.create({ name: 'x', cidr }), { code: 'bad-input' }, cidr);
  assert.equal((await networks.create({ name: 'ranged', cidr: '10.0.0.0/24', nat: true })).gateway, '10.0.0.1');
  for (const cidr of ['10.0.0.0/24', '10.0.0.0/8', '10.0.0.128/25'])
    await assert.rejects(networks.create({ name: 'x', cidr }), { code: 'conflict' }, cidr);
  await vms.create({ name: 'vm1', disks: [{ sizeBytes: 1024 * 1024 }], networks: ['lan'], start: false });
  await assert.rejects(networks.delete('lan', { ifMatch: null }), /used by vm1/);
  await assert.rejects(networks.delete('ranged', { ifMatch: '1' }), { code: 'stale-revision' });
  await networks.delete('ranged', { ifMatch: null });
  assert.equal(running.store.networkVnis.size, 1);
  await assert.rejects(networks.delete('ranged', { ifMatch: null }), { code: 'not-found' });
});

test('a watch brings every change after its revision, resumes, and says when history is gone', async () => {
  const { context } = backend;
  const networks = new NetworksBackend(context);
  const ending = new AbortController();
  const start = String(running.store.revision);
  await networks.create({ name: 'one' });
  await networks.create({ name: 'two' });
  const read = async (after: string, count: number): Promise<string[]> => {
    const names: string[] = [];
    for await (const { name, revision } of watchChanges(
      context,
      { after, kinds: ['network'], filter: null },
      ending.signal,
    )) {
      names.push(`${name} ${Number(revision) > Number(after)}`);
      if (names.length === count) break;
    }
    return names;
  };
  assert.deepEqual(await read(start, 2), ['one true', 'two true']);
  assert.deepEqual(await read(networks.get('one').revision, 1), ['two true']);
  const live = watchChanges(context, { after: null, kinds: [], filter: null }, ending.signal);
  const next = live.next();
  await networks.delete('one', { ifMatch: null });
  assert.deepEqual((({ kind, name, object }) => ({ kind, name, object }))((await next).value as never), {
    kind: 'network',
    name: 'one',
    object: null,
  });
  const last = live.next();
  ending.abort();
  assert.equal((await last).done, true);
  await running.client.compact(running.store.revision);
  const late = watchChanges(context, { after: '1', kinds: [], filter: null }, new AbortController().signal);
  await assert.rejects(late.next(), { code: 'conflict' });
});

test('a value that is no record does not end a watch', async () => {
  const { context } = backend;
  const networks = new NetworksBackend(context);
  const ending = new AbortController();
  const after = String(running.store.revision);
  for (const [key, value] of [
    ['/gp/network/broken', '{'],
    ['/gp/event/000000000000001-x', 'null'],
    ['/gp/reservation/disk-000000000001', '"nonsense"'],
  ] as const)
    await running.client.txn({ compare: [], success: [{ put: key, value }] });
  await networks.create({ name: 'one' });
  const watch = watchChanges(context, { after, kinds: [], filter: null }, ending.signal);
  assert.equal(((await watch.next()).value as WatchChange).name, 'one');
  ending.abort();
  await watch.next();
});

test('a watch with an event filter brings only such events, those that are kept since a time first', async () => {
  const { context } = backend;
  const ending = new AbortController();
  const write = async (at: number, kind: string, host: string): Promise<void> => {
    const event = { at, kind, vm: null, vmName: 'web1', host: parseHostName(host), generation: null, message: `${at}` };
    await running.store.transact([running.store.eventWrite(event)], null);
  };
  for (const [at, kind, host] of [
    [1_000, 'lost', 'h1'],
    [2_000, 'lost', 'h1'],
    [3_000, 'migrated', 'h1'],
    [4_000, 'lost', 'h2'],
  ] as const)
    await write(at, kind, host);
  await running.store.caughtUp(5_000);
  const filter = { eventKind: ['lost'], vm: 'web1', host: 'h1', since: new Date(2_000).toISOString() };
  const watch = watchChanges(context, { after: null, kinds: ['event'], filter }, ending.signal);
  const messageOf = async (): Promise<string> => (((await watch.next()).value as WatchChange).object as Event).message;
  assert.equal(await messageOf(), '2000');
  const next = messageOf();
  await write(5_000, 'migrated', 'h1');
  await write(6_000, 'lost', 'h1');
  assert.equal(await next, '6000');
  ending.abort();
  await watch.next();
});

test('a reader that is too slow is told so instead of filling the memory', async () => {
  const { context } = backend;
  const from = running.store.revision;
  for (let round = 0; round < 30; round++) {
    const success = Array.from({ length: 100 }, (_, index) => ({
      put: `/gp/event/${round}-${index}`,
      value: JSON.stringify({ at: 1, kind: 'x', vm: null, vmName: null, host: null, generation: null, message: '' }),
    }));
    await running.client.txn({ compare: [], success });
  }
  const watch = watchChanges(context, { after: String(from), kinds: [], filter: null }, new AbortController().signal);
  await assert.rejects(
    async () => {
      for await (const _ of watch)
        await running.store.waitFor(() => true, {
          deadlineMs: 1_000,
          signal: new AbortController().signal,
          what: 'a turn',
        });
    },
    { code: 'unavailable' },
  );
});
