import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectTcp, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type PeerIdentity, qemuAuthzName } from '../base/identity.ts';
import { parseControlName, parseGeneration, parseHostName, parseVmId } from '../base/ids.ts';
import { sleep } from '../base/sleep.ts';
import { spawnDaemon } from '../os/child-process.ts';
import { systemClock } from '../os/clock.ts';
import { onDeadline } from '../os/deadline.ts';
import { makePrivateDirectory } from '../os/files.ts';
import { isRunning, type ProcessIdentity, readProcess, signalProcess, waitGone } from '../os/process-table.ts';
import { type CertifiedKey, createAuthority, issue } from '../pki/authority.ts';
import { type Credentials, writeCredentials } from '../pki/credentials.ts';
import { QmpError } from '../wire/qmp/error.ts';
import { qmp } from './commands.ts';
import { connectQmp, type QmpAddress, type QmpConnection } from './connect.ts';
import type { QmpSession } from './session.ts';

const CONTROL: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
const HOST: PeerIdentity = { kind: 'host', name: parseHostName('h1') };
const RUN: PeerIdentity = { kind: 'incarnation', vmId: parseVmId('vm-0123456789ab'), generation: parseGeneration(7) };
const NEXT_RUN: PeerIdentity = { ...RUN, generation: parseGeneration(8) };
const DEADLINE = { deadlineMs: 20_000 };
const SHORT = { deadlineMs: 300 };

let work = '';
let authority: CertifiedKey;
const daemons: ProcessIdentity[] = [];

before(async () => {
  work = await mkdtemp(join(tmpdir(), 'groundplane-qmp-'));
  await makePrivateDirectory(work);
  authority = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  await writeCredentials(join(work, 'creds'), await credentialsOf(RUN));
});

after(async () => {
  for (const daemon of daemons) if (signalProcess(daemon, 'SIGKILL')) await waitGone(daemon, DEADLINE.deadlineMs);
  await rm(work, { recursive: true });
});

async function credentialsOf(identity: PeerIdentity, from = authority): Promise<Credentials> {
  return { caPem: authority.certPem, ...(await issue(from, { identity, daysValid: 1 })) };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  assert(address !== null && typeof address === 'object');
  return address.port;
}

interface Qemu {
  readonly process: ProcessIdentity;
  readonly port: number;
  readonly path: string;
}

/** A paused QEMU with no machine, one monitor over mutual TLS for the control node and one on a unix socket. */
async function startQemu(): Promise<Qemu> {
  const port = await freePort();
  const path = join(work, `${port}.sock`);
  const argv = [
    ...['qemu-system-x86_64', '-M', 'none', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-S'],
    ...['-object', `tls-creds-x509,id=t,endpoint=server,verify-peer=on,dir=${work}/creds`],
    ...['-object', `authz-simple,id=a,identity=${qemuAuthzName(CONTROL)}`],
    ...['-chardev', `socket,id=m,host=127.0.0.1,port=${port},server=on,wait=off,tls-creds=t,tls-authz=a`],
    ...['-mon', 'chardev=m,mode=control'],
    ...['-qmp', `unix:${path},server=on,wait=off`],
  ];
  const daemon = await spawnDaemon(argv, { stderrFile: join(work, 'stderr'), env: { ...process.env }, cwd: work });
  daemons.push(daemon);
  for (let attempt = 0; attempt < 400 && isRunning(daemon); attempt++) {
    const connection = await connectQmp({ kind: 'unix', path }, DEADLINE);
    if (connection.outcome === 'answers') {
      connection.session.close();
      return { process: daemon, port, path };
    }
    await sleep(systemClock, 25);
  }
  throw new Error('QEMU did not start');
}

async function tlsAddress({ port }: Qemu, identity = CONTROL, peer = RUN, from = authority): Promise<QmpAddress> {
  return { kind: 'tls', host: '127.0.0.1', port, credentials: await credentialsOf(identity, from), peer };
}

function sessionOf(connection: QmpConnection): QmpSession {
  assert.equal(connection.outcome, 'answers', JSON.stringify(connection));
  return connection.session;
}

/** Waits for the process table to say so: a stopped process is stopped a moment after the signal. */
async function stopped(process: ProcessIdentity): Promise<void> {
  signalProcess(process, 'SIGSTOP');
  while (readProcess(process.pid)?.state !== 'T') await sleep(systemClock, 1);
}

test('over mutual TLS: commands, refusals, events, and the end', async () => {
  const qemu = await startQemu();
  const names: string[] = [];
  const connection = await connectQmp(await tlsAddress(qemu), { ...DEADLINE, onEvent: ({ name }) => names.push(name) });
  const session = sessionOf(connection);
  assert.equal((await qmp(session, 'query-status', {}, DEADLINE)).status, 'prelaunch');
  assert.deepEqual((await qmp(session, 'query-version', {}, DEADLINE)).qemu, session.version);
  await qmp(
    session,
    'object-add',
    { 'qom-type': 'authz-list', id: 'l', policy: 'deny', rules: [{ match: 'CN=*', policy: 'allow', format: 'glob' }] },
    DEADLINE,
  );
  assert.equal(await qmp(session, 'qom-get', { path: '/objects/l', property: 'policy' }, DEADLINE), 'deny');
  await qmp(session, 'qom-set', { path: '/objects/l', property: 'policy', value: 'allow' }, DEADLINE);
  await qmp(session, 'blockdev-add', { driver: 'null-co', 'node-name': 'n', size: 4096 }, DEADLINE);
  assert.equal(
    (await qmp(session, 'query-named-block-nodes', { flat: true }, DEADLINE))[0]?.image['virtual-size'],
    4096,
  );
  const addr = { type: 'unix', data: { path: join(work, 'nbd.sock') } } as const;
  await qmp(session, 'nbd-server-start', { addr }, DEADLINE);
  await qmp(session, 'block-export-add', { type: 'nbd', id: 'e', 'node-name': 'n' }, DEADLINE);
  assert.equal((await qmp(session, 'query-block-exports', {}, DEADLINE))[0]?.id, 'e');
  await qmp(session, 'block-export-del', { id: 'e', mode: 'hard' }, DEADLINE);
  await assert.rejects(qmp(session, 'blockdev-del', { 'node-name': 'none' }, DEADLINE), QmpError);
  await qmp(session, 'cont', {}, DEADLINE);
  await qmp(session, 'stop', {}, DEADLINE);
  await qmp(session, 'query-yank', {}, DEADLINE);
  await qmp(session, 'migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] }, DEADLINE);
  await qmp(
    session,
    'migrate-set-parameters',
    { 'downtime-limit': 100, 'max-bandwidth': 0, 'tls-creds': '' },
    DEADLINE,
  );
  assert.equal((await qmp(session, 'query-migrate', {}, DEADLINE)).status, undefined);
  await qmp(session, 'quit', {}, DEADLINE).catch(() => undefined);
  assert.equal((await session.closed).code, 'unavailable');
  assert.deepEqual(
    names.filter((name) => !name.startsWith('BLOCK_')),
    ['RESUME', 'STOP', 'SHUTDOWN'],
  );
  await waitGone(qemu.process, DEADLINE.deadlineMs);
  assert.equal((await connectQmp({ kind: 'unix', path: qemu.path }, DEADLINE)).outcome, 'refused');
});

test('long commands, and many at once, are read to their end over TLS', async () => {
  const qemu = await startQemu();
  const session = sessionOf(await connectQmp(await tlsAddress(qemu), DEADLINE));
  const text = 'x'.repeat(40_000);
  await qmp(session, 'object-add', { 'qom-type': 'authz-simple', id: 'long', identity: text }, DEADLINE);
  assert.equal(await qmp(session, 'qom-get', { path: '/objects/long', property: 'identity' }, DEADLINE), text);
  const all = Array.from({ length: 60 }, () => qmp(session, 'query-status', {}, DEADLINE));
  for (const { running } of await Promise.all(all)) assert.equal(running, false);
  session.close();
});

test('only the named control node gets in, and only at the expected incarnation', async () => {
  const qemu = await startQemu();
  const other = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  const rejected = [
    await tlsAddress(qemu, HOST),
    await tlsAddress(qemu, CONTROL, NEXT_RUN),
    await tlsAddress(qemu, CONTROL, RUN, other),
  ];
  for (const address of rejected) assert.equal((await connectQmp(address, DEADLINE)).outcome, 'rejected');
  sessionOf(await connectQmp(await tlsAddress(qemu), DEADLINE)).close();
});

test('through a tunnel: TLS end to end inside an open stream', async () => {
  const qemu = await startQemu();
  const tls = { credentials: await credentialsOf(CONTROL), peer: RUN };
  const stream = connectTcp({ host: '127.0.0.1', port: qemu.port });
  const session = sessionOf(await connectQmp({ kind: 'stream', stream, tls }, DEADLINE));
  assert.equal((await qmp(session, 'query-status', {}, DEADLINE)).running, false);
  session.close();
});

test('a monitor serves one client at a time: the second is accepted by the kernel and hears nothing', async () => {
  const qemu = await startQemu();
  const address = await tlsAddress(qemu);
  const first = sessionOf(await connectQmp(address, DEADLINE));
  assert.equal((await connectQmp(address, SHORT)).outcome, 'accepted-but-silent');
  // The other monitor is not concerned: that is why each QEMU has spare ones.
  sessionOf(await connectQmp({ kind: 'unix', path: qemu.path }, DEADLINE)).close();
  first.close();
  sessionOf(await connectQmp(address, DEADLINE)).close();
});

test('stopped is silence after acceptance, at length plain silence; killed is a refusal', async () => {
  const qemu = await startQemu();
  const address = await tlsAddress(qemu);
  const session = sessionOf(await connectQmp(address, DEADLINE));
  await stopped(qemu.process);
  await assert.rejects(qmp(session, 'query-status', {}, SHORT), /did not answer query-status within/);
  session.close();
  const outcomes: string[] = [];
  for (let attempt = 0; attempt < 4; attempt++) outcomes.push((await connectQmp(address, SHORT)).outcome);
  assert.deepEqual(outcomes, ['accepted-but-silent', 'accepted-but-silent', 'silent', 'silent']);
  signalProcess(qemu.process, 'SIGKILL');
  await waitGone(qemu.process, DEADLINE.deadlineMs);
  assert.equal((await connectQmp(address, DEADLINE)).outcome, 'refused');
});

test('a session is told when its QEMU is killed, and an attempt ends with its signal', async () => {
  const qemu = await startQemu();
  const address = await tlsAddress(qemu);
  const session = sessionOf(await connectQmp(address, DEADLINE));
  await stopped(qemu.process);
  const controller = new AbortController();
  const attempt = connectQmp(address, { ...DEADLINE, signal: controller.signal });
  const cancel = onDeadline(50, () => controller.abort(new Error('not leader any more')));
  await assert.rejects(attempt, /not leader any more/);
  cancel();
  signalProcess(qemu.process, 'SIGKILL');
  assert.equal((await session.closed).code, 'unavailable');
});
