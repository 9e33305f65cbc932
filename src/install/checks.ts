/**
 * The checks before a machine becomes a member of a cluster, also run by `gp doctor`. Guarantees: a check changes
 * nothing, ends by a deadline, and says what to do if it finds something.
 */
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, readlink, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { basename, dirname } from 'node:path';
import { probeAccelerator } from '../agent/qemu/probe.ts';
import { CodedError, messageOf } from '../base/errors.ts';
import { VERSION } from '../base/version.ts';
import { PORTS } from '../core/model/ports.ts';
import { tryRun } from '../os/child-process.ts';
import { ownInterfaces } from '../os/own-addresses.ts';
import { listProcesses } from '../os/process-table.ts';
import { probeTcp } from '../os/tcp-probe.ts';
import { readCredentials } from '../pki/credentials.ts';
import { type KnownControl, latestKnownControls } from '../rpc/known-controls.ts';
import { readClusterFile } from './cluster-file.ts';
import { type ControlAnswer, healthAt } from './control-health.ts';
import { type MachineConfig, networksOf } from './machine-config.ts';
import {
  type Judged,
  judgeClock,
  judgeHealth,
  judgeHosts,
  judgeName,
  judgePrograms,
  judgeQemus,
  judgeVersions,
  type WantedProgram,
} from './machine-facts.ts';
import { roleStateDir } from './role-config.ts';
import { isActive, statusText } from './services.ts';
import { identityDir, type MachineRole, rolesOf, unitRole } from './setup.ts';
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
const DAY_MS = 86_400_000;
/** A renewal is due with 30 days left, and has two to succeed. */
const DAYS_LEFT_MIN = 28;
const ROLE_PORTS: Readonly<Record<MachineRole, readonly number[]>> = {
  control: [PORTS.control, PORTS.controlPeer, PORTS.etcdClient, PORTS.etcdPeer],
  storage: [PORTS.storage, PORTS.target],
  host: [PORTS.agent],
};

/** Looks at a machine that is to be a member: `controls` are the addresses of control nodes that it will join. */
export async function preflight(machine: MachineConfig, controls: readonly string[]): Promise<readonly Finding[]> {
  const answers = await Promise.all(controls.map(askControl));
  return findings({
    ...common(machine),
    ports: () => portsFree(machine),
    versions: async () => judgeVersions({ installed: VERSION, running: [], cluster: releaseIn(answers) }),
    ...reached(answers, { oneIsEnough: true }),
  });
}

/** Examines a machine that is a member: all that `preflight` examines, and what only a member has. */
export async function diagnose(machine: MachineConfig): Promise<readonly Finding[]> {
  const controls = await controlsOf(machine);
  const answers = await Promise.all(controls.map(({ address }) => askControl(address)));
  return findings({
    ...common(machine),
    services: () => servicesRun(machine),
    ports: () => portsServed(machine),
    versions: () => versionsFit(machine, releaseIn(answers)),
    ...(machine.host === undefined ? {} : { QEMUs: qemusRun }),
    certificates: () => certificatesLast(machine),
    time: timeIsKept,
    ...(machine.control === undefined ? {} : { membership: () => isMember(machine, controls) }),
    ...reached(answers),
  });
}

/** The control nodes, as a service of this machine learned them last. */
async function controlsOf(machine: MachineConfig): Promise<readonly KnownControl[]> {
  const stateDirs = rolesOf(machine).map((role) => roleStateDir(STATE_DIR, unitRole(role)));
  return (await latestKnownControls(stateDirs)) ?? (await readClusterFile(STATE_DIR))?.controls ?? [];
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
    programs: () => programsFit(machine),
    ...reachability(machine),
  };
}

/** On the control network, and on the storage network where that is another one. */
function reachability(machine: MachineConfig): Readonly<Record<string, Check>> {
  const { control, storage = control } = machine.networks;
  const check = (network: 'control' | 'storage'): Check => {
    return () => reachabilityIsRefused(networksOf(machine, ownInterfaces())[network]);
  };
  return {
    'port 7449': check('control'),
    ...(storage === control ? {} : { 'port 7449, storage': check('storage') }),
  };
}

/** `oneIsEnough`: a machine joins by any control node, whatever the others are. */
function reached(answers: readonly Answer[], { oneIsEnough = false } = {}): Readonly<Record<string, Check>> {
  const isOneWell = oneIsEnough && answers.some(({ said }) => !(said instanceof CodedError));
  const look = async (answer: Answer): Promise<Judged> => {
    const { said, address } = answer;
    if (!isOneWell || !(said instanceof CodedError)) return controlIsWell(answer);
    return { level: 'warning', found: said.message, advice: `Another control node answers; ${address} is left out.` };
  };
  return Object.fromEntries(answers.map((answer) => [`control node ${answer.address}`, () => look(answer)]));
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

/** The answer of a control node: its health and its clock, or the reason why there is none. */
interface Answer {
  readonly address: string;
  readonly said: ControlAnswer | CodedError;
}

async function askControl(address: string): Promise<Answer> {
  try {
    const { outcome } = await probeTcp({ address, port: PORTS.control }, PROBE_MS);
    if (outcome === 'accepted') return { address, said: await healthAt({ address, port: PORTS.control }, PROBE_MS) };
    const advice = 'Check the network between, and the server there: `journalctl -u groundplane-control`.';
    return { address, said: new CodedError('unavailable', `${address}:${PORTS.control}: ${outcome}.`, { advice }) };
  } catch (error) {
    if (error instanceof CodedError) return { address, said: error };
    throw error;
  }
}

/** A server that waits says so; otherwise its clock is looked at. */
async function controlIsWell({ address, said }: Answer): Promise<Judged> {
  if (said instanceof CodedError) throw said;
  const health = judgeHealth(address, said.health);
  const clock = judgeClock(address, said.clock);
  if (health.level !== 'ok') return health;
  return clock.level === 'ok' ? { ...clock, found: `${clock.found}; ${health.found}` } : clock;
}

/** Returns the cluster's release by the first control node that states it; null if none does. */
function releaseIn(answers: readonly Answer[]): string | null {
  const said = answers.flatMap((one) => (one.said instanceof CodedError ? [] : [one.said.health.release]));
  return said.find((release) => release !== null) ?? null;
}

/** Checks that each role of the machine listens: its own kernel must accept a connection to the role's ports. */
async function portsServed(machine: MachineConfig): Promise<Judged> {
  const { control } = networksOf(machine, ownInterfaces());
  const silent: string[] = [];
  const served = { ...ROLE_PORTS, storage: [PORTS.storage] };
  for (const role of rolesOf(machine))
    for (const port of served[role]) {
      const { outcome } = await probeTcp({ address: control, port }, PROBE_MS);
      if (outcome !== 'accepted') silent.push(`${control}:${port} (${role}) is ${outcome}`);
    }
  if (silent.length === 0) return { level: 'ok', found: 'its services listen on them' };
  return {
    level: 'bad',
    found: `${silent.join(', ')}.`,
    advice: "A service listens when it has what it waits for; `journalctl -u 'groundplane-*'` says what that is.",
  };
}

async function versionsFit(machine: MachineConfig, cluster: string | null): Promise<Judged> {
  const running: { service: string; version: string | null }[] = [];
  for (const role of rolesOf(machine)) {
    if (!(await isActive(unitRole(role)))) continue;
    const version = /^version (\S+)$/.exec(await statusText(unitRole(role)))?.[1] ?? null;
    running.push({ service: `groundplane-${unitRole(role)}`, version });
  }
  return judgeVersions({ installed: VERSION, running, cluster });
}

const QEMU = { program: 'qemu-system-x86_64', from: [7, 2] } as const satisfies WantedProgram;
const DISK_DAEMON = { program: 'qemu-storage-daemon', from: [7, 2] } as const satisfies WantedProgram;
const ETCD = { program: 'etcd', from: [3, 4], below: [3, 6] } as const satisfies WantedProgram;

async function programsFit(machine: MachineConfig): Promise<Judged> {
  const wanted: readonly WantedProgram[] = [
    ...(machine.host === undefined ? [] : [QEMU]),
    ...(machine.storage === undefined ? [] : [DISK_DAEMON]),
    ...(machine.control === undefined ? [] : [ETCD]),
  ];
  const printed = wanted.map(async (one) => {
    const text = await tryRun([one.program, '--version'], { deadlineMs: CALL_MS }).then(
      ({ stdout }) => stdout,
      () => null,
    );
    return { wanted: one, text };
  });
  return judgePrograms(await Promise.all(printed));
}

/** Counts the QEMUs that run, and those of them whose program file was replaced. */
const qemusRun: Check = async () => {
  const qemus = listProcesses().filter(({ argv }) => basename(argv[0] ?? '') === QEMU.program);
  const files = await Promise.all(qemus.map(({ pid }) => readlink(`/proc/${pid}/exe`).catch(() => '')));
  return judgeQemus({ running: qemus.length, replaced: files.filter((file) => file.endsWith(' (deleted)')).length });
};

async function isMember(machine: MachineConfig, controls: readonly KnownControl[]): Promise<Judged> {
  const { name } = machine;
  const only = rolesOf(machine).length > 1 ? ' --control' : '';
  if (controls.some((node) => node.name === name)) return { level: 'ok', found: 'one of the control nodes' };
  return {
    level: 'bad',
    found: `${name} is no control node any more: it was removed from its cluster.`,
    advice: `\`gp leave --local${only}\` ends that role here; then \`gp join\` with a new token.`,
  };
}

async function servicesRun(machine: MachineConfig): Promise<Judged> {
  const wanted = rolesOf(machine).flatMap((role) =>
    role === 'control' ? (['etcd', 'control'] as const) : [unitRole(role)],
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
      'The leader renews certificates with 30 days left: see that its alarms (gp cluster show) name this machine, and that the control nodes reach it. A certificate that has ended needs `gp join` with a new token.',
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
