/** What the kernel counts for one QEMU and its taps. A counter that cannot be read is left out, or is zero. */
import { readFileSync } from 'node:fs';
import type { MachineFigures } from '../core/ports/host-link.ts';
import type { Tap } from './network/taps.ts';

/** USER_HZ, in which /proc counts processor time: 100 on every Linux that Node runs on. */
const MS_PER_TICK = 10;
const KIB = 1024;

/** Reads /proc/PID and the counters of the taps. Null where the process has ended. */
export function readFigures(pid: number, taps: readonly Tap[]): MachineFigures | null {
  const stat = read(`/proc/${pid}/stat`);
  const status = read(`/proc/${pid}/status`);
  if (stat === null || status === null) return null;
  return {
    cpuMs: processorMs(stat),
    residentBytes: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * KIB,
    nics: taps.map(({ device, mac }) => ({
      mac,
      // What the tap receives is what the guest sends.
      receivedBytes: counter(device, 'tx_bytes'),
      sentBytes: counter(device, 'rx_bytes'),
    })),
  };
}

/** Fields 14 and 15 of /proc/PID/stat, after the name, which may contain anything. */
export function processorMs(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user = 0, system = 0] = [Number(fields[11]), Number(fields[12])];
  return (user + system) * MS_PER_TICK;
}

function counter(device: string, name: string): number {
  return Number(read(`/sys/class/net/${device}/statistics/${name}`) ?? 0);
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
