/**
 * False verdicts on a machine without a free core: VMs run for a time beside busy loops at normal priority; no host is
 * lost, so every `lost` and every new generation is a false one.
 */

import type { Event } from '../src/api/views.ts';
import { sleep } from '../src/base/sleep.ts';
import { spawnDaemon } from '../src/os/child-process.ts';
import { systemClock } from '../src/os/clock.ts';
import { monotonicMs } from '../src/os/monotonic.ts';
import { signalProcess } from '../src/os/process-table.ts';
import type { BenchContext, BenchResult } from './lib/bench.ts';
import { BenchCluster } from './lib/cluster.ts';

const REPORT_MS = 60_000;
const CHECK_MS = 5_000;
const KINDS = ['lost', 'crashed', 'launch-failed', 'disk-error'] as const;

/** `--minutes 30 --vms 6 --load 4` (busy loops). */
export async function steady(context: BenchContext): Promise<BenchResult> {
  const minutes = context.number('minutes', 30);
  const vms = context.number('vms', 6);
  const load = context.number('load', 4);
  const cluster = await BenchCluster.start(context);
  const names = Array.from({ length: vms }, (_, index) => `vm${index + 1}`);
  for (const name of names) await cluster.createVm(name, { append: 'gp.workload=sequence gp.rate=5' });
  for (const name of names) await cluster.guestReady(name, { deadlineMs: 20_000 * (vms + 1) });
  const generations = await generationsOf(cluster);
  const mark = cluster.events.count;
  await saturate(context, { load, seconds: minutes * 60 + 60 });
  const endsAtMs = monotonicMs() + minutes * 60_000;
  const observed: { minute: number; agentsSilent: number; notRunning: number; lost: number }[] = [];
  let nextReportMs = monotonicMs() + REPORT_MS;
  let silent = 0;
  let unwell = 0;
  while (monotonicMs() < endsAtMs) {
    await sleep(systemClock, Math.min(CHECK_MS, Math.max(1, endsAtMs - monotonicMs())), { signal: context.signal });
    context.signal.throwIfAborted();
    silent += (await cluster.hosts()).filter(({ agent }) => agent !== 'alive').length;
    unwell += (await cluster.vms()).filter(({ verdict }) => verdict !== 'running').length;
    if (monotonicMs() < nextReportMs && monotonicMs() < endsAtMs) continue;
    const lost = of(cluster.events.since(mark), 'lost').length;
    observed.push({ minute: observed.length + 1, agentsSilent: silent, notRunning: unwell, lost });
    context.say(
      `minute ${observed.length} of ${minutes}: ${lost} lost; seen silent ${silent}, not running ${unwell} times`,
    );
    nextReportMs += REPORT_MS;
    silent = 0;
    unwell = 0;
  }
  const events = cluster.events.since(mark);
  const after = await generationsOf(cluster);
  const changed = [...generations].filter(([name, generation]) => after.get(name) !== generation).length;
  const lost = of(events, 'lost').length;
  const failures = Object.fromEntries(KINDS.map((kind) => [kind, of(events, kind).length]));
  const figure = `false lost verdicts in ${minutes} minutes with both cores saturated`;
  return {
    bars: [{ figure, bar: '0', measured: lost, unit: 'verdicts', reached: lost === 0 && changed === 0 }],
    summary: { minutes, vms, busyLoops: load, lost, generationsChanged: changed, events: failures },
    samples: { minutes: observed, events },
    method: [
      `${load} busy loops at normal priority beside ${vms} VMs that write a sequence to their disks; every ${CHECK_MS / 1_000} s hosts and VMs are listed.`,
    ],
  };
}

async function generationsOf(cluster: BenchCluster): Promise<ReadonlyMap<string, number>> {
  return new Map((await cluster.vms()).map(({ name, generation }) => [name, generation]));
}

function of(events: readonly Event[], kind: string): readonly Event[] {
  return events.filter((event) => event.kind === kind);
}

/**
 * Busy loops that end with the benchmark, with this process, and at the latest after `seconds` of processor time each.
 */
async function saturate(context: BenchContext, { load, seconds }: { load: number; seconds: number }): Promise<void> {
  const loop = ['sh', '-c', 'while :; do :; done'];
  const argv = ['setpriv', '--pdeathsig', 'KILL', 'prlimit', `--cpu=${seconds}`, ...loop];
  for (let count = 0; count < load; count++) {
    const busy = await spawnDaemon(argv, { env: { PATH: process.env['PATH'] }, cwd: '/' });
    context.atEnd(() => void signalProcess(busy, 'SIGKILL'));
  }
}
