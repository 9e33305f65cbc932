/** What the kernel counts for one QEMU and its taps. A counter that cannot be read is left out. */
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
  // This file lists the devices of this process's network namespace; /sys lists those of the namespace that mounted it.
  const devices = deviceBytes(read('/proc/thread-self/net/dev') ?? '');
  return {
    cpuMs: processorMs(stat),
    residentBytes: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * KIB,
    nics: taps.flatMap(({ device, mac }) => {
      const bytes = devices.get(device);
      // What the tap receives is what the guest sends.
      return bytes === undefined ? [] : { mac, receivedBytes: bytes.sent, sentBytes: bytes.received };
    }),
  };
}

/** Bytes that each device has received and sent, of /proc/PID/net/dev: fields 1 and 9 after the name. */
export function deviceBytes(text: string): ReadonlyMap<string, { readonly received: number; readonly sent: number }> {
  const lines = text.matchAll(/^ *([^\s:]+): *(.+)$/gm);
  return new Map(
    [...lines].map(([, device = '', counts = '']) => {
      const fields = counts.trim().split(/ +/).map(Number);
      return [device, { received: fields[0] ?? 0, sent: fields[8] ?? 0 }];
    }),
  );
}

/** Fields 14 and 15 of /proc/PID/stat, after the name, which may contain anything. */
export function processorMs(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user = 0, system = 0] = [Number(fields[11]), Number(fields[12])];
  return (user + system) * MS_PER_TICK;
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
