/**
 * Two hosts and their guests as network namespaces, run by network.net.test.ts inside `unshare`. A guest is a pair of veths
 * whose host end has a tap's name: what the driver does with a tap it does with that.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { present } from '../../base/assert.ts';
import { type RunResult, run, tryRun } from '../../os/child-process.ts';
import { listProcesses } from '../../os/process-table.ts';

const DEADLINE_MS = 20_000;
const OUTSIDE = '192.0.2.1';
const GATEWAY = '10.0.0.1';

interface Host {
  readonly name: string;
  readonly process: ChildProcess;
  readonly lines: AsyncIterator<string, undefined>;
  readonly taps: { device: string; vni: number; mac: string; uid: number }[];
  readonly overlay: string;
}
interface Guest {
  readonly pid: number;
  readonly address: string;
}

let work: string;
let outside: Server;
let h1: Host;
let h2: Host;
let a: Guest;
let b: Guest;
let c: Guest;
let revision = 0;
const sleepers: ChildProcess[] = [];

const ip = (lines: readonly string[]): Promise<RunResult> =>
  run(['ip', '-batch', '-'], { deadlineMs: DEADLINE_MS, input: `${lines.join('\n')}\n` });
const inside = (pid: number, argv: readonly string[]): Promise<RunResult> =>
  tryRun(['nsenter', '--target', String(pid), '--net', '--', ...argv], { deadlineMs: DEADLINE_MS });

async function makeHost(number: number): Promise<Host> {
  const name = `h${number}`;
  const runDir = join(work, name);
  await mkdir(runDir);
  await chmod(runDir, 0o755);
  const overlay = `10.79.0.${number}`;
  const main = fileURLToPath(new URL('network-host.ts', import.meta.url));
  const argv = ['--net', '--', process.execPath, main, name, `10.77.0.${number}`, overlay, runDir];
  const child = spawn('unshare', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  const pid = present(child.pid, 'pid');
  const lines = createInterface({ input: present(child.stdout, 'stdout') })[Symbol.asyncIterator]();
  const host = { name, process: child, lines, taps: [], overlay };
  // Its namespace is there when it answers.
  await ask(host, { revision: 0, networks: [], drop: [] }).catch(() => undefined);
  await ip([
    `link add u${number} type veth peer name ovl0 netns ${pid}`,
    `link add c${number} type veth peer name ctl0 netns ${pid}`,
    `link set u${number} master und up`,
    `link set c${number} master ctl up`,
  ]);
  for (const words of [
    `address add ${overlay}/24 dev ovl0`,
    `address add 10.77.0.${number}/24 dev ctl0`,
    'link set lo up',
    'link set ovl0 up',
    'link set ctl0 up',
    'route add default via 10.77.0.254',
  ])
    await inside(pid, ['ip', ...words.split(' ')]);
  return host;
}

async function makeGuest(host: Host, { number, vni }: { number: number; vni: number }): Promise<Guest> {
  const sleeper = spawn('unshare', ['--net', '--', 'sleep', '1000'], { stdio: 'ignore' });
  sleepers.push(sleeper);
  const pid = present(sleeper.pid, 'pid');
  const hostPid = present(host.process.pid, 'pid');
  const device = `gpt${number}n0`;
  const mac = `02:00:00:00:00:0${number}`;
  // unshare(2) comes before exec(2): when the name is there, the namespace is.
  while (listProcesses().find((record) => record.pid === pid)?.argv[0] !== 'sleep') await new Promise(setImmediate);
  await ip([`link add ${device} netns ${hostPid} type veth peer name eth0 mtu 1450 address ${mac} netns ${pid}`]);
  const address = `10.0.0.${number + 10}`;
  await inside(pid, ['ip', 'link', 'set', 'lo', 'up']);
  await inside(pid, ['ip', 'link', 'set', 'eth0', 'up']);
  await inside(pid, ['ip', 'address', 'add', `${address}/24`, 'dev', 'eth0']);
  await inside(pid, ['ip', 'route', 'add', 'default', 'via', GATEWAY]);
  host.taps.push({ device, vni, mac, uid: 0 });
  return { pid, address };
}

async function ask(host: Host, plan: object): Promise<number> {
  present(host.process.stdin, 'stdin').write(`${JSON.stringify({ plan, taps: host.taps })}\n`);
  for (;;) {
    const { value: line, done } = await host.lines.next();
    if (done === true) throw new Error(`${host.name} ended`);
    if (!line.startsWith('answer ')) continue;
    const { error, tookMs } = JSON.parse(line.slice(7)) as { error: string | null; tookMs: number };
    if (error !== null) throw new Error(error);
    return tookMs;
  }
}

const RESERVED = [
  { mac: '02:00:00:00:00:01', address: '10.0.0.11', hostname: 'a' },
  { mac: '02:00:00:00:00:02', address: '10.0.0.12', hostname: 'b' },
];

function lan(peers: readonly string[], changes: object = {}): object {
  const gateway = { address: GATEWAY, prefixLength: 24 };
  return { name: 'lan', vni: 100, peers, gateway, nat: true, dhcp: RESERVED, ...changes };
}
const other = { name: 'other', vni: 200, peers: [], gateway: null, nat: false, dhcp: null };

function apply(host: Host, networks: readonly object[], drop: readonly string[] = []): Promise<number> {
  revision += 1;
  return ask(host, { revision, networks, drop });
}

async function ordinary(): Promise<void> {
  await apply(h1, [lan(['10.79.0.2']), other]);
  await apply(h2, [lan(['10.79.0.1'])]);
}

/** Whether `to` answers within a second; neighbours are asked for anew. */
async function reaches(from: Guest, to: string, options: readonly string[] = []): Promise<boolean> {
  await inside(from.pid, ['ip', 'neigh', 'flush', 'all']);
  const ping = ['busybox', 'ping', '-c', '1', '-W', '1', ...options, to];
  return (await inside(from.pid, ping)).exitCode === 0;
}

async function connects(from: Guest, address: string, port: number): Promise<boolean> {
  return (await inside(from.pid, ['busybox', 'nc', '-w', '1', address, String(port), '-e', 'true'])).exitCode === 0;
}

before(async () => {
  work = await mkdtemp(join(tmpdir(), 'gp-net-'));
  await ip([
    'link set lo up',
    'link add und type bridge',
    'link add ctl type bridge',
    'link set und up',
    'link set ctl up',
    'address add 10.77.0.254/24 dev ctl',
    `address add ${OUTSIDE}/32 dev lo`,
  ]);
  outside = createServer((socket) => socket.on('error', () => undefined).end()).listen(8080, OUTSIDE);
  h1 = await makeHost(1);
  h2 = await makeHost(2);
  a = await makeGuest(h1, { number: 1, vni: 100 });
  b = await makeGuest(h2, { number: 2, vni: 100 });
  c = await makeGuest(h1, { number: 3, vni: 200 });
  await ordinary();
});

after(async () => {
  outside.close();
  for (const child of [...sleepers, h1.process, h2.process]) child.kill('SIGKILL');
  await rm(work, { recursive: true });
});

test('two guests on different hosts reach each other, with packets as large as they may be', async () => {
  assert(await reaches(a, b.address));
  assert(await reaches(b, a.address, ['-s', '1422']));
});

test('an older plan is refused; the same again changes nothing', async () => {
  await assert.rejects(ask(h1, { revision: revision - 2, networks: [], drop: [] }), /older than plan/);
  const before_ = (await inside(present(h1.process.pid, 'pid'), ['ip', '-json', 'link'])).stdout;
  revision += 1;
  await ordinary();
  assert.equal((await inside(present(h1.process.pid, 'pid'), ['ip', '-json', 'link'])).stdout, before_);
  assert(await reaches(a, b.address));
});

test('another network on the same host is apart', async () => {
  assert.equal(await reaches(c, a.address), false);
  assert.equal(await reaches(c, b.address), false);
});

test('a guest reaches its gateway and by NAT the outside, and neither host nor underlay', async () => {
  assert(await reaches(a, GATEWAY));
  assert(await reaches(b, GATEWAY));
  assert(await reaches(a, OUTSIDE));
  assert(await connects(a, OUTSIDE, 8080));
  for (const address of ['10.77.0.1', '10.77.0.2', '10.77.0.254', '10.79.0.1', '10.79.0.2'])
    assert.equal(await reaches(a, address), false, address);
  // A port on which the host listens: refused would be an answer of the host; nothing must come back.
  const listening = (await inside(a.pid, ['busybox', 'nc', '-w', '1', GATEWAY, '22', '-e', 'true'])).stderr;
  assert.doesNotMatch(listening, /refused/);
  await apply(h1, [lan(['10.79.0.2'], { nat: false }), other]);
  assert.equal(await reaches(a, OUTSIDE), false);
  assert(await reaches(a, GATEWAY));
  await ordinary();
  assert(await reaches(a, OUTSIDE));
});

test("a gateway is its own host's only", async () => {
  await apply(h2, [lan(['10.79.0.1'], { gateway: null, nat: false, dhcp: null })]);
  assert(await reaches(b, a.address));
  assert.equal(await reaches(b, GATEWAY), false);
  await ordinary();
  assert(await reaches(b, GATEWAY));
});

test('DHCP gives the reserved address, on its own host only', async () => {
  const script = join(work, 'leased');
  await writeFile(script, '#!/bin/sh\n[ "$1" = bound ] && echo "$ip $router $mtu $subnet" || true\n', { mode: 0o755 });
  const ask_ = ({ pid }: Guest): Promise<RunResult> =>
    inside(pid, ['busybox', 'udhcpc', '-i', 'eth0', '-n', '-q', '-f', '-t', '3', '-T', '1', '-O', 'mtu', '-s', script]);
  assert.match((await ask_(a)).stdout, /^10\.0\.0\.11 10\.0\.0\.1 1450 255\.255\.255\.0$/m);
  assert.match((await ask_(b)).stdout, /^10\.0\.0\.12 /m);
  // b's reservation moves to another address, and then away from its own host.
  const moved = [present(RESERVED[0], 'a'), { mac: '02:00:00:00:00:02', address: '10.0.0.77', hostname: 'b' }];
  await apply(h2, [lan(['10.79.0.1'], { dhcp: moved })]);
  assert.match((await ask_(b)).stdout, /^10\.0\.0\.77 /m);
  await apply(h2, [lan(['10.79.0.1'], { dhcp: [present(RESERVED[0], 'a')] })]);
  assert.notEqual((await ask_(b)).exitCode, 0);
  await ordinary();
});

test("a guest cannot take another's address or MAC, nor the gateway's; a free address it can", async () => {
  const eth0 = (...words: readonly string[]): Promise<RunResult> =>
    inside(a.pid, ['ip', 'address', ...words, 'dev', 'eth0']);
  for (const [address, works] of [
    ['10.0.0.12', false],
    [GATEWAY, false],
    ['10.0.0.200', true],
  ] as const) {
    await eth0('add', `${address}/24`);
    await inside(a.pid, ['ip', 'neigh', 'flush', 'all']);
    const arping = ['busybox', 'arping', '-c', '1', '-w', '1', '-I', 'eth0', '-s', address, '10.0.0.12'];
    if (address !== '10.0.0.12') assert.equal((await inside(a.pid, arping)).exitCode === 0, works, address);
    else assert.equal(await reaches(b, '10.0.0.12'), true);
    await eth0('delete', `${address}/24`);
  }
  await inside(a.pid, ['ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:99']);
  assert.equal(await reaches(a, b.address), false);
  await inside(a.pid, ['ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:01']);
  await inside(a.pid, ['ip', 'route', 'replace', 'default', 'via', GATEWAY]);
  assert(await reaches(a, b.address));
});

test('who is not in the flood list is not reached, and a dropped host reaches nobody', async () => {
  await apply(h1, [lan([]), other]);
  assert.equal(await reaches(a, b.address), false);
  await apply(h1, [lan(['10.79.0.2']), other], ['10.79.0.2']);
  assert.equal(await reaches(a, b.address), false);
  assert.equal(await reaches(b, a.address), false);
  await ordinary();
  assert(await reaches(a, b.address));
});

test("a network whose range is the host's own gets no gateway there", async () => {
  await apply(h1, [lan(['10.79.0.2'], { gateway: { address: '10.77.0.100', prefixLength: 16 } }), other]);
  assert(await reaches(a, b.address));
  const { stdout } = await inside(present(h1.process.pid, 'pid'), ['ip', '-4', 'address', 'show', 'dev', 'gpb100']);
  assert.equal(stdout, '');
  await ordinary();
});

test('a network that is not in the plan leaves nothing', async () => {
  await apply(h1, [other]);
  const { stdout } = await inside(present(h1.process.pid, 'pid'), ['ip', '-oneline', 'link']);
  assert.doesNotMatch(stdout, /gp[bx]100/);
  assert.match(stdout, /gpb200/);
  const servers = listProcesses().filter(({ argv, state }) => argv[0] === 'dnsmasq' && state !== 'Z');
  assert.deepEqual(
    servers.map(({ argv }) => argv.at(-1)?.includes('/h2/')),
    [true],
  );
  await ordinary();
  assert(await reaches(a, b.address));
});

test('the median of 10 changes is applied within a second', async () => {
  const tookMs: number[] = [];
  for (let i = 0; i < 10; i++) tookMs.push(await apply(h1, [lan(i % 2 === 0 ? [] : ['10.79.0.2']), other]));
  tookMs.sort((x, y) => x - y);
  process.stdout.write(`# applied in ${tookMs.join(', ')} ms\n`);
  assert((tookMs[5] ?? 0) < 1_000);
});
