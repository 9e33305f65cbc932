/**
 * Finds and runs test files. Guarantees: a file without tests, a file that cannot be loaded and a file that does not
 * end in time are failures, and each test is counted once.
 */
import { globSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runProcess } from './processes.ts';
import { LEFT_BEHIND_MS, RECORD_SEPARATOR, type TestRecord } from './test-reporter.ts';

const reporter = fileURLToPath(new URL('./test-reporter.ts', import.meta.url));

/**
 * The suffix of a test file says what the file needs: `sim` much processor time and nothing else (simulations, every
 * value in every field), `spin` the model checker and a C compiler, `web` a browser, stories everything else, and so does
 * `long`, which only `npm run test:long` runs.
 */
export type TestKind = 'unit' | 'sim' | 'spin' | 'etcd' | 'net' | 'qemu' | 'web' | 'story' | 'long';

/** A test that failed, with the reason. */
export type Failure = { readonly file: string; readonly name: string; readonly message: string };

/** The count over one or several test processes. */
export type TestCount = {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly failures: readonly Failure[];
};

/** The sum of no tests at all: where adding up begins. */
export const NO_TESTS: TestCount = { passed: 0, failed: 0, skipped: 0, failures: [] };

/** The sum of two counts. */
export function addCounts(a: TestCount, b: TestCount): TestCount {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    failures: [...a.failures, ...b.failures],
  };
}

/** Which kind of test a file is, or undefined if its suffix names none. */
export function kindOf(file: string): TestKind | undefined {
  const kind = /\.([a-z]+)\.test\.ts$/.exec(file)?.[1];
  switch (kind) {
    case 'sim':
    case 'spin':
    case 'etcd':
    case 'net':
    case 'qemu':
    case 'web':
    case 'story':
    case 'long':
      return kind;
    default:
  }
  return file.endsWith('.test.ts') ? 'unit' : undefined;
}

/** All test files of the given kinds below `root`, relative to it, sorted; only paths that contain `filter`. */
export function findTestFiles(options: { root: string; kinds: readonly TestKind[]; filter?: string }): string[] {
  const found = globSync('{src,test,scripts,bench,formal,web/src}/**/*.test.ts', { cwd: options.root });
  const wanted = found.filter((file) => {
    const kind = kindOf(file);
    return kind !== undefined && options.kinds.includes(kind) && file.includes(options.filter ?? '');
  });
  return wanted.sort();
}

/**
 * The environment of a program of the checks: code that Node has compiled once, the next process takes from a cache in
 * the clone.
 */
export function programEnv(root: string, env = process.env): NodeJS.ProcessEnv {
  return { ...env, NODE_COMPILE_CACHE: join(root, '.cache/compiled') };
}

/** What to run. All `files` share one process, one after another. */
export type TestRunOptions = {
  readonly root: string;
  readonly files: readonly string[];
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  readonly env?: NodeJS.ProcessEnv;
  /**
   * How long after its last test, in ms, a process with a failed test may stay alive because of what that test left
   * behind. For tests whose hooks need less time. Absent: until the deadline.
   */
  readonly leftBehindMs?: number;
  readonly onTest?: (record: TestRecord) => void;
};

/** Runs test files in one process and counts their tests. */
export async function runTestFiles(options: TestRunOptions): Promise<TestCount> {
  const records: TestRecord[] = [];
  const onLine = (line: string): boolean => {
    const start = line.indexOf(RECORD_SEPARATOR);
    if (start === -1) return false;
    const record = JSON.parse(line.slice(start + 1)) as TestRecord;
    const here = { ...record, file: relative(options.root, record.file) };
    records.push(here);
    if (!here.isSuite) options.onTest?.(here);
    return true;
  };
  const flags = ['--test', '--test-isolation=none', `--test-reporter=${reporter}`];
  const ended = await runProcess({
    argv: [process.execPath, ...flags, ...options.files],
    cwd: options.root,
    deadlineMs: options.deadlineMs,
    signal: options.signal,
    env: {
      ...programEnv(options.root, options.env),
      ...(options.leftBehindMs === undefined ? {} : { [LEFT_BEHIND_MS]: String(options.leftBehindMs) }),
    },
    onLine,
  });
  const end = `exit code ${ended.exitCode ?? 'none'}, ${ended.why}, ${records.length} records`;
  const count = countRecords(records, options.files, end);
  const seconds = Math.round(options.deadlineMs / 1000);
  if (ended.why === 'deadline')
    return withFailure(count, options.files, `did not end within ${seconds} s\n${tail(ended.output)}`);
  if (ended.why === 'cancelled') return withFailure(count, options.files, 'was cancelled');
  if (ended.exitCode === 0 || count.failed > 0) return withOutput(count, ended.output);
  return withFailure(count, options.files, `ended with exit code ${ended.exitCode}\n${tail(ended.output)}`);
}

/** A file that contains no test is reported by the runner as a test named like the file. */
function countRecords(records: readonly TestRecord[], files: readonly string[], end: string): TestCount {
  // The runner reports a file that holds no test as a test named like the file.
  const isFile = (record: TestRecord): boolean => record.name.endsWith(record.file) && record.name.endsWith('.ts');
  const real = records.filter((record) => !isFile(record) || record.outcome === 'failed');
  const hookFailures = real.filter((record) => record.isSuite && record.outcome === 'failed' && !record.onlyInside);
  const tests = [...real.filter((record) => !record.isSuite), ...hookFailures];
  // A test belongs to the file that defines it; if only one file runs, tests from a suite that others share belong to
  // that file.
  const isOf = (record: TestRecord, file: string): boolean => files.length === 1 || record.file === file;
  const empty = files.filter((file) => !real.some((record) => isOf(record, file)));
  const failures = tests.filter((record) => record.outcome === 'failed' && !record.onlyInside);
  return {
    passed: tests.filter((record) => record.outcome === 'passed').length,
    failed: tests.filter((record) => record.outcome === 'failed').length + empty.length,
    skipped: tests.filter((record) => record.outcome === 'skipped').length,
    failures: [
      ...failures.map(({ file, name, message }) => ({ file, name, message })),
      ...empty.map((file) => ({ file, name: '(file)', message: `ran no test (the process: ${end})` })),
    ],
  };
}

function withFailure(count: TestCount, files: readonly string[], message: string): TestCount {
  return addCounts(count, {
    ...NO_TESTS,
    failed: 1,
    failures: [{ file: files.join(' '), name: '(process)', message }],
  });
}

/** The output of the process belongs to the first failure of a file: it often contains the reason. */
function withOutput(count: TestCount, output: string): TestCount {
  const [first, ...others] = count.failures;
  if (first === undefined || output === '') return count;
  return { ...count, failures: [{ ...first, message: `${first.message}\noutput:\n${tail(output)}` }, ...others] };
}

function tail(output: string): string {
  return output.split('\n').slice(-30).join('\n');
}
