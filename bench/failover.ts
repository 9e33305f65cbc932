/**
 * Host lost -> QEMU launched elsewhere. The plug of a host with N VMs is pulled; measured is the time from just before
 * that to the start of the last VM's new QEMU process, and to the event that says that the VM runs.
 */

import type { Event } from '../src/api/views.ts';
import { monotonicMs } from '../src/os/monotonic.ts';
import { atMost, type BenchContext, type BenchResult } from './lib/bench.ts';
import { BenchCluster, eventMs } from './lib/cluster.ts';
import { rounded, summarize } from './lib/stats.ts';

const RUN_DEADLINE_MS = 60_000;

/** One VM of one run, in ms since just before the host was killed. */
interface Recovery {
  readonly vm: string;
  readonly from: string;
  readonly to: string;
  /** The verdict was committed, with the next generation. */
  readonly lost: number;
  /** The new QEMU process was started: fence and grant came before. */
  readonly launched: number;
  /** The guest runs, and that is committed. */
  readonly running: number;
}

/** `--runs 20 --vms 1`. */
export async function failover(context: BenchContext): Promise<BenchResult> {
  const runs = context.number('runs', 20);
  const vms = context.number('vms', 1);
  const names = Array.from({ length: vms }, (_, index) => `vm${index + 1}`);
  const cluster = await BenchCluster.start(context);
  const samples: Recovery[][] = [];
  for (let run = 0; run < runs; run++) {
    const host = await gather(cluster, names, run);
    const mark = cluster.events.count;
    const recovered = await lose(cluster, host, names).catch(async (error: unknown) => {
      for (const { at, kind, vm, message } of cluster.events.since(mark))
        context.say(`${at} ${kind} ${vm}: ${message}`);
      for (const vm of await cluster.vms()) context.say(`${vm.name}: ${vm.verdict}. ${vm.because.join(' ')}`);
      throw error;
    });
    samples.push(recovered);
    const last = Math.max(...recovered.map(({ launched }) => launched));
    context.say(`run ${run + 1} of ${runs}: ${host} lost, last launch after ${Math.round(last)} ms`);
    await cluster.lab({ verb: 'heal-host', target: host });
    await cluster.hostsHealthy();
  }
  return report(samples, vms);
}

/** Puts all VMs, with booted guests, on one host: the host of the only VM, or a host for new VMs. */
async function gather(cluster: BenchCluster, names: readonly string[], run: number): Promise<string> {
  const existing = await cluster.vms();
  const [only] = names;
  if (names.length === 1 && only !== undefined && existing.length === 1) {
    await cluster.guestReady(only);
    return cluster.hostOf(only);
  }
  for (const { name } of existing) await cluster.deleteVm(name);
  const host = `h${(run % 3) + 1}`;
  await cluster.createOn(host, names);
  return host;
}

async function lose(cluster: BenchCluster, host: string, names: readonly string[]): Promise<Recovery[]> {
  const { events } = cluster;
  const mark = events.count;
  const startedMs = monotonicMs();
  const startedWallMs = Date.now();
  await cluster.lab({ verb: 'kill-host', target: host });
  const recoveries: Recovery[] = [];
  for (const vm of names) {
    const find = (kind: string): Promise<Event> =>
      events.first(`${kind} of ${vm}`, {
        mark,
        deadlineMs: RUN_DEADLINE_MS,
        matches: (event) => event.vm === vm && event.kind === kind,
      });
    const lost = await find('lost');
    const running = await find('running');
    const { id } = await cluster.vm(vm);
    const qemu = await cluster.qemuOf({ id, generation: running.generation ?? 0 });
    recoveries.push({
      vm,
      from: host,
      to: running.host ?? '',
      lost: eventMs(lost, startedWallMs),
      launched: rounded(qemu.startedMs - startedMs),
      running: eventMs(running, startedWallMs),
    });
  }
  return recoveries;
}

function report(samples: readonly Recovery[][], vms: number): BenchResult {
  const last = samples.map((run) => Math.max(...run.map(({ launched }) => launched)));
  const lastRunning = samples.map((run) => Math.max(...run.map(({ running }) => running)));
  const every = samples.flat();
  const launched = summarize(last);
  const bars =
    vms === 1
      ? [
          atMost('host lost -> QEMU launched elsewhere, median', { measured: launched.median, max: 2_000, unit: 'ms' }),
          atMost('host lost -> QEMU launched elsewhere, p95', { measured: launched.p95, max: 3_000, unit: 'ms' }),
        ]
      : [
          atMost(`host lost with ${vms} VMs -> the last of them launched elsewhere, worst run`, {
            measured: launched.max,
            max: 5_000,
            unit: 'ms',
          }),
        ];
  return {
    bars,
    summary: {
      launchedMs: launched,
      runningMs: summarize(lastRunning),
      phasesMs: {
        'killed -> verdict committed': summarize(every.map(({ lost }) => lost)),
        'verdict -> QEMU process started (fence, grant, launch order)': summarize(
          every.map((one) => one.launched - one.lost),
        ),
        'QEMU process started -> running committed (boot of QEMU, QMP, cont)': summarize(
          every.map((one) => one.running - one.launched),
        ),
      },
    },
    samples: { recoveriesMs: samples },
    method: [
      'Times since just before the fault was ordered; a launch is the start of the QEMU process as the kernel notes it, its 10 ms rounded up.',
      'Verdict and running are the times of the transactions that say so.',
    ],
  };
}
