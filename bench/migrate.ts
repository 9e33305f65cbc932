/**
 * Live migration by the cluster against the same migration by hand over QMP, in turns on the same machine: the total
 * time, and the pause of the guest from STOP at the source to RESUME at the destination.
 */

import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '../src/base/sleep.ts';
import { TINY_APPEND } from '../src/images/tiny.ts';
import { labStatus } from '../src/lab/client.ts';
import { systemClock } from '../src/os/clock.ts';
import { monotonicMs } from '../src/os/monotonic.ts';
import { atMost, type BenchContext, type BenchResult } from './lib/bench.ts';
import { BenchCluster, builtTiny, eventMs } from './lib/cluster.ts';
import { type HandMigration, HandVm, handMachines } from './lib/hand-migration.ts';
import type { TapOrder, TapReport } from './lib/qmp-tap.ts';
import { median, rounded, summarize } from './lib/stats.ts';

const MIB = 1024 ** 2;
const VM = 'vm1';
const DISK_BYTES = 64 * MIB;
const TAP_MS = 60_000;
/**
 * The pause before either kind of migration: a guest that was just continued catches up with its timers, and, if this
 * machine is itself a VM, memory that the other kind's QEMU freed is taken from it 2 s later (free page reporting): a
 * migration that begins earlier finds memory that is still backed, and copies in half the time.
 */
const SETTLE_MS = 5_000;
const RATIO_MAX = 1.15;
const MORE_PAUSE_MS_MAX = 15;

/** One migration by the cluster, in ms since the request. */
interface ClusterMigration {
  /** When the answer arrived that the task had succeeded. */
  readonly totalMs: number;
  readonly pauseMs: number;
  /** The part of the pause after both sides were complete. */
  readonly handoverMs: number;
  /** Transactions: the destination was chosen; both sides were complete; it was over. */
  readonly migrating: number;
  readonly switched: number;
  readonly migrated: number;
}

interface Pair {
  readonly cluster: ClusterMigration;
  readonly hand: HandMigration;
}

/**
 * `--pairs 40 --memory-mib 128 --append 'gp.workload=sequence gp.rate=20'`. Every second pause or so has to wait for a
 * write that is under way, some 25 ms: the medians of few pairs differ by that alone.
 */
export async function migrate(context: BenchContext): Promise<BenchResult> {
  const pairs = context.number('pairs', 40);
  const memoryBytes = context.number('memory-mib', 128) * MIB;
  const append = context.text('append') ?? 'gp.workload=sequence gp.rate=20';
  const cluster = await BenchCluster.start(context);
  await cluster.createVm(VM, { append, memoryBytes, disks: [{ sizeBytes: DISK_BYTES }] });
  await cluster.guestReady(VM);
  const directory = join(cluster.dir, 'by-hand');
  await mkdir(directory, { mode: 0o700 });
  const { kernelPath, initrdPath } = await builtTiny(context);
  const hand = await HandVm.create({
    ...(await handMachines(cluster.dir)),
    ...{ directory, kernelFile: kernelPath, initrdFile: initrdPath, append: `${TINY_APPEND} ${append}` },
    ...{ accelerator: await acceleratorOf(cluster), memoryBytes, diskBytes: DISK_BYTES, generationsMax: pairs + 3 },
  });
  context.atEnd(() => hand.end());
  await hand.start();
  await hand.run(false);
  const samples: Pair[] = [];
  // The first pair fetches kernel and initrd to the second host and warms caches: not counted.
  for (let run = 0; run <= pairs; run++) {
    const byCluster = await migrateByCluster(cluster);
    await setRunning(cluster, false);
    await hand.run(true);
    await sleep(systemClock, SETTLE_MS, { signal: context.signal });
    context.signal.throwIfAborted();
    const byHand = await hand.migrate();
    await hand.run(false);
    await hand.prepareNext();
    await setRunning(cluster, true);
    await sleep(systemClock, SETTLE_MS, { signal: context.signal });
    context.signal.throwIfAborted();
    const text = (one: { totalMs: number; pauseMs: number; handoverMs: number }): string =>
      `${Math.round(one.totalMs)} ms, pause ${Math.round(one.pauseMs)} ms (${Math.round(one.handoverMs)} after both were complete)`;
    context.say(`pair ${run} of ${pairs}: cluster ${text(byCluster)}; by hand ${text(byHand)}`);
    if (run > 0) samples.push({ cluster: byCluster, hand: byHand });
  }
  return report(samples, append);
}

function report(samples: readonly Pair[], append: string): BenchResult {
  const cluster = samples.map((pair) => pair.cluster);
  const hand = samples.map((pair) => pair.hand);
  const medianOf = <T>(all: readonly T[], pick: (one: T) => number): number => median(all.map(pick));
  const ratio = medianOf(cluster, ({ totalMs }) => totalMs) / medianOf(hand, ({ totalMs }) => totalMs);
  const more = medianOf(cluster, ({ pauseMs }) => pauseMs) - medianOf(hand, ({ pauseMs }) => pauseMs);
  return {
    bars: [
      atMost('live migration, total time, against by hand (ratio of medians)', {
        ...{ measured: Math.round(ratio * 1_000) / 1_000, max: RATIO_MAX, unit: 'times' },
      }),
      atMost('pause seen by the guest, more than by hand (difference of medians)', {
        ...{ measured: rounded(more), max: MORE_PAUSE_MS_MAX, unit: 'ms' },
      }),
    ],
    summary: {
      cluster: {
        totalMs: summarize(cluster.map(({ totalMs }) => totalMs)),
        pauseMs: summarize(cluster.map(({ pauseMs }) => pauseMs)),
        'of the pause, after both were complete': summarize(cluster.map(({ handoverMs }) => handoverMs)),
        'request -> destination chosen': summarize(cluster.map(({ migrating }) => migrating)),
        'chosen -> both complete, committed': summarize(cluster.map((one) => one.switched - one.migrating)),
        'committed -> over': summarize(cluster.map((one) => one.migrated - one.switched)),
      },
      byHand: {
        totalMs: summarize(hand.map(({ totalMs }) => totalMs)),
        pauseMs: summarize(hand.map(({ pauseMs }) => pauseMs)),
        'of the pause, after both were complete': summarize(hand.map(({ handoverMs }) => handoverMs)),
        'start -> destination answers': summarize(hand.map(({ spawnedMs }) => spawnedMs)),
        'answers -> both complete': summarize(hand.map((one) => one.completedMs - one.spawnedMs)),
      },
    },
    samples: { pairs: samples },
    method: [
      `In turns on the same machines, the other guest halted meanwhile; guest: ${append}; no network card. Both disks: qcow2, written through, O_DIRECT where the file system has it.`,
      'By the cluster: from the API request to the answer that the task succeeded. By hand: export added, QEMU started with the same arguments, TLS and disk, set up, migrated, old export removed, cont answered, the process at the source ended; credentials were made before.',
      'Pause: STOP event of the source to RESUME event of the destination by their time stamps.',
    ],
  };
}

async function migrateByCluster(cluster: BenchCluster): Promise<ClusterMigration> {
  const tap = await startTap(cluster);
  const mark = cluster.events.count;
  const startedWallMs = Date.now();
  const startedMs = monotonicMs();
  await cluster.migrateVm(VM);
  const totalMs = monotonicMs() - startedMs;
  const { stoppedAtMs, completedAtMs, resumedAtMs } = await tap.seen;
  const at = async (kind: string): Promise<number> => {
    const matches = (event: { kind: string }): boolean => event.kind === kind;
    return eventMs(await cluster.events.first(kind, { mark, deadlineMs: TAP_MS, matches }), startedWallMs);
  };
  return {
    totalMs,
    pauseMs: resumedAtMs - stoppedAtMs,
    handoverMs: resumedAtMs - completedAtMs,
    migrating: await at('migrating'),
    switched: await at('switched'),
    migrated: await at('migrated'),
  };
}

/** Watches the next migration; resolves when the watch has begun, with a promise of its result. */
async function startTap(cluster: BenchCluster): Promise<{ readonly seen: Promise<TapReport> }> {
  const vm = await cluster.vm(VM);
  const machines = await labStatus(cluster.dir);
  const { slot } = await cluster.qemuOf({ id: vm.id, generation: vm.generation });
  const c1 = join(cluster.dir, 'machines/c1');
  const readyFile = join(c1, 'tap-ready');
  await rm(readyFile, { force: true });
  const order: TapOrder = {
    vm: vm.id,
    credentialsDir: join(c1, 'credentials'),
    readyFile,
    deadlineMs: TAP_MS,
    source: {
      generation: vm.generation,
      addresses: machines.filter(({ name }) => name === vm.host).map(({ addresses }) => addresses['control'] ?? ''),
      slots: [slot],
    },
    destination: {
      generation: vm.generation + 1,
      addresses: machines
        .filter(({ name, kind }) => kind === 'host' && name !== vm.host)
        .map(({ addresses }) => addresses['control'] ?? ''),
      slots: [0, 1],
    },
  };
  const report = cluster
    .lab({
      verb: 'exec',
      target: 'c1',
      argv: [process.execPath, '--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'lib/qmp-tap.ts')],
      input: JSON.stringify(order),
      deadlineMs: TAP_MS * 2,
    })
    .then((result) => {
      const { stdout, stderr } = result as { stdout: string; stderr: string };
      if (stdout === '') throw new Error(`the migration was not watched: ${stderr}`);
      return JSON.parse(stdout) as TapReport;
    });
  const isReady = (): Promise<boolean> =>
    readFile(readyFile).then(
      () => true,
      () => false,
    );
  await Promise.race([cluster.until('the tap', TAP_MS, isReady), report]);
  return { seen: report };
}

async function setRunning(cluster: BenchCluster, running: boolean): Promise<void> {
  const { http } = cluster.client;
  const params = { path: { vm: VM } };
  if (running) await cluster.client.call(http.POST('/v1/vms/{vm}/resume', { params }));
  else await cluster.client.call(http.POST('/v1/vms/{vm}/suspend', { params }));
  const wanted = running ? 'running' : 'suspended';
  await cluster.until(`${VM} ${wanted}`, TAP_MS, async () => (await cluster.vm(VM)).verdict === wanted);
}

async function acceleratorOf(cluster: BenchCluster): Promise<'kvm' | 'tcg'> {
  return (await cluster.hosts())[0]?.accelerator ?? 'tcg';
}
