import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type PeerIdentity, qemuAuthzName } from '../../base/identity.ts';
import { parseControlName, parseGeneration, parseHostName, parseVmId } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import type { MigrationTold } from '../../core/model/observation.ts';
import { pathsFrom } from '../../core/model/paths.ts';
import { portsOfSlot } from '../../core/model/ports.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import type { QmpSessions } from '../../core/qmp/qmp-sessions.ts';
import { spawnDaemon } from '../../os/child-process.ts';
import { systemClock } from '../../os/clock.ts';
import { makePrivateDirectory } from '../../os/files.ts';
import { isRunning, type ProcessIdentity, signalProcess, waitGone } from '../../os/process-table.ts';
import { type CertifiedKey, createAuthority, issue } from '../../pki/authority.ts';
import { type Credentials, writeCredentials } from '../../pki/credentials.ts';
import { createGuestAgents } from './guest-agents.ts';
import { type PathsToQemus, qmpOverTls } from './qmp-connector.ts';
import { createSerialPorts } from './serial-ports.ts';

const CONTROL: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
const VM = parseVmId('vm-0123456789ab');
const DEADLINE_MS = 20_000;

let work = '';
let authority: CertifiedKey;
let own: Credentials;
const daemons: ProcessIdentity[] = [];

before(async () => {
  work = await mkdtemp(join(tmpdir(), 'gp-link-'));
  await makePrivateDirectory(work);
  authority = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  own = await credentialsOf(CONTROL);
});
after(async () => {
  for (const daemon of daemons) if (signalProcess(daemon, 'SIGKILL')) await waitGone(daemon, DEADLINE_MS);
  await rm(work, { recursive: true });
});

async function credentialsOf(identity: PeerIdentity): Promise<Credentials> {
  return { caPem: authority.certPem, ...(await issue(authority, { identity, daysValid: 1 })) };
}

interface Qemu {
  readonly target: QmpTarget;
  readonly process: ProcessIdentity;
}

/** A paused QEMU with three TLS monitors and a TLS chardev, on an address of its own, as the agent starts one. */
async function startQemu(generation: number, incoming = false): Promise<Qemu> {
  const address = `127.${randomInt(1, 255)}.${randomInt(0, 255)}.7`;
  const identity: PeerIdentity = { kind: 'incarnation', vmId: VM, generation: parseGeneration(generation) };
  const creds = join(work, `creds-${address}`);
  await writeCredentials(creds, await credentialsOf(identity));
  const { qmp, serial, guestAgent } = portsOfSlot(0);
  const tls = 'tls-creds=tls-server,tls-authz=a';
  const argv = [
    ...['qemu-system-x86_64', '-M', 'q35', '-m', '64', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-S'],
    ...['-object', `tls-creds-x509,id=tls-server,endpoint=server,verify-peer=on,dir=${creds}`],
    ...['-object', `tls-creds-x509,id=tls-client,endpoint=client,verify-peer=on,dir=${creds}`],
    ...['-object', `authz-simple,id=a,identity=${qemuAuthzName(CONTROL)}`],
    ...qmp.flatMap((port, index) => [
      ...['-chardev', `socket,id=m${index},host=${address},port=${port},server=on,wait=off,${tls}`],
      ...['-mon', `chardev=m${index},mode=control`],
    ]),
    ...['-chardev', `socket,id=s,host=${address},port=${serial},server=on,wait=off,${tls}`],
    ...['-serial', 'chardev:s'],
    ...['-chardev', `socket,id=a,host=${address},port=${guestAgent},server=on,wait=off,${tls}`],
    ...['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=a,name=org.qemu.guest_agent.0'],
    ...['-blockdev', 'null-co,node-name=disk0,size=1048576,read-zeroes=on'],
    ...['-device', 'virtio-blk-pci,drive=disk0,werror=stop'],
    ...(incoming ? ['-incoming', 'defer'] : []),
  ];
  const process_ = await spawnDaemon(argv, { stderrFile: join(work, 'stderr'), env: { ...process.env }, cwd: work });
  daemons.push(process_);
  const target: QmpTarget = {
    vm: VM,
    generation: parseGeneration(generation),
    slot: 0,
    host: parseHostName('h1'),
    addresses: { control: address, storage: address, overlay: address },
  };
  const looking = connector();
  for (let attempt = 0; attempt < 400 && isRunning(process_); attempt++) {
    const seen = await looking.observe(target);
    if (seen.kind === 'answers') {
      looking.close();
      return { target, process: process_ };
    }
    await sleep(systemClock, 25);
  }
  throw new Error('QEMU did not start');
}

/** Paths of a control node that is alone: all are direct. */
function directly(): PathsToQemus {
  return { credentials: own, paths: () => pathsFrom({ self: 'c1', controls: [], storage: [] }), relayOf: () => null };
}

function connector(monitor = 0): QmpSessions {
  return qmpOverTls(directly(), { clock: systemClock, monitor });
}

async function statusOf(link: QmpSessions, target: QmpTarget): Promise<string> {
  const seen = await link.observe(target);
  return seen.kind === 'answers' ? seen.status : seen.kind;
}

/** Looks until `wanted`, for 20 s. */
async function until(what: string, wanted: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 800; attempt++) {
    if (await wanted()) return;
    await sleep(systemClock, 25);
  }
  throw new Error(`It did not come to this: ${what}.`);
}

test('a session is kept; three control nodes have a monitor each; a fourth hears nothing', async () => {
  const { target, process: qemu } = await startQemu(1);
  const links = [connector(0), connector(0), connector(0)];
  for (const link of links)
    for (let again = 0; again < 2; again++) assert.equal(await statusOf(link, target), 'prelaunch');
  const fourth = connector(1);
  for (let again = 0; again < 3; again++) assert.match(await statusOf(fourth, target), /^(mute|silent)$/);
  links[1]?.close();
  // The monitor first serves what waited in its queue and has gone in the meantime.
  await until('the monitor is free', async () => (await statusOf(fourth, target)) === 'prelaunch');
  const [first] = links;
  assert.ok(first !== undefined);
  const woken = new Promise<string>((resolve) => first.onEvent(({ vm }) => resolve(vm)));
  await first.cont(target);
  assert.equal(await woken, VM);
  assert.equal(await statusOf(first, target), 'running');
  await first.halt(target);
  assert.equal(await statusOf(first, target), 'paused');
  const told = new Promise<string>((resolve) => first.onEvent(({ vm }) => resolve(vm)));
  signalProcess(qemu, 'SIGKILL');
  await waitGone(qemu, DEADLINE_MS);
  assert.equal(await told, VM);
  assert.equal(await statusOf(first, target), 'refused');
  await first.quit(target);
  await assert.rejects(first.cont(target), { code: 'unavailable' });
  for (const link of [...links, fourth]) link.close();
});

test('what was forgotten while it was opened holds no monitor', async () => {
  const { target } = await startQemu(2);
  const link = connector(0);
  for (let again = 0; again < 4; again++) {
    const observing = link.observe(target);
    link.forget(target.vm, target.generation);
    assert.equal((await observing).kind, 'unknown');
  }
  assert.equal(await statusOf(link, target), 'prelaunch');
  link.close();
});

test('a VM moves between two QEMUs over TLS; each step may be repeated', async () => {
  const [source, destination] = await Promise.all([startQemu(3), startQemu(4, true)]);
  const link = connector(0);
  await link.cont(source.target);
  const told = new Map<number, MigrationTold[]>([source, destination].map(({ target }) => [target.generation, []]));
  link.onEvent(({ generation }, what) => {
    if (what !== null) told.get(generation)?.push(what);
  });
  for (let again = 0; again < 2; again++) await link.listen(destination.target, source.target);
  for (let again = 0; again < 2; again++) await link.send(source.target, destination.target, { slowDown: true });
  await until('the source has sent everything', async () => (await statusOf(link, source.target)) === 'postmigrate');
  const seen = await link.observe(source.target);
  assert.equal(seen.kind === 'answers' ? seen.migration?.status : seen.kind, 'completed');
  assert.equal(seen.kind === 'answers' ? seen.sentTo : null, destination.target.generation);
  const [ending, left, ...more] = told.get(source.target.generation) ?? [];
  assert.deepEqual([ending, more], [{ kind: 'ending' }, []]);
  assert.ok(left?.kind === 'left' && left.sentTo === destination.target.generation && left.pausedMs !== null);
  assert.ok(left.pausedMs >= 0 && left.pausedMs < DEADLINE_MS, String(left.pausedMs));
  // Another control node, which has sent nothing, gets the same answer.
  const other = connector(1);
  const seenByOther = await other.observe(source.target);
  assert.equal(seenByOther.kind === 'answers' ? seenByOther.sentTo : null, destination.target.generation);
  other.close();
  await link.send(source.target, destination.target, { slowDown: true });
  await until('the destination waits', async () => (await statusOf(link, destination.target)) === 'paused');
  assert.deepEqual(told.get(destination.target.generation), [{ kind: 'arrived' }]);
  await link.cont(destination.target);
  assert.equal(await statusOf(link, destination.target), 'running');
  for (const { target } of [source, destination]) await link.quit(target);
  link.close();
});

/** Moves a guest that is paused; its source stays in `postmigrate`. */
async function moveHalted(link: QmpSessions, source: QmpTarget, destination: QmpTarget): Promise<void> {
  await link.listen(destination, source);
  for (let again = 0; again < 2; again++) await link.activate(source);
  await link.send(source, destination, { slowDown: true });
  await until('the source has sent everything', async () => (await statusOf(link, source)) === 'postmigrate');
  await until('the destination has it', async () => (await statusOf(link, destination)) !== 'inmigrate');
}

test('a guest that is never continued moves as often as one likes, as paused as it was, and reset between moves', async () => {
  const link = connector(0);
  const first = await startQemu(10);
  await link.cont(first.target);
  await link.halt(first.target);
  let at = first;
  for (const [generation, arrives] of [
    [11, 'paused'],
    [12, 'paused'],
    [13, 'prelaunch'],
  ] as const) {
    if (arrives === 'prelaunch') {
      await link.reset(at.target);
      await until('the guest was reset', async () => (await statusOf(link, at.target)) === 'prelaunch');
    }
    const next = await startQemu(generation, true);
    await moveHalted(link, at.target, next.target);
    assert.equal(await statusOf(link, next.target), arrives);
    await link.quit(at.target);
    at = next;
  }
  await link.cont(at.target);
  assert.equal(await statusOf(link, at.target), 'running');
  await link.quit(at.target);
  link.close();
});

test('a destination takes the stream of the expected source only', async () => {
  const [source, destination] = await Promise.all([startQemu(5), startQemu(6, true)]);
  const link = connector(0);
  await link.cont(source.target);
  await link.listen(destination.target, { ...source.target, generation: parseGeneration(99) });
  await link.send(source.target, destination.target, { slowDown: true });
  await until('the source has failed to send', async () => {
    const seen = await link.observe(source.target);
    return seen.kind === 'answers' && seen.migration?.status === 'failed';
  });
  assert.equal(await statusOf(link, source.target), 'running');
  // QMP events count again: while the migration was under way, a stop was expected.
  const told: (MigrationTold | null)[] = [];
  link.onEvent((_target, what) => told.push(what));
  await link.halt(source.target);
  await until('its stop is told', () => Promise.resolve(told.length > 0));
  assert.deepEqual(told, [null]);
  link.close();
});

test('a guest without an agent is silent, as often as it is asked, and keeps nobody from asking', async () => {
  const { target } = await startQemu(9);
  const agents = [createGuestAgents(directly(), 1_000), createGuestAgents(directly(), 1_000)];
  for (let again = 0; again < 3; again++) {
    for (const link of agents) {
      const answer = await link.begin(target, 'true');
      assert.equal(answer.kind, 'silent');
      // The port was reached: QEMU has noticed each time that the previous client is gone, although the guest reads
      // nothing.
      assert.match(answer.kind === 'silent' ? answer.why : '', /^No end of the guest agent's answer/);
    }
  }
  const other = { ...target, generation: parseGeneration(99) };
  const stranger = await createGuestAgents(directly()).facts(other);
  assert.match(stranger.kind === 'silent' ? stranger.why : '', /cannot be reached/, 'only to the incarnation itself');
});

test('a console serves one at a time and takes a paste of 500 characters', async () => {
  const { target } = await startQemu(8);
  const console_ = await createSerialPorts(directly()).openSerial(target);
  await assert.rejects(createSerialPorts(directly()).openSerial(target), { code: 'unavailable' });
  // The firmware of this machine does not read its serial port: what is sent must at least be taken whole, byte by
  // byte.
  const pasted = Buffer.alloc(500, 'x');
  await new Promise<void>((resolve, reject) => {
    console_.write(pasted, (error) => (error ? reject(error) : resolve()));
  });
  console_.destroy();
});
