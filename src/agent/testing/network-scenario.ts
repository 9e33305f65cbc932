/**
 * Two hosts and their guests as network namespaces, run by network.net.test.ts inside `unshare`. A guest is a pair of
 * veths whose host end has a tap's name: the driver treats it like a tap.
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
import {
  announcement,
  arp,
  arrivals,
  FRAGMENT,
  frame,
  HOP,
  icmp,
  ipv4,
  ipv6,
  OPTIONS,
  tagged,
  target6,
  udp,
} from './raw-frames.ts';

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
let d: Guest;
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
  // Its namespace exists when it answers.
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
  // For kernels that also show bridged frames to the IP filter: connection tracking reassembles fragments there.
  await inside(pid, [
    'sh',
    '-c',
    'for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$f" ] || echo 0 > "$f"; done',
  ]);
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

/** The notices that a host's guests have acknowledged, according to its last answer. */
const acknowledged = new Map<string, readonly string[]>();

async function ask(host: Host, plan: object): Promise<number> {
  present(host.process.stdin, 'stdin').write(`${JSON.stringify({ plan, taps: host.taps })}\n`);
  for (;;) {
    const { value: line, done } = await host.lines.next();
    if (done === true) throw new Error(`${host.name} ended`);
    if (!line.startsWith('answer ')) continue;
    const answer = JSON.parse(line.slice(7)) as { error: string | null; tookMs: number; acknowledged: string[] };
    const { error, tookMs } = answer;
    acknowledged.set(host.name, answer.acknowledged);
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

/** Whether `to` answers within a second; the neighbour cache is not used. */
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
  d = await makeGuest(h1, { number: 4, vni: 100 });
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

const EVENTS = 'http://169.254.169.254/metadata/scheduledevents?api-version=2019-08-01';
const EVENT = { id: '00000000-0000-8000-8001-00000000000a', state: 'scheduled', notBefore: 1_800_000_000_000 };
const guestOf = (name: string, { address }: Guest, more: object = {}): object => ({
  ...{ vm: `vm-00000000000${name}`, name, vni: 100, address, incarnation: 2, event: null },
  ...more,
});

/** The answer to a guest; null: none within three seconds. */
async function metadata({ pid }: Guest, url = EVENTS, more: readonly string[] = []): Promise<string | null> {
  const argv = [
    'busybox',
    'timeout',
    '3',
    'busybox',
    'wget',
    '-q',
    '-O',
    '-',
    '--header',
    'Metadata: true',
    ...more,
    url,
  ];
  const { exitCode, stdout } = await inside(pid, argv);
  return exitCode === 0 ? stdout : null;
}

test('the metadata service: each guest is told its own, nobody else anything, and nothing else is at its address', async () => {
  const on = (peer: string) => lan([peer], { metadata: true });
  const guests = [guestOf('a', a, { event: EVENT })];
  const told = (host: Host, networks: readonly object[], more: object): Promise<number> =>
    ask(host, { revision: ++revision, networks, drop: [], ...more });
  assert.equal(await metadata(a), null, 'before it is turned on');
  await told(h1, [on('10.79.0.2'), other], { guests });
  await told(h2, [on('10.79.0.1')], { guests: [guestOf('b', b)] });
  assert.match((await metadata(a)) ?? '', /"EventId":"00000000-0000-8000-8001-00000000000a".*"Scheduled"/);
  assert.match((await metadata(a, EVENTS.replace('scheduledevents', 'instance'))) ?? '', /"name":"a"/);
  assert.equal(await metadata(b), '{"DocumentIncarnation":2,"Events":[]}');
  // A guest in another network, and an address that no guest has.
  assert.equal(await metadata(c), null);
  assert.equal(await metadata(d), null);
  // Nor does a frame with the address of another guest of its host pass.
  await inside(d.pid, ['ip', 'address', 'add', `${a.address}/32`, 'dev', 'eth0']);
  await inside(d.pid, ['ip', 'route', 'add', '169.254.169.254', 'via', GATEWAY, 'src', a.address]);
  assert.equal(await metadata(d), null);
  await inside(d.pid, ['ip', 'route', 'delete', '169.254.169.254']);
  await inside(d.pid, ['ip', 'address', 'delete', `${a.address}/32`, 'dev', 'eth0']);
  for (const [address, port] of [
    ['169.254.169.254', 22],
    ['169.254.169.254', 7446],
    [GATEWAY, 7446],
    [GATEWAY, 80],
  ] as const)
    assert.equal(await connects(a, address, port), false, `${address}:${port}`);
  assert.equal(await reaches(a, '169.254.169.254'), false);
  const start = ['--post-data', JSON.stringify({ StartRequests: [{ EventId: EVENT.id }] })];
  assert.equal(await metadata(b, EVENTS, start), null, 'the event of another');
  assert.equal(await metadata(a, EVENTS, start), '{}');
  await told(h1, [on('10.79.0.2'), other], { guests });
  assert.deepEqual(acknowledged.get('h1'), [EVENT.id]);
  await ordinary();
  assert.equal(await metadata(a), null, 'after it is turned off');
  assert.deepEqual(acknowledged.get('h1'), []);
});

test('guests of a network with the metadata service get a route to it by DHCP, beside the one to the outside', async () => {
  const script = join(work, 'routes');
  await writeFile(script, '#!/bin/sh\n[ "$1" = bound ] && echo "$staticroutes" || true\n', { mode: 0o755 });
  const argv = ['busybox', 'udhcpc', '-i', 'eth0', '-n', '-q', '-f', '-t', '3', '-T', '1'];
  const routes = async (): Promise<string> =>
    (await inside(a.pid, [...argv, '-O', 'staticroutes', '-s', script])).stdout.trim();
  await apply(h1, [lan(['10.79.0.2'], { metadata: true }), other]);
  assert.equal(await routes(), `169.254.169.254/32 ${GATEWAY} 0.0.0.0/0 ${GATEWAY}`);
  await apply(h1, [lan(['10.79.0.2'], { metadata: true, nat: false }), other]);
  assert.equal(await routes(), `169.254.169.254/32 ${GATEWAY}`);
  await ordinary();
});

const LINK_LOCAL = 'fe80:0:0:0:0:ff:fe00:1';
const A = { mac: '02:00:00:00:00:01', address: '10.0.0.11' };
const B_ADDRESS = '10.0.0.12';
const B_LINK_LOCAL = 'fe80:0:0:0:0:ff:fe00:2';
const A6 = { ...A, address: LINK_LOCAL };
const as = (address: string) => ({ ...A, address });
const UDP = 17;
const ICMP = 1;
const ICMP6 = 58;
const ROUTER = 134;
const LAST = { name: 'last', frame: arp('last', A) };

/** The frames in the order in which they are sent. */
const ALLOWED: Readonly<Record<string, (name: string) => Buffer>> = {
  'its own address': (name) => arp(name, A),
  'an answer with its own address': (name) => arp(name, A, { operation: 2 }),
  'a floating address, asked for': (name) => arp(name, as('0.0.0.0'), { target: '10.0.0.200' }),
  'a floating address': (name) => arp(name, as('10.0.0.200'), { target: '10.0.0.200' }),
  'a packet from a floating address': (name) => ipv4(as('10.0.0.200'), udp(name, 5405, 5405), { protocol: UDP }),
  'a packet': (name) => ipv4(A, udp(name, 68, 67), { protocol: UDP }),
  'asking for an address by DHCP': (name) => ipv4(as('0.0.0.0'), udp(name, 68, 67), { protocol: UDP }),
  'the announcement of a migration': (name) => announcement(name, A),
  'IPv6, link-local': (name) => ipv6(A6, UDP, udp(name, 5405, 5405)),
  'IPv6, a floating address': (name) => ipv6(as('fd00:0:0:0:0:0:0:7'), UDP, udp(name, 5405, 5405)),
  'IPv6, echo': (name) => ipv6(A6, ICMP6, icmp(name, 128)),
  'IPv6, duplicate address detection': (name) =>
    ipv6(as('0:0:0:0:0:0:0:0'), ICMP6, icmp(name, 135, target6('fd00:0:0:0:0:0:0:7'))),
  'IPv6, its own address advertised': (name) => ipv6(A6, ICMP6, icmp(name, 136, target6(LINK_LOCAL))),
  'IPv6, multicast listener report': (name) =>
    ipv6(as('0:0:0:0:0:0:0:0'), 0, Buffer.concat([HOP(ICMP6), icmp(name, 143)])),
  'IPv6, first fragment of UDP': (name) => ipv6(A6, 44, Buffer.concat([FRAGMENT(UDP, 0, true), udp(name, 9, 9)])),
  'IPv6, another fragment of UDP': (name) => ipv6(A6, 44, Buffer.concat([FRAGMENT(UDP, 9, false), udp(name, 9, 9)])),
};

const FORBIDDEN: Readonly<Record<string, (name: string) => Buffer>> = {
  'VLAN 0, own address': (name) => tagged(arp(name, A), 0x8100, 0),
  'VLAN 0, the gateway': (name) => tagged(arp(name, as(GATEWAY)), 0x8100, 0),
  'VLAN 0 with a priority, a packet': (name) => tagged(ipv4(A, udp(name, 1, 1), { protocol: UDP }), 0x8100, 0xe000),
  'VLAN 0, a DHCP answer': (name) => tagged(ipv4(A, udp(name, 67, 68), { protocol: UDP }), 0x8100, 0),
  'VLAN 5, a packet': (name) => tagged(ipv4(A, udp(name, 1, 1), { protocol: UDP }), 0x8100, 5),
  '802.1ad, the gateway': (name) => tagged(arp(name, as(GATEWAY)), 0x88a8, 0),
  '802.1ad and 802.1Q, another': (name) => tagged(tagged(arp(name, as(B_ADDRESS)), 0x8100, 0), 0x88a8, 0),
  '802.1Q twice': (name) => tagged(tagged(arp(name, A), 0x8100, 0), 0x8100, 0),
  'another MAC address': (name) => arp(name, { ...A, mac: '02:00:00:00:00:99' }),
  "the gateway's MAC address": (name) => arp(name, { ...A, mac: '02:67:70:00:00:01' }),
  'another MAC address within ARP': (name) => arp(name, A, { senderMac: '02:00:00:00:00:99' }),
  'ARP of another kind': (name) => arp(name, A, { hardwareBytes: 8 }),
  'ARP with another operation': (name) => arp(name, A, { operation: 8 }),
  'the address of another': (name) => arp(name, as(B_ADDRESS)),
  'asking whether the address of another is free': (name) => arp(name, as('0.0.0.0'), { target: B_ADDRESS }),
  "the gateway's address": (name) => arp(name, as(GATEWAY), { operation: 2 }),
  "the network's own address": (name) => arp(name, as('10.0.0.0')),
  'the broadcast address': (name) => arp(name, as('10.0.0.255')),
  'an address outside the network': (name) => arp(name, as('10.0.1.5')),
  'RARP that is no announcement': (name) => announcement(name, A, 4),
  'a packet from the address of another': (name) => ipv4(as(B_ADDRESS), udp(name, 1, 1), { protocol: UDP }),
  "a packet from the gateway's address": (name) => ipv4(as(GATEWAY), udp(name, 1, 1), { protocol: UDP }),
  'a packet from the broadcast address': (name) => ipv4(as('10.0.0.255'), udp(name, 1, 1), { protocol: UDP }),
  'a packet from outside the network': (name) => ipv4(as('192.0.2.1'), udp(name, 1, 1), { protocol: UDP }),
  'a packet from a loopback address': (name) => ipv4(as('127.0.0.1'), udp(name, 1, 1), { protocol: UDP }),
  'a packet from a multicast address': (name) => ipv4(as('224.0.0.5'), udp(name, 1, 1), { protocol: UDP }),
  'a packet from nobody that is not DHCP': (name) => ipv4(as('0.0.0.0'), udp(name, 1, 1), { protocol: UDP }),
  'a DHCP answer': (name) => ipv4(A, udp(name, 67, 68), { protocol: UDP }),
  'an ICMP redirect': (name) => ipv4(A, icmp(name, 5), { protocol: ICMP }),
  'an ICMP router advertisement': (name) => ipv4(A, icmp(name, 9), { protocol: ICMP }),
  'IPv6 from the link-local address of another': (name) => ipv6(as(B_LINK_LOCAL), UDP, udp(name, 1, 1)),
  'IPv6 from the loopback address': (name) => ipv6(as('0:0:0:0:0:0:0:1'), UDP, udp(name, 1, 1)),
  'IPv6 from nobody': (name) => ipv6(as('0:0:0:0:0:0:0:0'), UDP, udp(name, 1, 1)),
  'IPv6 from a multicast address': (name) => ipv6(as('ff02:0:0:0:0:0:0:1'), UDP, udp(name, 1, 1)),
  'the link-local address of another, advertised': (name) => ipv6(A6, ICMP6, icmp(name, 136, target6(B_LINK_LOCAL))),
  'asking whether the link-local address of another is free': (name) =>
    ipv6(as('0:0:0:0:0:0:0:0'), ICMP6, icmp(name, 135, target6(B_LINK_LOCAL))),
  'a router advertisement': (name) => ipv6(A6, ICMP6, icmp(name, ROUTER)),
  'a router advertisement after hop-by-hop options': (name) =>
    ipv6(A6, 0, Buffer.concat([HOP(ICMP6), icmp(name, ROUTER)])),
  'a router advertisement after destination options': (name) =>
    ipv6(A6, 60, Buffer.concat([OPTIONS(ICMP6), icmp(name, ROUTER)])),
  'a router advertisement after both': (name) =>
    ipv6(A6, 0, Buffer.concat([HOP(60), OPTIONS(ICMP6), icmp(name, ROUTER)])),
  'a router advertisement in one fragment': (name) =>
    ipv6(A6, 44, Buffer.concat([FRAGMENT(ICMP6, 0, false), icmp(name, ROUTER)])),
  'the first fragment of a router advertisement': (name) =>
    ipv6(A6, 44, Buffer.concat([FRAGMENT(ICMP6, 0, true), icmp(name, ROUTER)])),
  'the second fragment of ICMPv6': (name) => ipv6(A6, 44, Buffer.concat([FRAGMENT(ICMP6, 4, false), icmp(name, 0)])),
  'a router advertisement in a fragment after options': (name) =>
    ipv6(A6, 44, Buffer.concat([FRAGMENT(60, 0, true), OPTIONS(ICMP6), icmp(name, ROUTER)])),
  'the second fragment after options': (name) =>
    ipv6(A6, 44, Buffer.concat([FRAGMENT(60, 4, false), icmp(name, ROUTER)])),
  'a listener report whose options lead to a fragment': (name) =>
    ipv6(A6, 0, Buffer.concat([HOP(44), FRAGMENT(ICMP6, 0, true), icmp(name, 143)])),
  'an ICMPv6 redirect': (name) => ipv6(A6, ICMP6, icmp(name, 137)),
  'a DHCPv6 answer': (name) => ipv6(A6, UDP, udp(name, 547, 546)),
  'a DHCPv6 answer in a fragment': (name) => ipv6(A6, 44, Buffer.concat([FRAGMENT(UDP, 0, true), udp(name, 547, 546)])),
  LLDP: (name) => frame(A.mac, 0x88cc, Buffer.from(`gpm:${name};`)),
  MPLS: (name) => frame(A.mac, 0x8847, Buffer.from(`gpm:${name};`)),
  'PPPoE discovery': (name) => frame(A.mac, 0x8863, Buffer.from(`gpm:${name};`)),
  '802.1X': (name) => frame(A.mac, 0x888e, Buffer.from(`gpm:${name};`)),
  'an 802.2 frame': (name) => frame(A.mac, 40, Buffer.from(`gpm:${name};`)),
  'an unknown type': (name) => frame(A.mac, 0x9000, Buffer.from(`gpm:${name};`)),
};

/** Returns the interface index of `eth0` in a guest. */
async function ends(from: Guest, at: Guest): Promise<Parameters<typeof arrivals>[0]> {
  const of = async ({ pid }: Guest): Promise<{ pid: number; index: number }> => {
    const { stdout } = await inside(pid, ['ip', '-json', 'link', 'show', 'dev', 'eth0']);
    return { pid, index: (JSON.parse(stdout) as { ifindex: number }[])[0]?.ifindex ?? 0 };
  };
  return { from: await of(from), at: await of(at) };
}

test('what a guest may send arrives: untagged IPv4, ARP and IPv6 from its own and from floating addresses', async () => {
  const frames = Object.entries(ALLOWED).map(([name, make]) => make(name));
  assert.deepEqual(await arrivals(await ends(a, d), frames, LAST), Object.keys(ALLOWED));
});

test('nothing else arrives, whatever it is wrapped in: not on its own host, not on another', async () => {
  const frames = Object.entries(FORBIDDEN).map(([name, make]) => make(name));
  for (const at of [d, b]) assert.deepEqual(await arrivals(await ends(a, at), frames, LAST), []);
});

test('frames to the bridge itself do not get around the filter to the host', async () => {
  const host = present(h1.process.pid, 'pid');
  const say =
    'use IO::Socket::INET; $s=IO::Socket::INET->new(Proto=>"udp",LocalAddr=>"10.77.0.1:5555") or die; $|=1; print "ready\n"; while($s->recv($d,9000)){print "$d\n"; last if $d eq "over"}';
  const ear = spawn('nsenter', ['--target', String(host), '--net', '--', 'perl', '-e', say], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const heard: string[] = [];
  try {
    for await (const line of createInterface({ input: present(ear.stdout, 'stdout') })) {
      if (line !== 'ready') {
        heard.push(line);
        continue;
      }
      const evil = ipv4(A, udp('evil', 5, 5555), { protocol: UDP, destination: '10.77.0.1', to: '01:80:c2:00:00:0e' });
      await arrivals(await ends(a, d), [evil], LAST);
      const send = 'use IO::Socket::INET; IO::Socket::INET->new(Proto=>"udp",PeerAddr=>"10.77.0.1:5555")->send("over")';
      await inside(host, ['perl', '-e', send]);
    }
  } finally {
    ear.kill('SIGKILL');
  }
  assert.deepEqual(heard, ['over']);
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
