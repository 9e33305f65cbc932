/** The machine that a figure belongs to. */

import { cpus, loadavg, release, totalmem } from 'node:os';
import { tryRun } from '../../src/os/child-process.ts';

const TOOL_MS = 10_000;

/** Cores, memory, kernel and the versions of the measured programs. A property that a machine lacks is null. */
export async function machineFacts(): Promise<Readonly<Record<string, unknown>>> {
  const firstLine = async (...argv: string[]): Promise<string | null> => {
    const result = await tryRun(argv, { deadlineMs: TOOL_MS }).catch(() => undefined);
    return result?.exitCode === 0 ? (result.stdout.split('\n')[0] ?? null) : null;
  };
  const processors = cpus();
  return {
    cores: processors.length,
    processor: processors[0]?.model ?? null,
    memoryMib: Math.round(totalmem() / 1024 ** 2),
    kernel: release(),
    node: process.version,
    qemu: await firstLine('qemu-system-x86_64', '--version'),
    etcd: await firstLine('etcd', '--version'),
    /** Over 1, 5 and 15 minutes: beyond a tenth per core, others worked beside the benchmark. */
    loadAverageBefore: loadavg().map((load) => Math.round(load * 100) / 100),
    commit: await firstLine('git', 'rev-parse', '--short', 'HEAD'),
  };
}
