/**
 * All tests: the quick checks, then the suites with real processes. `npm test -- FILTER` runs only the test files whose
 * path contains FILTER; `npm run test:long` runs the tests of kind `long` and nothing else, with a filter likewise. The last line is the count; the exit code is 1 on any failure, leak, or where nothing was
 * tested.
 */
import { basename } from 'node:path';
import { closingLine, failureText, stepLine } from './lib/show.ts';
import { quickSteps, root, runSteps, SEEDS, total, unitSteps } from './lib/steps.ts';
import { addCounts, findTestFiles, NO_TESTS, type TestCount, type TestKind } from './lib/test-files.ts';
import type { TestRecord } from './lib/test-reporter.ts';
import { runSuite } from './lib/test-run.ts';

/**
 * Ends a run that hangs. A quiet machine with two cores takes a third of this time; a slow or busy machine must not
 * fail.
 */
const TOTAL_DEADLINE_MS = { usual: 75 * 60_000, long: 180 * 60_000 };

const isLong = process.argv[2] === '--long';
const filter = process.argv[isLong ? 3 : 2] ?? '';
const endMs = performance.now() + TOTAL_DEADLINE_MS[isLong ? 'long' : 'usual'];
const cancelled = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => cancelled.abort());

/** Tests that run long simulations or need real processes. */
const KINDS: readonly TestKind[] = isLong ? ['long'] : ['sim', 'spin', 'etcd', 'net', 'qemu', 'web', 'story'];

/**
 * The groups run one after the other; each says how many of its files run side by side. A file belongs to the first
 * group that names the beginning of its path; the slowest files begin first, so that the last one to end is short.
 */
const GROUPS: readonly { readonly lanes: number; readonly starts: readonly string[] }[] = [
  // Each of these computes with one processor, or briefly with more.
  {
    lanes: 2,
    starts: [
      'test/acceptance/acceptance',
      'formal/',
      'src/sim/',
      'src/images/guest-cluster',
      'src/images/tiny',
      'test/acceptance/ordinary-user',
    ],
  },
  // These wait more than they compute.
  {
    lanes: 3,
    starts: [
      'src/iscsi/conformance',
      'src/agent/agent',
      'src/lab/lab',
      'src/storage/',
      'src/agent/network',
      'src/etcd/client',
      'src/control/main',
      'src/',
    ],
  },
  // The guests of these fill two processors: two at a time take as long as one after the other.
  { lanes: 1, starts: ['test/'] },
];

async function quick(): Promise<TestCount> {
  const steps = filter === '' ? quickSteps(SEEDS.whole) : unitSteps(filter);
  const onResult = (result: Parameters<typeof stepLine>[0]): void => console.log(stepLine(result));
  return total(await runSteps(steps, { signal: cancelled.signal, onResult }));
}

async function suites(): Promise<TestCount> {
  let count = NO_TESTS;
  let left = findTestFiles({ root, kinds: KINDS, filter });
  for (const { lanes, starts } of GROUPS) {
    const place = (file: string): number => starts.findIndex((start) => file.startsWith(start));
    const files = left.filter((file) => place(file) !== -1).sort((a, b) => place(a) - place(b));
    left = left.filter((file) => !files.includes(file));
    count = addCounts(count, await suite(files, lanes));
  }
  if (left.length > 0) throw new Error(`These test files are of no group: ${left.join(', ')}`);
  return count;
}

async function suite(files: readonly string[], lanes: number): Promise<TestCount> {
  const onFile = (file: string): void => console.log(`\n${file}`);
  const onTest = (record: TestRecord): void => console.log(testLine(record, lanes > 1));
  return await runSuite({ root, files, lanes, endMs, signal: cancelled.signal, onFile, onTest });
}

/** For files that run side by side, the line also says which file it was. */
function testLine({ file, name, outcome, durationMs }: TestRecord, isOneOfMany: boolean): string {
  const mark = { passed: 'ok  ', failed: 'FAIL', skipped: 'skip' }[outcome];
  const where = isOneOfMany ? `${basename(file).split('.')[0]}: ` : '';
  return `  ${mark} ${where}${name} (${(durationMs / 1000).toFixed(1)} s)`;
}

function withSomething(count: TestCount): TestCount {
  if (count.passed + count.failed + count.skipped > 0) return count;
  const message = filter === '' ? 'no tests were found' : `no test file's path contains "${filter}"`;
  return { ...NO_TESTS, failed: 1, failures: [{ file: '', name: 'tests', message }] };
}

const count = withSomething(addCounts(isLong ? NO_TESTS : await quick(), await suites()));
if (count.failed > 0) console.log(`\n${failureText(count)}`);
console.log(`\n${closingLine(count)}`);
process.exitCode = count.failed > 0 || count.passed === 0 ? 1 : 0;
