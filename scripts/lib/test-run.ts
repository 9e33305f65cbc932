/**
 * Real-process suites: one file at a time, each in a run that is marked and has a folder for temporary files of its own, and at the end
 * a look at what was left behind after each. A leak is a failure.
 */
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { endOurs, leaksBetween, machineState, RUN_VARIABLE } from './leaks.ts';
import { addCounts, kindOf, NO_TESTS, runTestFiles, type TestCount, type TestKind } from './test-files.ts';
import type { TestRecord } from './test-reporter.ts';

/** How long a file of each kind may take. */
const FILE_DEADLINE_MS: Record<TestKind, number> = {
  unit: 60_000,
  spin: 600_000,
  etcd: 120_000,
  net: 120_000,
  qemu: 360_000,
  story: 780_000,
};

/** Processes that were told to end get this long before they count as left behind. */
const LEAVE_DEADLINE_MS = 5_000;
/** The kernel tells nobody when a namespace or a stranger's process goes: we look again and again. */
const POLL_MS = 100;

/** What to run: files relative to `root`, and `endMs`, the end of the whole run by performance.now(). */
export type SuiteOptions = {
  readonly root: string;
  readonly files: readonly string[];
  readonly endMs: number;
  readonly signal: AbortSignal;
  readonly onFile: (file: string) => void;
  readonly onTest: (record: TestRecord) => void;
};

/** Runs the files one after another; what a file leaves behind counts as one failed test of it. */
export async function runSuite(options: SuiteOptions): Promise<TestCount> {
  const runId = `${process.pid}-${Date.now()}`;
  // Short, because paths of Unix sockets end at 107 bytes; open like /tmp, because QEMU runs as another user.
  const folder = mkdtempSync(join(tmpdir(), 'gpt-'));
  chmodSync(folder, 0o1777);
  const env = { ...process.env, [RUN_VARIABLE]: runId, TMPDIR: folder };
  let count = NO_TESTS;
  try {
    for (const file of options.files) {
      const before = machineState(runId);
      count = addCounts(count, await runOne(file, options, env));
      const leaks = [...(await leaksAfter(before, runId)), ...leftIn(folder)];
      if (leaks.length > 0) count = addCounts(count, leakFailure(file, leaks));
    }
  } finally {
    endOurs(machineState(runId));
    rmSync(folder, { recursive: true, force: true });
  }
  return count;
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

/** Leaks that are still there after the grace; then our own are ended. */
async function leaksAfter(before: ReturnType<typeof machineState>, runId: string): Promise<string[]> {
  const endMs = performance.now() + LEAVE_DEADLINE_MS;
  let leaks: string[];
  do {
    leaks = leaksBetween(before, machineState(runId));
    if (leaks.length > 0) await setTimeout(POLL_MS);
  } while (leaks.length > 0 && performance.now() < endMs);
  if (leaks.length > 0) endOurs(machineState(runId));
  return leaks;
}

/** Files that tests left in their temporary folder, removed so that the next file starts clean. */
function leftIn(folder: string): string[] {
  const names = readdirSync(folder);
  for (const name of names) removeQuietly(join(folder, name));
  return names.map((name) => `temporary file ${name}`);
}

function removeQuietly(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // A mount below it, which is reported as a leak of its own.
  }
}

function leakFailure(file: string, leaks: readonly string[]): TestCount {
  const message = `left behind:\n${leaks.join('\n')}`;
  return { ...NO_TESTS, failed: 1, failures: [{ file, name: '(leak)', message }] };
}
