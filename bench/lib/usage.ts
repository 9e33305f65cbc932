/** Memory and processor time of the cluster's processes, by the part they belong to. */

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { listProcesses, type ProcessRecord } from '../../src/os/process-table.ts';

export type Part = 'server' | 'agent' | 'storage service' | 'qemu-storage-daemon' | 'target' | 'etcd' | 'QEMU' | 'lab';

export interface Usage {
  readonly part: Part;
  readonly pid: number;
  readonly rssMib: number;
  /** Proportional: pages shared by n processes count as 1/n. */
  readonly pssMib: number;
  /** User and system time so far, in ms. */
  readonly cpuMs: number;
}

const TICK_MS = 10;
const MAINS: Readonly<Record<string, Part>> = {
  'src/control/main.ts': 'server',
  'src/agent/main.ts': 'agent',
  'src/storage/main.ts': 'storage service',
  'src/iscsi/main.ts': 'target',
  'src/lab/room.ts': 'lab',
};
const PROGRAMS: Readonly<Record<string, Part>> = {
  'qemu-storage-daemon': 'qemu-storage-daemon',
  'qemu-system-x86_64': 'QEMU',
  etcd: 'etcd',
};

/** The usage of every process of the cluster that is a descendant of `roomPid`. */
export function usageOf(roomPid: number): readonly Usage[] {
  const processes = listProcesses();
  const parents = new Map(processes.map(({ pid, ppid }) => [pid, ppid]));
  const inRoom = ({ pid }: ProcessRecord): boolean => {
    for (let at: number | undefined = pid; at !== undefined && at > 1; at = parents.get(at))
      if (at === roomPid) return true;
    return false;
  };
  return processes.filter(inRoom).flatMap((record) => {
    const part = partOf(record.argv);
    return part === undefined ? [] : (usageOfOne(record.pid, part) ?? []);
  });
}

function partOf([program = '', ...args]: readonly string[]): Part | undefined {
  const name = basename(program);
  // nsenter, setpriv and similar programs are replaced by the program that they start, or wait for it.
  if (Object.hasOwn(PROGRAMS, name)) return PROGRAMS[name];
  if (name !== 'node') return undefined;
  const main = args.find((arg) => arg.endsWith('.ts'));
  const known = Object.keys(MAINS).find((path) => main?.endsWith(`/${path}`));
  return known === undefined ? undefined : MAINS[known];
}

function usageOfOne(pid: number, part: Part): Usage | undefined {
  try {
    const memory = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const mib = (field: string): number =>
      Math.round((Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(memory)?.[1]) / 1024) * 10) / 10;
    // proc(5): fields 14 and 15, counted after the name, which may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const cpuMs = (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    return { part, pid, rssMib: mib('Rss'), pssMib: mib('Pss'), cpuMs };
  } catch {
    // The process has ended since it was listed.
    return undefined;
  }
}
