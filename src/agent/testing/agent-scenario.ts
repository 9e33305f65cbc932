/** The agent with real QEMUs, run by agent.qemu.test.ts inside namespaces. QEMU_USERS is `per-slot` or `self`. */

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CodedError, type ErrorCode } from '../../base/errors.ts';
import { dnsName, type PeerIdentity } from '../../base/identity.ts';
import { parseGeneration, parseHostName } from '../../base/ids.ts';
import { createDisplays } from '../../control/links/displays.ts';
import { litPixels, RfbViewer } from '../../control/testing/rfb-viewer.ts';
import { pathsFrom } from '../../core/model/paths.ts';
import { PORTS, portsOfSlot } from '../../core/model/ports.ts';
import type { HostReport, KillResult, LaunchResult, MachineFigures } from '../../core/ports/host-link.ts';
import type { Daemon } from '../../os/child-process.ts';
import { isRunning, readProcess, signalProcess, waitGone } from '../../os/process-table.ts';
import { until } from '../../os/testing/until.ts';
import { connectQmp } from '../../qmp/connect.ts';
import { RpcClient } from '../../rpc/client.ts';
import { CONTROL, exportOf, HOST, incarnation, type Rig, startRig, VM } from './rig.ts';

const USERS = process.env['QEMU_USERS'] === 'self' ? 'self' : 'per-slot';
const DEADLINE_MS = 30_000;
const MIB = 1024 ** 2;
const SLOT = 3;
const MAC = '02:00:00:00:00:01';

let rig: Rig;
let agent: Daemon;
let revision = 1;

const coded = (code: ErrorCode, message: RegExp) => (error: unknown) => {
  assert(error instanceof CodedError);
  assert.match(error.message, message);
  assert.equal(error.code, code);
  return true;
};

function call<T>(path: string, body?: unknown): Promise<T> {
  const method = body === undefined ? 'GET' : 'POST';
  return rig.client.call({ method, path, body, deadlineMs: DEADLINE_MS, parse: (value) => value as T });
}
const report = (): Promise<HostReport> => call('/v1/report');
const kill = (generations: readonly number[], term = 5): Promise<KillResult> =>
  call('/v1/kill', { term, vm: VM, generations, reason: 'test' });

function disk(name: string, role: 'data' | 'nvram' = 'data'): object {
  return { disk: 'disk-0123456789ab', role, bus: 'virtio', readOnly: false, export: exportOf(name), patienceMs: 1000 };
}

async function order(generation: number, changes: object = {}): Promise<object> {
  return {
    term: 5,
    vm: VM,
    vmName: 'web1',
    generation,
    slot: SLOT,
    incoming: false,
    machine: {
      vcpus: 1,
      memoryBytes: 64 * MIB,
      cpuModel: 'baseline',
      firmware: 'bios',
      kernel: null,
      initrd: null,
      append: null,
    },
    disks: [disk('disk')],
    nics: [{ mac: MAC, network: 'lan', vni: 100 }],
    credentials: await rig.credentialsOf(incarnation(generation)),
    network: network(),
    ...changes,
  };
}

function network(): object {
  const lan = {
    name: 'lan',
    vni: 100,
    peers: [],
    gateway: { address: '10.0.0.1', prefixLength: 24 },
    nat: false,
    dhcp: [{ mac: MAC, address: '10.0.0.2', hostname: 'web1' }],
  };
  return { revision: revision++, networks: [lan], drop: [] };
}

interface Command {
  readonly who?: PeerIdentity;
  readonly slot?: number;
  readonly args?: object;
}

/** One QMP command at monitor 0; throws when there is no session. */
async function qmp<T>(
  generation: number,
  command: string,
  { who = CONTROL, slot = SLOT, args }: Command = {},
): Promise<T> {
  const credentials = await rig.credentialsOf(who);
  const port = portsOfSlot(slot).qmp[0];
  const connection = await connectQmp(
    { kind: 'tls', host: '127.0.0.1', port, credentials, peer: incarnation(generation) },
    { deadlineMs: 5_000 },
  );
  assert(connection.outcome === 'answers', connection.outcome);
  try {
    return await connection.session.execute<T>(command, args, { deadlineMs: 5_000 });
  } finally {
    connection.session.close();
  }
}
const status = async (generation: number, slot = SLOT): Promise<string> =>
  (await qmp<{ status: string }>(generation, 'query-status', { slot })).status;

const directory = (generation: number): string => join(rig.runDir, `${VM}-g${generation}`);
const taps = (): readonly string[] => readFileSync('/proc/self/net/dev', 'utf8').match(/gpt\d+n\d+/g) ?? [];
const serialBytes = (generation: number): number => statSync(join(directory(generation), 'serial.log')).size;

function assertNothingLeft(): void {
  assert.deepEqual(taps(), []);
  assert.deepEqual(
    readdirSync(rig.runDir).filter((name) => name.startsWith('vm-')),
    [],
  );
}

before(async () => {
  rig = await startRig(USERS);
  agent = await rig.startAgent();
});

after(async () => {
  const { incarnations } = await report();
  await kill(
    incarnations.map(({ generation }) => generation),
    9,
  );
  signalProcess(agent, 'SIGTERM');
  await waitGone(agent, DEADLINE_MS);
  await rig.end();
});

test('an agent without VMs reports its capacity and nothing else', async () => {
  const { host, incarnations, capacity, networkRevision } = await report();
  assert.equal(host, 'h1');
  assert.deepEqual(incarnations, []);
  assert.equal(capacity.accelerator, 'tcg');
  assert.equal(networkRevision, 0);
  await until('models', async () => (await report()).capacity.cpuModels.length > 1);
  await until('QEMU', async () => /^\d+\.\d+\.\d+$/.test((await report()).qemuVersion ?? ''));
});

test('a launched VM stands halted, confined, and only control nodes may speak to it', async () => {
  const launched = await call<LaunchResult>('/v1/launch', await order(5));
  assert.equal(launched.already, false);
  const { incarnations } = await report();
  assert.deepEqual(incarnations, [
    { vm: VM, generation: 5, slot: SLOT, pid: launched.pid, startTicks: launched.startTicks, incoming: false },
  ]);
  assert.equal(await status(5), 'prelaunch');
  await assert.rejects(qmp(5, 'query-status', { who: HOST }));
  await assert.rejects(qmp(5, 'query-status', { who: incarnation(5) }));
  const proc = readFileSync(`/proc/${launched.pid}/status`, 'utf8');
  assert.match(proc, USERS === 'self' ? /^Uid:\s+0\s/m : new RegExp(`^Uid:\\s+${600_000 + SLOT}\\s`, 'm'));
  assert.match(proc, /^CapEff:\s+0+$/m);
  assert.match(proc, /^CapBnd:\s+0+$/m);
  assert.match(proc, /^NoNewPrivs:\s+1$/m);
  assert.match(proc, /^Seccomp:\s+2$/m);
  assert.doesNotMatch((readProcess(launched.pid)?.argv ?? []).join(' '), /BEGIN/);
  assert.deepEqual(taps(), [`gpt${SLOT}n0`]);
  assert.equal(existsSync(join(directory(5), 'ready.sock')), false);
});

test('the same order again changes nothing', async () => {
  const before_ = (await report()).incarnations[0];
  const again = await call<LaunchResult>('/v1/launch', await order(5));
  assert.deepEqual(again, { pid: before_?.pid, startTicks: before_?.startTicks, already: true, listens: false });
});

test('older generations, older terms, a slot that is held and other identities are refused', async () => {
  await assert.rejects(call('/v1/launch', await order(4)), coded('stale-order', /Generation 5/));
  await assert.rejects(call('/v1/launch', await order(6)), coded('conflict', /Slot 3 is held/));
  await assert.rejects(call('/v1/launch', await order(6, { term: 4, slot: 4 })), coded('stale-order', /term 5/));
  await assert.rejects(kill([5], 4), coded('stale-order', /term 5/));
  await assert.rejects(call('/v1/launch', await order(6, { slot: -1 })), coded('bad-input', /slot/));
  await assert.rejects(call('/v1/launch', await order(6, { receives: 5 })), coded('bad-input', /incoming/));
  await assert.rejects(call('/v1/launch', await order(6, { needs: ['x'] })), coded('unsupported', /needs x/));
  const credentials = await rig.credentialsOf(incarnation(5));
  const other = new RpcClient({ credentials, target: { address: '127.0.0.1', port: PORTS.agent, identity: HOST } });
  await assert.rejects(
    other.call({ method: 'GET', path: '/v1/report', deadlineMs: DEADLINE_MS, parse: () => undefined }),
    coded('forbidden', /may not/),
  );
  other.close();
  assert.equal((await report()).incarnations.length, 1);
});

test('the guest runs, and its console can be read through the agent', async () => {
  await qmp(5, 'cont');
  await until('console output', async () => {
    const text = await rig.client.download(`/v1/log?vm=${VM}&generation=5&bytes=200`, { deadlineMs: DEADLINE_MS });
    const chunks: Buffer[] = [];
    for await (const chunk of text.stream as AsyncIterable<Buffer>) chunks.push(chunk);
    return Buffer.concat(chunks).toString().includes('ABCDEFGHIJKLMNOPQRSTUVWXYZ\n');
  });
});

test('what a QEMU uses is counted by the kernel and told by the agent', async () => {
  const path = `/v1/figures?vm=${VM}&generation=5`;
  const parse = (value: unknown) => value as MachineFigures;
  const figures = await rig.client.call({ method: 'GET', path, deadlineMs: DEADLINE_MS, parse });
  assert.ok(figures.cpuMs > 0 && figures.residentBytes > 2 ** 20, JSON.stringify(figures));
});

test('an agent that is killed disturbs no VM, and a new one finds it', async () => {
  const before_ = (await report()).incarnations;
  signalProcess(agent, 'SIGKILL');
  await waitGone(agent, DEADLINE_MS);
  assert.equal(await status(5), 'running');
  agent = await rig.startAgent();
  assert.deepEqual((await report()).incarnations, before_);
  const again = await call<LaunchResult>('/v1/launch', await order(5));
  assert.equal(again.already, true);
  await assert.rejects(call('/v1/launch', await order(4)), coded('stale-order', /Generation 5/));
  assert.deepEqual(taps(), [`gpt${SLOT}n0`]);
});

test('the serial log stays short, with an agent and without one', async () => {
  const limit = 4 * MIB;
  signalProcess(agent, 'SIGKILL');
  await waitGone(agent, DEADLINE_MS);
  await until('the log is as long as it can get', () => serialBytes(5) === limit);
  assert.equal(await status(5), 'running');
  agent = await rig.startAgent();
  await until('the log was cut', () => serialBytes(5) < limit);
  const size = serialBytes(5);
  await until('the log grows again', () => serialBytes(5) !== size);
});

test('an incarnation that was ordered to end is gone with all it had, however often that is ordered', async () => {
  const [running] = (await report()).incarnations;
  assert(running !== undefined);
  assert.deepEqual(await kill([4]), { killed: [] });
  assert.deepEqual(await kill([4, 5]), { killed: [5] });
  assert.equal(isRunning({ pid: running.pid, startTicks: Number(running.startTicks) }), false);
  assertNothingLeft();
  assert.deepEqual(await kill([4, 5]), { killed: [] });
  await assert.rejects(call('/v1/launch', await order(5)), coded('stale-order', /ordered to end/));
});

test('a launch that fails says why and leaves nothing', async () => {
  const wrong = await order(6, { disks: [disk('nosuchdisk')] });
  await assert.rejects(call('/v1/launch', wrong), coded('failed', /QEMU ended with status 1: .*nosuchdisk/s));
  await until('tidied', () => taps().length === 0);
  assertNothingLeft();
  assert.deepEqual((await report()).incarnations, []);
});

test('a launch that is ordered to end while it starts ends', async () => {
  const launching = call('/v1/launch', await order(7));
  launching.catch(() => undefined);
  await until('a directory', () => existsSync(directory(7)));
  await kill([7]);
  await assert.rejects(launching, coded('stale-order', /ordered to end/));
  assert.deepEqual((await report()).incarnations, []);
  assertNothingLeft();
});

test('a destination waits for a migration stream; UEFI has its variables on a disk', async () => {
  const machine = { ...((await order(8)) as { machine: object }).machine, firmware: 'uefi' };
  await call('/v1/launch', await order(8, { incoming: true, machine, disks: [disk('disk'), disk('nvram', 'nvram')] }));
  assert.equal((await report()).incarnations[0]?.incoming, true);
  assert.equal(await status(8), 'inmigrate');
  assert.deepEqual(await kill([8]), { killed: [8] });
});

test('a running guest migrates to a machine launched for it elsewhere, by the credentials both were launched with', async () => {
  const slot = SLOT + 1;
  await call('/v1/launch', await order(10));
  await qmp(10, 'cont');
  await until('console output', () => existsSync(join(directory(10), 'serial.log')) && serialBytes(10) > 0);
  const launch = await order(11, { slot, incoming: true, receives: 10 });
  assert.equal((await call<LaunchResult>('/v1/launch', launch)).listens, true);
  assert.equal((await call<LaunchResult>('/v1/launch', launch)).listens, false, 'nobody knows of one that runs');
  const uri = `tcp:127.0.0.1:${portsOfSlot(slot).migration}`;
  const tls = { 'tls-creds': 'tls-client', 'tls-hostname': dnsName(incarnation(11)) };
  await qmp(10, 'migrate-set-parameters', { args: tls });
  await qmp(10, 'migrate', { args: { uri } });
  await until('the source is done', async () => (await status(10)) === 'postmigrate');
  await until('the destination has it', async () => (await status(11, slot)) === 'paused');
  await qmp(11, 'cont', { slot });
  await until('the guest goes on', () => existsSync(join(directory(11), 'serial.log')) && serialBytes(11) > 1000);
  assert.deepEqual(new Set((await kill([10, 11])).killed), new Set([10, 11]));
  assertNothingLeft();
});

test('files and taps of a QEMU that ended by itself are removed', async () => {
  const { pid, startTicks } = await call<LaunchResult>('/v1/launch', await order(12));
  signalProcess({ pid, startTicks: Number(startTicks) }, 'SIGKILL');
  await until('tidied', () => taps().length === 0 && !existsSync(directory(12)));
  assert.deepEqual((await report()).incarnations, []);
});

/** The display of an incarnation, as a control node opens it. */
async function displayOf(generation: number, slot: number, who: PeerIdentity = CONTROL): Promise<RfbViewer> {
  const displays = createDisplays({
    credentials: await rig.credentialsOf(who),
    paths: () => pathsFrom({ self: 'c1', controls: [], storage: [] }),
    relayOf: () => null,
  });
  const addresses = { control: '127.0.0.1', storage: '127.0.0.1', overlay: '127.0.0.1' };
  const target = { vm: VM, generation: parseGeneration(generation), slot, host: parseHostName('h1'), addresses };
  const viewer = new RfbViewer(await displays.openDisplay(target));
  await viewer.begin();
  return viewer;
}

test('what a guest draws is seen by two viewers, by control nodes only, and after a migration', async () => {
  const machine = { ...((await order(13)) as { machine: object }).machine, display: 'vga' };
  await call('/v1/launch', await order(13, { machine }));
  for (const who of [HOST, incarnation(13)]) await assert.rejects(displayOf(13, SLOT, who), { code: 'unavailable' });
  await assert.rejects(displayOf(12, SLOT), { code: 'unavailable' }, 'another incarnation than the expected one');
  const [one, two] = [await displayOf(13, SLOT), await displayOf(13, SLOT)];
  await qmp(13, 'cont');
  // SeaBIOS prints its name and the device that it boots from.
  await until('the firmware has written something', async () => litPixels(await one.look()) > 500);
  assert.equal((await one.look()).name, 'QEMU (web1)');
  await until('the other viewer sees it', async () => litPixels(await two.look()) > 500);
  await call('/v1/launch', await order(14, { slot: SLOT + 1, incoming: true, receives: 13, machine }));
  const uri = `tcp:127.0.0.1:${portsOfSlot(SLOT + 1).migration}`;
  const tls = { 'tls-creds': 'tls-client', 'tls-hostname': dnsName(incarnation(14)) };
  await qmp(13, 'migrate-set-parameters', { args: tls });
  await qmp(13, 'migrate', { args: { uri } });
  await until('the destination has it', async () => (await status(14, SLOT + 1)) === 'paused');
  await qmp(14, 'cont', { slot: SLOT + 1 });
  const there = await displayOf(14, SLOT + 1);
  await until('the picture is there too', async () => litPixels(await there.look()) > 500);
  assert.deepEqual(new Set((await kill([13, 14])).killed), new Set([13, 14]));
  await assert.rejects(one.look(), /ended/);
});
