/**
 * The checks before a machine becomes a member of a cluster, also run by `gp doctor`. Guarantees: a check changes
 * nothing, ends by a deadline, and says what to do if it finds something.
 */
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, statfs } from 'node:fs/promises';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { dirname } from 'node:path';
import { probeAccelerator } from '../agent/qemu/probe.ts';
import { CodedError, messageOf } from '../base/errors.ts';
import { type ClockOffset, clockOffset } from '../core/model/clock-offset.ts';
import { PORTS } from '../core/model/ports.ts';
import { tryRun } from '../os/child-process.ts';
import { systemClock } from '../os/clock.ts';
import { ownInterfaces } from '../os/own-addresses.ts';
import { probeTcp } from '../os/tcp-probe.ts';
import { readCredentials } from '../pki/credentials.ts';
import { readClusterFile } from './cluster-file.ts';
import { type MachineConfig, networksOf } from './machine-config.ts';
import { type Judged, judgeClock, judgeHosts, judgeName } from './machine-facts.ts';
import { isActive } from './services.ts';
import { identityDir, type MachineRole, rolesOf } from './setup.ts';
import { STATE_DIR } from './units.ts';

/** The result of a check: `bad` keeps a machine from being a member. */
export interface Finding extends Judged {
  readonly check: string;
}

type Check = () => Promise<Judged>;

const GIB = 1024 ** 3;
const FREE_BYTES_MIN = 2 * GIB;
const MTU_MIN = 1500;
const PROBE_MS = 2_000;
const CALL_MS = 10_000;
const SECOND_MS = 1_000;
const DAY_MS = 86_400_000;
/** A renewal is due with 30 days left, and has two to succeed. */
const DAYS_LEFT_MIN = 28;
const ROLE_PORTS: Readonly<Record<MachineRole, readonly number[]>> = {
  control: [PORTS.control, PORTS.controlPeer, PORTS.etcdClient, PORTS.etcdPeer],
  storage: [PORTS.storage, PORTS.target],
  host: [PORTS.agent],
};

/** Looks at a machine that is to be a member: `controls` are the addresses of control nodes that it will join. */
export function preflight(machine: MachineConfig, controls: readonly string[]): Promise<readonly Finding[]> {
  return findings({
    ...common(machine),
    ports: () => portsFree(machine),
    ...reached(controls),
  });
}

/** Looks at a machine that is a member. */
export async function diagnose(machine: MachineConfig): Promise<readonly Finding[]> {
  const cluster = await readClusterFile(STATE_DIR);
  return findings({
    ...common(machine),
    services: () => servicesRun(machine),
    certificates: () => certificatesLast(machine),
    time: timeIsKept,
    ...reached(cluster?.controls.map(({ address }) => address) ?? []),
  });
}

function common(machine: MachineConfig): Readonly<Record<string, Check>> {
  return {
    localhost: localhostIsNamed,
    name: async () => judgeName(machine.name, hostname()),
    networks: async () => {
      const { control, storage, overlay, overlayDevice } = networksOf(machine, ownInterfaces());
      return { level: 'ok', found: `control ${control}, storage ${storage}, overlay ${overlay} on ${overlayDevice}` };
    },
    ...(machine.host === undefined ? {} : { mtu: () => mtuIsEnough(machine), kvm: kvmRuns }),
    space: () => spaceIsThere(machine),
    'port 7449': () => reachabilityIsRefused(networksOf(machine, ownInterfaces()).control),
  };
}

function reached(controls: readonly string[]): Readonly<Record<string, Check>> {
  return Object.fromEntries(controls.map((address) => [`control node ${address}`, () => controlIsReached(address)]));
}

async function findings(checks: Readonly<Record<string, Check>>): Promise<readonly Finding[]> {
  const all: Finding[] = [];
  for (const [check, look] of Object.entries(checks)) {
    try {
      all.push({ check, ...(await look()) });
    } catch (error) {
      const advice = error instanceof CodedError ? error.advice : undefined;
      const found = error instanceof CodedError ? error.message : messageOf(error);
      all.push({ check, level: 'bad', found, advice });
    }
  }
  return all;
}

const localhostIsNamed: Check = async () => judgeHosts(await readFile('/etc/hosts', 'utf8').catch(() => ''));

async function mtuIsEnough(machine: MachineConfig): Promise<Judged> {
  const { overlayDevice } = networksOf(machine, ownInterfaces());
  const mtu = Number(await readFile(`/sys/class/net/${overlayDevice}/mtu`, 'utf8'));
  if (mtu >= MTU_MIN) return { level: 'ok', found: `${overlayDevice}: ${mtu}` };
  return {
    level: 'bad',
    found: `The MTU of ${overlayDevice} is ${mtu}.`,
    advice: `Tunnels need ${MTU_MIN} at least; guests have 50 less than the tunnel.`,
  };
}

const kvmRuns: Check = async () => {
  const { accelerator, reason } = await probeAccelerator('auto', tmpdir());
  if (accelerator === 'kvm') return { level: 'ok', found: 'a probe guest runs under KVM' };
  return {
    level: 'warning',
    found: `Guests run in software emulation, which is slow: ${reason ?? 'no KVM'}.`,
    advice: 'Turn virtualization on in the firmware of the machine.',
  };
};

async function spaceIsThere(machine: MachineConfig): Promise<Judged> {
  const low: string[] = [];
  const seen: string[] = [];
  for (const directory of new Set([
    STATE_DIR,
    ...(machine.storage === undefined ? [] : [machine.storage.pool ?? STATE_DIR]),
  ])) {
    const { bavail, bsize } = await statfs(existing(directory));
    const text = `${directory}: ${Math.floor((bavail * bsize) / GIB)} GiB free`;
    (bavail * bsize < FREE_BYTES_MIN ? low : seen).push(text);
  }
  if (low.length === 0) return { level: 'ok', found: seen.join(', ') };
  return { level: 'bad', found: `${low.join(', ')}.`, advice: `${FREE_BYTES_MIN / GIB} GiB are needed at least.` };
}

function existing(directory: string): string {
  return existsSync(directory) ? directory : existing(dirname(directory));
}

async function reachabilityIsRefused(address: string): Promise<Judged> {
  const { outcome } = await probeTcp({ address, port: PORTS.reachability }, PROBE_MS);
  if (outcome === 'refused') return { level: 'ok', found: `the kernel refuses it at ${address}` };
  return {
    level: 'bad',
    found: `A connection to ${address}:${PORTS.reachability} is ${outcome}, not refused.`,
    advice: 'Nothing may listen there, and no firewall may drop it: a machine that is silent there counts as lost.',
  };
}

async function portsFree(machine: MachineConfig): Promise<Judged> {
  const { control, storage } = networksOf(machine, ownInterfaces());
  const taken: string[] = [];
  for (const role of rolesOf(machine)) {
    // A role that was set up before, by this machine itself, has its ports.
    if ((await readCredentials(identityDir(role))) !== undefined) continue;
    for (const port of ROLE_PORTS[role])
      for (const address of new Set([control, storage]))
        if (!(await canListen(address, port))) taken.push(`${address}:${port}`);
  }
  if (taken.length === 0) return { level: 'ok', found: 'free' };
  return { level: 'bad', found: `Somebody listens at ${taken.join(', ')}.`, advice: '`ss -ltnp` says who.' };
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host, port }, () => server.close(() => resolve(true)));
  });
}

async function controlIsReached(address: string): Promise<Judged> {
  const { outcome } = await probeTcp({ address, port: PORTS.control }, PROBE_MS);
  if (outcome === 'accepted') return judgeClock(address, await clockAt(address));
  return { level: 'bad', found: `${address}:${PORTS.control}: ${outcome}.`, advice: 'Check the network between.' };
}

/**
 * The clock of a control node, by the date of its answer, in whole seconds. The identity of the answering machine is
 * not checked: its answer is only shown to people.
 */
function clockAt(address: string): Promise<ClockOffset> {
  const sentAt = systemClock.monotonicMs();
  return new Promise((resolve, reject) => {
    const options = { host: address, port: PORTS.control, path: '/healthz', timeout: PROBE_MS };
    const asked = request({ ...options, rejectUnauthorized: false }, (answer) => {
      answer.destroy();
      const theirs = Date.parse(answer.headers.date ?? '') + SECOND_MS / 2;
      const ours = { receivedAt: Date.now(), roundTripMs: systemClock.monotonicMs() - sentAt };
      const { offsetMs, errorMs } = clockOffset(theirs, ours);
      if (Number.isNaN(theirs)) reject(new CodedError('failed', `The server at ${address} does not say its time.`));
      else resolve({ offsetMs, errorMs: errorMs + SECOND_MS / 2 });
    });
    asked.once('timeout', () => asked.destroy(new Error('no answer in time')));
    asked.once('error', (error) =>
      reject(new CodedError('unavailable', `${address}:${PORTS.control}: ${messageOf(error)}.`, { cause: error })),
    );
    asked.end();
  });
}

async function servicesRun(machine: MachineConfig): Promise<Judged> {
  const wanted = rolesOf(machine).flatMap((role) =>
    role === 'control'
      ? (['etcd', 'control'] as const)
      : role === 'host'
        ? (['agent'] as const)
        : (['storage'] as const),
  );
  const dead: string[] = [];
  for (const role of wanted) if (!(await isActive(role))) dead.push(`groundplane-${role}`);
  if (dead.length === 0) return { level: 'ok', found: wanted.join(', ') };
  return { level: 'bad', found: `Not running: ${dead.join(', ')}.`, advice: `\`journalctl -u ${dead[0]}\` says why.` };
}

async function certificatesLast(machine: MachineConfig): Promise<Judged> {
  const ends: string[] = [];
  let daysMin = Number.POSITIVE_INFINITY;
  for (const role of rolesOf(machine)) {
    const credentials = await readCredentials(identityDir(role));
    if (credentials === undefined)
      return { level: 'bad', found: `There is no identity of the ${role}.`, advice: 'Join.' };
    const { validTo } = new X509Certificate(credentials.certPem);
    const days = Math.floor((Date.parse(validTo) - Date.now()) / DAY_MS);
    daysMin = Math.min(daysMin, days);
    ends.push(`${role}: ${days} days left`);
  }
  if (daysMin >= DAYS_LEFT_MIN) return { level: 'ok', found: ends.join(', ') };
  return {
    level: 'bad',
    found: `${ends.join(', ')}.`,
    advice:
      'The leader renews certificates with 30 days left: see that its alarms (gp cluster show) name this machine, and that the control nodes reach it. One that has ended needs `gp join` with a new token.',
  };
}

const timeIsKept: Check = async () => {
  const argv = ['timedatectl', 'show', '--property=NTPSynchronized', '--value'];
  const { stdout } = await tryRun(argv, { deadlineMs: CALL_MS });
  if (stdout.trim() === 'yes') return { level: 'ok', found: 'synchronized' };
  return {
    level: 'warning',
    found: 'The clock is not known to be synchronized.',
    advice: 'Run chrony or systemd-timesyncd: certificates depend on the time.',
  };
};
