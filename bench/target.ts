/**
 * Our iSCSI target beside Debian's tgt: the same file in page cache, the same client, in turns. The figures are ratios:
 * both sides share the processors with their client and with other work of the machine.
 */
import { mkdtemp, open, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CodedError } from '../src/base/errors.ts';
import { sleep } from '../src/base/sleep.ts';
import { STANDALONE_TARGET } from '../src/iscsi/serve.ts';
import { run, spawnDaemon } from '../src/os/child-process.ts';
import { systemClock } from '../src/os/clock.ts';
import { signalProcess, waitGone } from '../src/os/process-table.ts';
import type { Bar, BenchContext, BenchResult } from './lib/bench.ts';

interface Case {
  readonly name: string;
  readonly kind: 'read' | 'write';
  readonly bytes: number;
  readonly depth: number;
  /** Times tgt's figure. */
  readonly ratioMin: number;
}

const CASES: readonly Case[] = [
  { name: 'random read 4 KiB, depth 32', kind: 'read', bytes: 4_096, depth: 32, ratioMin: 2 },
  { name: 'random read 4 KiB, depth 1', kind: 'read', bytes: 4_096, depth: 1, ratioMin: 1 },
  { name: 'random read 128 KiB, depth 16', kind: 'read', bytes: 131_072, depth: 16, ratioMin: 1.2 },
  { name: 'write 4 KiB, depth 32', kind: 'write', bytes: 4_096, depth: 32, ratioMin: 1 },
  { name: 'write 4 KiB, depth 1', kind: 'write', bytes: 4_096, depth: 1, ratioMin: 1 },
  { name: 'write 128 KiB, depth 16', kind: 'write', bytes: 131_072, depth: 16, ratioMin: 1 },
];

const FILE_BYTES = 1024 ** 3;
const WRITES: Readonly<Record<number, number>> = { 4096: 40_000, 131072: 4_000 };
const SECONDS = 5;
const PATIENCE_MS = 20_000;
const TGT_NAME = 'iqn.2026-11.org.groundplane:tgt';
const CONTROL_PORT = '731';

/** `--pairs 5`: turns of each case. */
export async function target(context: BenchContext): Promise<BenchResult> {
  const pairs = context.number('pairs', 5);
  const dir = await mkdtemp(join(tmpdir(), 'gp-bench-target-'));
  context.atEnd(() => rm(dir, { recursive: true, force: true }));
  const file = join(dir, 'disk');
  await fill(file);
  const ours = await startOurs(context, { file, dir });
  const tgt = await startTgt(context, { file, dir });
  const samples: Record<string, { ours: number[]; tgt: number[] }> = {};
  const bars: Bar[] = [];
  for (const one of CASES) {
    const rows = { ours: [] as number[], tgt: [] as number[] };
    for (let pair = 0; pair < pairs; pair++) {
      rows.ours.push(await measure(context, { ...one, url: ours }));
      rows.tgt.push(await measure(context, { ...one, url: tgt }));
      context.say(`${one.name}: ${rows.ours.at(-1)} beside ${rows.tgt.at(-1)}`);
    }
    samples[one.name] = rows;
    const ratio = Math.round((median(rows.ours) / median(rows.tgt)) * 100) / 100;
    bars.push({
      figure: `${one.name}, ours to tgt (medians of ${pairs})`,
      bar: `at least ${one.ratioMin}`,
      measured: ratio,
      unit: 'times',
      reached: ratio >= one.ratioMin,
    });
  }
  const summary = Object.fromEntries(
    Object.entries(samples).map(([name, rows]) => [
      name,
      { oursPerSecond: median(rows.ours), tgtPerSecond: median(rows.tgt) },
    ]),
  );
  return {
    bars,
    summary,
    samples,
    method: [
      `One file of ${FILE_BYTES / 1024 ** 2} MiB, written before and so in page cache, is served by both; they are measured in turns.`,
      `Reads: iscsi-perf for ${SECONDS} s. Writes: qemu-img bench -w over libiscsi, sequential. Client and target share the processors.`,
    ],
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

async function fill(path: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  const block = new Uint8Array(1024 ** 2).fill(0x5a);
  for (let at = 0; at < FILE_BYTES; at += block.length) await file.write(block, 0, block.length, at);
  await file.close();
}

async function startOurs(context: BenchContext, { file, dir }: { file: string; dir: string }): Promise<string> {
  const port = await freePort();
  const main = join(import.meta.dirname, '../src/cli/main.ts');
  const argv = ['target', 'serve', '--file', file, '--size', '1G', '--portal', `127.0.0.1:${port}`];
  await daemon(context, { argv: [process.execPath, main, ...argv], dir, env: {} });
  const url = `iscsi://127.0.0.1:${port}/${STANDALONE_TARGET}/0`;
  await answers(context, url);
  return url;
}

async function startTgt(context: BenchContext, { file, dir }: { file: string; dir: string }): Promise<string> {
  const port = await freePort();
  const env = { TGT_IPC_SOCKET: join(dir, 'tgt'), PATH: process.env['PATH'] };
  const portal = `portal=127.0.0.1:${port}`;
  await daemon(context, { argv: ['tgtd', '-f', '-C', CONTROL_PORT, '--iscsi', portal], dir, env });
  const admin = async (...words: string[]): Promise<void> => {
    const argv = ['tgtadm', '-C', CONTROL_PORT, '--lld', 'iscsi', ...words, '--tid', '1'];
    await run(argv, { deadlineMs: 5_000, signal: context.signal, env });
  };
  await until(context, () => admin('--mode', 'target', '--op', 'new', '-T', TGT_NAME));
  await admin('--mode', 'logicalunit', '--op', 'new', '--lun', '1', '-b', file);
  await admin('--mode', 'target', '--op', 'bind', '-I', 'ALL');
  const url = `iscsi://127.0.0.1:${port}/${TGT_NAME}/1`;
  await answers(context, url);
  return url;
}

async function daemon(
  context: BenchContext,
  { argv, dir, env }: { argv: readonly string[]; dir: string; env: NodeJS.ProcessEnv },
): Promise<void> {
  const started = await spawnDaemon(argv, { env: { PATH: process.env['PATH'], ...env }, cwd: dir });
  context.atEnd(async () => {
    signalProcess(started, 'SIGKILL');
    await waitGone(started, PATIENCE_MS);
  });
}

async function answers(context: BenchContext, url: string): Promise<void> {
  const argv = ['qemu-img', 'info', '-f', 'raw', url];
  await until(context, async () => void (await run(argv, { deadlineMs: 5_000, signal: context.signal })));
}

async function until(context: BenchContext, attempt: () => Promise<void>): Promise<void> {
  for (let left = PATIENCE_MS / 200; ; left--) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (left <= 0) throw error;
      await sleep(systemClock, 200, { signal: context.signal });
      context.signal.throwIfAborted();
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || address === null) throw new CodedError('failed', 'No port is free.');
  return address.port;
}

/** Operations per second. */
async function measure(context: BenchContext, { kind, bytes, depth, url }: Case & { url: string }): Promise<number> {
  const options = { deadlineMs: 120_000, signal: context.signal };
  if (kind === 'read') {
    const blocks = String(bytes / 512);
    const argv = ['iscsi-perf', '-r', '-m', String(depth), '-b', blocks, '-t', String(SECONDS), url];
    const { stdout } = await run(argv, options);
    return figure(/iops average (\d+)/g, stdout);
  }
  const count = WRITES[bytes] ?? 1_000;
  const sizes = ['-c', String(count), '-d', String(depth), '-s', String(bytes)];
  const { stdout } = await run(['qemu-img', 'bench', '-w', '-t', 'none', '-f', 'raw', ...sizes, url], options);
  return Math.round(count / figure(/completed in ([0-9.]+) seconds/g, stdout));
}

function figure(pattern: RegExp, text: string): number {
  const found = [...text.matchAll(pattern)].at(-1)?.[1];
  if (found === undefined) throw new CodedError('failed', `The client printed no figure: ${text.slice(-300)}`);
  return Number(found);
}
