/**
 * Runs the suites with real processes: each file runs with a mark and a temporary folder of its own, and afterwards the
 * machine is searched for what the file left behind. A leak is a failure.
 */
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { endOurs, leaksBetween, machineState, processLines, RUN_VARIABLE } from './leaks.ts';
import { addCounts, kindOf, NO_TESTS, runTestFiles, type TestCount, type TestKind } from './test-files.ts';
import type { TestRecord } from './test-reporter.ts';

/** How long a file of each kind may take. */
const FILE_DEADLINE_MS: Record<TestKind, number> = {
  unit: 60_000,
  sim: 600_000,
  spin: 600_000,
  etcd: 120_000,
  net: 120_000,
  qemu: 360_000,
  web: 600_000,
  story: 1_200_000,
  long: 4_200_000,
};

/** Processes that were told to end get this long before they count as left behind. */
const LEAVE_DEADLINE_MS = 5_000;
/** The kernel does not report when a namespace or another program's process goes: so we poll. */
const POLL_MS = 100;

/** What to run: files relative to `root`, and `endMs`, the end of the whole run by performance.now(). */
export type SuiteOptions = {
  readonly root: string;
  /** The files, run side by side, as many at a time as `lanes`. */
  readonly files: readonly string[];
  readonly lanes: number;
  readonly endMs: number;
  readonly signal: AbortSignal;
  readonly onFile: (file: string) => void;
  readonly onTest: (record: TestRecord) => void;
};

/**
 * Runs the files. Whatever one leaves behind counts as one failed test of that file; leftovers without a mark (a
 * namespace, a mount, an orphan) count for all files that ran side by side.
 */
export async function runSuite(options: SuiteOptions): Promise<TestCount> {
  const { files, lanes } = options;
  if (lanes === 1 && files.length > 1) {
    let count = NO_TESTS;
    for (const file of files) count = addCounts(count, await runSuite({ ...options, files: [file] }));
    return count;
  }
  const before = machineState('');
  const counts: TestCount[] = [];
  const queue = files.values();
  const lane = async (): Promise<void> => {
    for (const file of queue) counts.push(await runMarked(file, options));
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  const left = await leaksThatStay(() => leaksBetween(before, machineState('')));
  if (left.length > 0) counts.push(leakFailure(files.join(' '), left));
  return counts.reduce(addCounts, NO_TESTS);
}

async function runMarked(file: string, options: SuiteOptions): Promise<TestCount> {
  // Short, because paths of Unix sockets end at 107 bytes; open like /tmp, because QEMU runs as another user.
  const folder = mkdtempSync(join(tmpdir(), 'gpt-'));
  chmodSync(folder, 0o1777);
  const runId = `${process.pid}-${folder}`;
  const ours = (): readonly string[] => processLines(machineState(runId).processes.filter(({ isOurs }) => isOurs));
  try {
    const count = await runOne(file, options, { ...process.env, [RUN_VARIABLE]: runId, TMPDIR: folder });
    const leaks = [...(await leaksThatStay(ours)), ...readdirSync(folder).map((name) => `temporary file ${name}`)];
    return leaks.length > 0 ? addCounts(count, leakFailure(file, leaks)) : count;
  } finally {
    endOurs(machineState(runId));
    removeQuietly(folder);
  }
}

async function runOne(file: string, options: SuiteOptions, env: NodeJS.ProcessEnv): Promise<TestCount> {
  const leftMs = options.endMs - performance.now();
  const reason = options.signal.aborted ? 'was cancelled' : 'not run: the time for the whole run was over';
  if (leftMs <= 0 || options.signal.aborted) {
    return { ...NO_TESTS, failed: 1, failures: [{ file, name: '(file)', message: reason }] };
  }
  options.onFile(file);
  const deadlineMs = Math.min(leftMs, FILE_DEADLINE_MS[kindOf(file) ?? 'unit']);
  const { root, signal, onTest } = options;
  return await runTestFiles({ root, files: [file], deadlineMs, signal, env, onTest });
}

/** The leaks that are still there after the grace period. */
async function leaksThatStay(look: () => readonly string[]): Promise<readonly string[]> {
  const endMs = performance.now() + LEAVE_DEADLINE_MS;
  let leaks = look();
  while (leaks.length > 0 && performance.now() < endMs) {
    await setTimeout(POLL_MS);
    leaks = look();
  }
  return leaks;
}

function removeQuietly(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // There is a mount below it, which is reported as a leak of its own.
  }
}

function leakFailure(file: string, leaks: readonly string[]): TestCount {
  const message = `left behind:\n${leaks.join('\n')}`;
  return { ...NO_TESTS, failed: 1, failures: [{ file, name: '(leak)', message }] };
}
