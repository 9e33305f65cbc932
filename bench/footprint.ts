/** Idle memory and processor time of every part of a cluster, without VMs and with some, after a time without work. */

import { CodedError } from '../src/base/errors.ts';
import { sleep } from '../src/base/sleep.ts';
import { readRunning } from '../src/lab/client.ts';
import { labLayout } from '../src/lab/layout.ts';
import { systemClock } from '../src/os/clock.ts';
import { monotonicMs } from '../src/os/monotonic.ts';
import { atMost, type Bar, type BenchContext, type BenchResult } from './lib/bench.ts';
import { BenchCluster } from './lib/cluster.ts';
import { rounded } from './lib/stats.ts';
import { type Part, type Usage, usageOf } from './lib/usage.ts';

interface Idle extends Omit<Usage, 'cpuMs'> {
  /** Processor time per second of idling, in ms. */
  readonly cpuMsPerSecond: number;
}

const PARTS: readonly Part[] = ['server', 'agent', 'storage service'];
const MIB_MAX = 120;

/** `--idle-seconds 60 --vms 6`. */
export async function footprint(context: BenchContext): Promise<BenchResult> {
  const idleMs = context.number('idle-seconds', 60) * 1_000;
  const vms = context.number('vms', 6);
  const cluster = await BenchCluster.start(context);
  const room = (await readRunning(labLayout(cluster.dir)))?.room;
  if (room == null) throw new CodedError('unavailable', 'The cluster has ended.');
  context.say(`idling for ${idleMs / 1_000} s without VMs`);
  const without = await idle(room.pid, idleMs, context.signal);
  for (let index = 1; index <= vms; index++) await cluster.createVm(`vm${index}`);
  for (let index = 1; index <= vms; index++) await cluster.guestReady(`vm${index}`, { deadlineMs: 20_000 * vms });
  context.say(`idling for ${idleMs / 1_000} s with ${vms} VMs`);
  const withVms = await idle(room.pid, idleMs, context.signal);
  const both = [...without, ...withVms];
  return {
    bars: PARTS.map((part): Bar => {
      const measured = Math.max(...both.filter((one) => one.part === part).map(({ rssMib }) => rssMib));
      return atMost(`idle memory of the ${part} (resident, the largest of all)`, {
        measured,
        max: MIB_MAX,
        unit: 'MiB',
      });
    }),
    summary: { withoutVms: byPart(without), [`with ${vms} VMs`]: byPart(withVms) },
    samples: { withoutVms: without, withVms },
    method: [
      `Resident and proportional set size from smaps_rollup after ${idleMs / 1_000} s without requests; processor time over those seconds, per second.`,
      'One process of each part but the agent, of which there is one per host (3), and qemu-storage-daemon, one per disk in use.',
    ],
  };
}

async function idle(roomPid: number, idleMs: number, signal: AbortSignal): Promise<readonly Idle[]> {
  const before = new Map(usageOf(roomPid).map((usage) => [usage.pid, usage]));
  const startedMs = monotonicMs();
  await sleep(systemClock, idleMs, { signal });
  signal.throwIfAborted();
  const seconds = (monotonicMs() - startedMs) / 1_000;
  return usageOf(roomPid).map(({ cpuMs, ...usage }) => ({
    ...usage,
    cpuMsPerSecond: rounded((cpuMs - (before.get(usage.pid)?.cpuMs ?? cpuMs)) / seconds),
  }));
}

function byPart(usages: readonly Idle[]): Readonly<Record<string, unknown>> {
  const parts = [...new Set(usages.map(({ part }) => part))].sort();
  return Object.fromEntries(
    parts.map((part) => {
      const own = usages.filter((usage) => usage.part === part);
      const each = (pick: (usage: Idle) => number): { max: number; sum: number } => ({
        max: rounded(Math.max(...own.map(pick))),
        sum: rounded(own.map(pick).reduce((sum, value) => sum + value, 0)),
      });
      const figures = {
        processes: own.length,
        rssMib: each(({ rssMib }) => rssMib),
        pssMib: each(({ pssMib }) => pssMib),
        cpuMsPerSecond: each(({ cpuMsPerSecond }) => cpuMsPerSecond),
      };
      return [part, figures];
    }),
  );
}
