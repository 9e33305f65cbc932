/**
 * How long a drain takes, compared with the same number of migrations made by hand: one stream, a guest with the same
 * memory, one migration directly after the other, in turns with the drains on the same machine.
 */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Drain } from '../src/api/maintenance-views.ts';
import { sleep } from '../src/base/sleep.ts';
import { TINY_APPEND } from '../src/images/tiny.ts';
import { systemClock } from '../src/os/clock.ts';
import { monotonicMs } from '../src/os/monotonic.ts';
import { atMost, type Bar, type BenchContext, type BenchResult } from './lib/bench.ts';
import { BenchCluster, builtTiny } from './lib/cluster.ts';
import { HandVm, handMachines } from './lib/hand-migration.ts';
import { median, rounded, summarize } from './lib/stats.ts';

const MIB = 1024 ** 2;
const DISK_BYTES = 64 * MIB;
const VERDICT_MS = 60_000;
/** The pause before either kind: see migrate.ts. */
const SETTLE_MS = 5_000;
const RATIO_MAX = 1.3;
const PARALLEL = [1, 2] as const;

/** One drain, in ms since the request. */
interface DrainRun {
  readonly parallel: number;
  /** When the answer arrived that the task had succeeded. */
  readonly totalMs: number;
  /** The drain had begun: guests were measured, the plan was made and proven. */
  readonly begunMs: number;
  /** From the begin of the first move to the end of the last one, according to the drain's record. */
  readonly movingMs: number;
  /** The duration of each move, according to the drain's record. */
  readonly movesMs: readonly number[];
  /** From the end of a move to the begin of the next one, while nothing else moved. */
  readonly gapsMs: readonly number[];
}

interface Round {
  /** The migrations by hand, one after the other; the preparation of each is not counted. */
  readonly handMs: readonly number[];
  readonly drains: readonly DrainRun[];
}

/** `--runs 5 --vms 8 --memory-mib 128 --append 'gp.workload=sequence gp.rate=20'`. */
export async function drain(context: BenchContext): Promise<BenchResult> {
  const runs = context.number('runs', 5);
  const vms = context.number('vms', 8);
  const memoryBytes = context.number('memory-mib', 128) * MIB;
  const append = context.text('append') ?? 'gp.workload=sequence gp.rate=20';
  const cluster = await BenchCluster.start(context, { hosts: 2 });
  const names = Array.from({ length: vms }, (_, index) => `vm${index + 1}`);
  const disks = [{ sizeBytes: DISK_BYTES }];
  await cluster.createOn('h1', names, { append, memoryBytes, disks });
  const directory = join(cluster.dir, 'by-hand');
  await mkdir(directory, { mode: 0o700 });
  const { kernelPath, initrdPath } = await builtTiny(context);
  const hand = await HandVm.create({
    ...(await handMachines(cluster.dir)),
    ...{ directory, kernelFile: kernelPath, initrdFile: initrdPath, append: `${TINY_APPEND} ${append}` },
    accelerator: (await cluster.hosts())[0]?.accelerator ?? 'tcg',
    ...{ memoryBytes, diskBytes: DISK_BYTES, generationsMax: (runs + 1) * vms + 3 },
  });
  context.atEnd(() => hand.end());
  await hand.start();
  await hand.run(false);
  const rounds: Round[] = [];
  // The first round fetches kernel and initrd to the second host and warms caches: not counted.
  for (let run = 0; run <= runs; run++) {
    const drains: DrainRun[] = [];
    for (const parallel of PARALLEL) {
      await settle(context);
      drains.push(await drainOnce(cluster, names, parallel));
    }
    for (const name of names) await setRunning(cluster, name, false);
    await hand.run(true);
    await settle(context);
    const handMs: number[] = [];
    for (const _ of names) {
      handMs.push((await hand.migrate()).totalMs);
      await hand.prepareNext();
    }
    await hand.run(false);
    for (const name of names) await setRunning(cluster, name, true);
    const text = drains.map(({ parallel, totalMs }) => `parallel ${parallel} ${Math.round(totalMs)} ms`).join(', ');
    context.say(`round ${run} of ${runs}: ${text}; by hand ${Math.round(sum(handMs))} ms`);
    if (run > 0) rounds.push({ handMs, drains });
  }
  return report(rounds, append);
}

async function settle({ signal }: BenchContext): Promise<void> {
  await sleep(systemClock, SETTLE_MS, { signal });
  signal.throwIfAborted();
}

/** Drains the host that all VMs are on, and takes it back. */
async function drainOnce(cluster: BenchCluster, names: readonly string[], parallel: number): Promise<DrainRun> {
  const { client } = cluster;
  const host = await cluster.hostOf(names[0] ?? '');
  const params = { path: { host } };
  const startedMs = monotonicMs();
  const begun = await client.call(client.http.POST('/v1/hosts/{host}/drain', { params, body: { parallel } }));
  const begunMs = monotonicMs() - startedMs;
  await cluster.taskDone(begun.task);
  const totalMs = monotonicMs() - startedMs;
  const ended = await client.call(client.http.GET('/v1/drains/{drain}', { params: { path: { drain: begun.id } } }));
  if (ended.state !== 'drained' || ended.moved !== names.length) throw new Error(JSON.stringify(ended));
  await client.call(client.http.POST('/v1/hosts/{host}/undrain', { params }));
  const moves = timesOf(ended);
  const first = Math.min(...moves.map(({ from }) => from));
  const movingMs = Math.max(...moves.map(({ to }) => to)) - first;
  const movesMs = moves.map(({ from, to }) => to - from);
  const gapsMs = moves.flatMap(({ from }) => {
    const isAlone = moves.every((other) => other.from >= from || other.to <= from);
    const before = moves.filter(({ to }) => to <= from).map(({ to }) => to);
    return isAlone && before.length > 0 ? [from - Math.max(...before)] : [];
  });
  return { parallel, totalMs, begunMs, movingMs, movesMs, gapsMs };
}

function timesOf({ moves }: Drain): readonly { readonly from: number; readonly to: number }[] {
  return moves.map(({ startedAt, endedAt }) => ({
    from: Date.parse(startedAt ?? ''),
    to: Date.parse(endedAt ?? ''),
  }));
}

async function setRunning(cluster: BenchCluster, name: string, running: boolean): Promise<void> {
  const { http } = cluster.client;
  const params = { path: { vm: name } };
  await cluster.client.call(
    running ? http.POST('/v1/vms/{vm}/resume', { params }) : http.POST('/v1/vms/{vm}/suspend', { params }),
  );
  const wanted = running ? 'running' : 'suspended';
  await cluster.until(`${name} ${wanted}`, VERDICT_MS, async () => (await cluster.vm(name)).verdict === wanted);
}

const sum = (all: readonly number[]): number => all.reduce((total, each) => total + each, 0);

function report(rounds: readonly Round[], append: string): BenchResult {
  const hand = rounds.map(({ handMs }) => sum(handMs));
  const of = (parallel: number): DrainRun[] =>
    rounds.flatMap(({ drains }) => drains.filter((each) => each.parallel === parallel));
  const bars = PARALLEL.map((parallel): Bar => {
    const ratio = median(of(parallel).map(({ totalMs }) => totalMs)) / median(hand);
    return atMost(`drain --parallel ${parallel}, total time, against one stream by hand (ratio of medians)`, {
      ...{ measured: Math.round(ratio * 1_000) / 1_000, max: RATIO_MAX, unit: 'times' },
    });
  });
  const summaryOf = (runs: readonly DrainRun[]): object => ({
    totalMs: summarize(runs.map(({ totalMs }) => totalMs)),
    'request -> begun': summarize(runs.map(({ begunMs }) => begunMs)),
    'first move begun -> last ended': summarize(runs.map(({ movingMs }) => movingMs)),
    'last move ended -> task ended': summarize(runs.map((run) => rounded(run.totalMs - run.begunMs - run.movingMs))),
    moveMs: summarize(runs.flatMap(({ movesMs }) => movesMs)),
    ...(runs.some(({ gapsMs }) => gapsMs.length > 0)
      ? { 'between two moves': summarize(runs.flatMap(({ gapsMs }) => gapsMs)) }
      : {}),
  });
  return {
    bars,
    summary: {
      ...Object.fromEntries(PARALLEL.map((parallel) => [`parallel ${parallel}`, summaryOf(of(parallel))])),
      byHand: { totalMs: summarize(hand), migrationMs: summarize(rounds.flatMap(({ handMs }) => handMs)) },
    },
    samples: { rounds },
    method: [
      `In turns on the same machines, the other guests halted meanwhile; guests: ${append}; no network card. Every drain empties one of two hosts onto the other.`,
      'The drain: from the API request, the measurement of how fast guests write included, to the answer that its task succeeded. By hand: the sum of as many migrations of one guest with the same memory, each as in the bench `migrate`, directly one after the other; credentials and sockets were made before each and are not counted.',
    ],
  };
}
