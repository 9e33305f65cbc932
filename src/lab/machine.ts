/**
 * A machine of the cluster: network, process, mount and host-name namespaces of its own with an init in them.
 * Guarantees: everything that runs on it is in its process namespace, so that killing its init ends all of it at one
 * moment; its /run is in memory; it has a boot id of its own, new at every boot; of the cluster's directory it sees its
 * own part, not the other machines'.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { present } from '../base/assert.ts';
import { CodedError, messageOf } from '../base/errors.ts';
import { type RunResult, tryRun } from '../os/child-process.ts';
import { withDeadline } from '../os/deadline.ts';
import { isRunning, listProcesses, type ProcessRecord, signalProcess, waitGone } from '../os/process-table.ts';
import { codeCacheDir } from './code-cache.ts';
import { type LabLayout, MACHINE_POOL_DIR, MACHINE_RUN_DIR } from './layout.ts';
import type { MachineKind, MachineSpec } from './shape.ts';
import { plugIn, unplug } from './underlay.ts';

const BOOT_DEADLINE_MS = 20_000;
const END_DEADLINE_MS = 10_000;

/** The IP filter does not see frames between ports of a bridge: no connection tracking, no NAT for them. */
export const BRIDGE_SYSCTLS: readonly (readonly [name: string, value: string])[] = [
  ['net/bridge/bridge-nf-call-iptables', '0'],
  ['net/bridge/bridge-nf-call-ip6tables', '0'],
  ['net/bridge/bridge-nf-call-arptables', '0'],
];

/**
 * The kernel's patience, cut so that a peer that vanished is noticed within seconds: unanswered data after about 6 s
 * (RTO 0.2 s doubled 4 times), unanswered SYNs after 7 s, idle connections with keepalive after 5 + 3 s. Hosts are
 * left out: there the agent does it.
 */
const PATIENCE_SYSCTLS: readonly (readonly [name: string, value: string])[] = [
  ['net/ipv4/tcp_retries2', '4'],
  ['net/ipv4/tcp_syn_retries', '2'],
  ['net/ipv4/tcp_keepalive_time', '5'],
  ['net/ipv4/tcp_keepalive_intvl', '1'],
  ['net/ipv4/tcp_keepalive_probes', '3'],
];

const SYSCTLS: readonly (readonly [name: string, value: string])[] = [
  // The underlay is IPv4: no neighbour discovery on links that shall be silent when nothing is sent.
  ['net/ipv6/conf/default/disable_ipv6', '1'],
  ...BRIDGE_SYSCTLS,
];

/** $1 host name, $2 the machine's directory, $3 directory of all machines, $4 directory to hide or ''. */
const bootScript = (kind: MachineKind): string => `
set -eu
hostname "$1"
mount -t tmpfs -o mode=755 none /run
mkdir -p -m 1777 /run/tmp
mkdir -m 755 ${MACHINE_RUN_DIR} /run/own
mount --bind "$2" /run/own
mount -t tmpfs -o mode=755,size=64k none "$3"
mkdir -m 700 "$2"
mount --bind /run/own "$2"
umount /run/own
rmdir /run/own
if [ -n "$4" ]; then mount -t tmpfs -o mode=700,size=64k none "$4"; fi
${[...(kind === 'host' ? [] : PATIENCE_SYSCTLS), ...SYSCTLS].map(([name, value]) => `[ ! -e /proc/sys/${name} ] || echo ${value} > /proc/sys/${name}`).join('\n')}
# The disks' daemons run as users of their own: they reach the pool past directories that are closed to others.
if [ -d "$2/pool" ]; then mkdir -m 711 ${MACHINE_POOL_DIR}; mount --bind "$2/pool" ${MACHINE_POOL_DIR}; fi
# QEMU's users may open this one; the mode of the real machine's is not ours to change. An ordinary user cannot make one.
if [ -c /dev/net/tun ] && mknod -m 666 /run/tun c 10 200 2> /dev/null; then chmod 666 /run/tun; mount --bind /run/tun /dev/net/tun; fi
cat /proc/sys/kernel/random/uuid > /run/boot-id
mount --bind /run/boot-id /proc/sys/kernel/random/boot_id
echo booted
exec tini -- sleep infinity > /dev/null
`;

export interface Machine {
  readonly spec: MachineSpec;
  /** Its init, in the room's numbering. */
  readonly init: ProcessRecord;
  /** Settles when the last process of the machine is gone. */
  readonly ended: Promise<void>;
}

/** The prefix of an argv that runs a command on a machine. Only `init`'s pid is used. */
export function enterArgv(initPid: number): readonly string[] {
  return ['nsenter', '--target', String(initPid), '--mount', '--uts', '--net', '--pid', '--'];
}

/** The environment of everything on a machine. */
export function machineEnv(layout: LabLayout): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    HOME: MACHINE_RUN_DIR,
    LANG: 'C.UTF-8',
    TMPDIR: '/run/tmp',
    NODE_COMPILE_CACHE: codeCacheDir(layout),
  };
}

/** Boots a machine: namespaces, init, links. Throws CodedError 'failed' with the system's message. */
export async function bootMachine(spec: MachineSpec, layout: LabLayout): Promise<Machine> {
  const hidden = spec.kind === 'control' ? '' : layout.authorityDir;
  const child = spawn(
    'unshare',
    [
      ...['--mount', '--uts', '--net', '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc', '--'],
      ...[
        'sh',
        '-c',
        bootScript(spec.kind),
        'boot',
        spec.name,
        layout.machine(spec.name).dir,
        layout.machinesDir,
        hidden,
      ],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: machineEnv(layout), cwd: '/' },
  );
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  try {
    await withDeadline((signal) => booted(child, signal), {
      deadlineMs: BOOT_DEADLINE_MS,
      what: `the boot of ${spec.name}`,
    });
    const init = present(childOf(present(child.pid, 'pid')), `init of ${spec.name}`);
    await plugIn(spec, init.pid);
    return { spec, init, ended };
  } catch (error) {
    // The namespace's init goes with its parent (--kill-child).
    child.kill('SIGKILL');
    throw new CodedError('failed', `Machine ${spec.name} did not boot: ${messageOf(error)}`, { cause: error });
  }
}

/** Kills everything on the machine in one stroke, and waits until its links are gone too. */
export async function killMachine(machine: Machine): Promise<void> {
  signalProcess(machine.init, 'SIGKILL');
  await waitGone(machine.init, END_DEADLINE_MS);
  await unplug(machine.spec);
}

/** All processes of the machine but its init, in the room's numbering. */
export function processesOf(machine: Machine): readonly ProcessRecord[] {
  const namespace = pidNamespace(machine.init.pid);
  if (namespace === undefined) return [];
  // Processes that only accompany tini, and those that have ended already, do not count.
  return listProcesses().filter(
    (record) =>
      record.pid !== machine.init.pid &&
      record.state !== 'Z' &&
      !(record.ppid === machine.init.pid && record.argv[0] === 'sleep' && record.argv[1] === 'infinity') &&
      pidNamespace(record.pid) === namespace,
  );
}

export interface ExecOptions {
  readonly layout: LabLayout;
  readonly deadlineMs: number;
  readonly input?: string | undefined;
}

/** Runs a program on the machine. Its failing status is a result. */
export function execOn(machine: Machine, argv: readonly string[], options: ExecOptions): Promise<RunResult> {
  if (!isRunning(machine.init)) throw new CodedError('conflict', `${machine.spec.name} is not running.`);
  return tryRun([...enterArgv(machine.init.pid), ...argv], {
    deadlineMs: options.deadlineMs,
    input: options.input,
    env: machineEnv(options.layout),
    cwd: '/',
    outputBytesMax: 4 * 1024 * 1024,
  });
}

/** The only child of a process: what `unshare --fork` and `nsenter --pid` forked. Undefined while there is none. */
export function childOf(pid: number): ProcessRecord | undefined {
  return listProcesses().find((record) => record.ppid === pid);
}

function pidNamespace(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
}

function booted(child: ChildProcess, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = '';
    child.stderr?.on('data', (chunk: Uint8Array) => {
      if (said.length < 4096) said += String(chunk);
    });
    child.stdout?.once('data', () => resolve());
    child.once('error', reject);
    child.once('exit', (code) => reject(new CodedError('failed', `exit status ${code}: ${said.trim()}`)));
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
