/**
 * Says what a test run left behind on the machine. Guarantees: every process that our tests started and that kept its
 * environment is found, whatever its name; other processes count only if they are orphans of programs that we use and
 * started during the run.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** Set for every process of a test run; children inherit it. */
export const RUN_VARIABLE = 'GROUNDPLANE_TEST_RUN';

/** The programs that Groundplane starts, as the kernel names them (15 characters). */
const PROGRAMS = new Set(['qemu-system-x86', 'qemu-storage-da', 'etcd', 'dnsmasq', 'slirp4netns', 'tini', 'swtpm']);

/** One process. `startTicks`, since boot, tells it from a later one with the same pid. */
export type ProcessSeen = {
  readonly pid: number;
  readonly parentPid: number;
  readonly startTicks: number;
  readonly name: string;
  readonly isOurs: boolean;
};

/** Everything that can be left behind, as it is at one moment. */
export type MachineState = {
  readonly processes: readonly ProcessSeen[];
  readonly namespaces: readonly string[];
  readonly interfaces: readonly string[];
  readonly mounts: readonly string[];
};

/** Looks at the machine. `runId`: the value of RUN_VARIABLE that marks our processes; empty: none are ours. */
export function machineState(runId: string): MachineState {
  return {
    processes: readdirSync('/proc')
      .filter(isPid)
      .flatMap((pid) => processSeen(pid, runId)),
    namespaces: namesIn('/run/netns'),
    interfaces: namesIn('/sys/class/net'),
    mounts: mountPoints(),
  };
}

/** What `after` contains and `before` does not, one line each. */
export function leaksBetween(before: MachineState, after: MachineState): string[] {
  const known = new Set(before.processes.map(identity));
  const processes = after.processes.filter((seen) => {
    const isOrphan = seen.parentPid === 1 && PROGRAMS.has(seen.name);
    return !known.has(identity(seen)) && (seen.isOurs || isOrphan);
  });
  return [
    ...processLines(processes),
    ...added(before.namespaces, after.namespaces).map((name) => `network namespace ${name}`),
    ...added(before.interfaces, after.interfaces).map((name) => `network interface ${name}`),
    ...added(before.mounts, after.mounts).map((path) => `mount ${path}`),
  ];
}

/** One line for each process. */
export function processLines(processes: readonly ProcessSeen[]): string[] {
  return processes.map(({ pid, name }) => `process ${pid} ${name}`);
}

/** Ends the remaining processes of our own run, so that the next run starts clean. */
export function endOurs(state: MachineState): void {
  for (const { pid } of state.processes.filter((seen) => seen.isOurs)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // The process has ended by itself in the meantime.
    }
  }
}

function added(before: readonly string[], after: readonly string[]): string[] {
  const known = new Set(before);
  return after.filter((name) => !known.has(name));
}

function identity(seen: ProcessSeen): string {
  return `${seen.pid}/${seen.startTicks}`;
}

function isPid(name: string): boolean {
  return /^[0-9]+$/.test(name);
}

function processSeen(pid: string, runId: string): ProcessSeen[] {
  const stat = readIfThere(`/proc/${pid}/stat`);
  const match = /^\d+ \((.*)\) (\S) (\d+) (?:\S+ ){17}(\d+) /s.exec(stat);
  // A zombie holds nothing any more; its parent, which is at fault, is found if it is ours.
  if (match === null || match[2] === 'Z' || Number(pid) === process.pid) return [];
  const isOurs = readIfThere(`/proc/${pid}/environ`).includes(`${RUN_VARIABLE}=${runId}\0`);
  const [, name = '', , parentPid, startTicks] = match;
  return [{ pid: Number(pid), parentPid: Number(parentPid), startTicks: Number(startTicks), name, isOurs }];
}

function mountPoints(): string[] {
  const lines = readIfThere('/proc/self/mountinfo').split('\n');
  const points = lines.filter((line) => line !== '').map((line) => line.split(' ')[4] ?? '');
  // iproute2 mounts this once per boot, with the first named namespace; the mount itself holds nothing.
  return points.filter((path) => path !== '/run/netns');
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Empty where the process is gone or belongs to somebody else. */
function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
