/**
 * The quick checks as a table, and a runner for tables. Needs neither root nor Debian packages. A check that has
 * nothing to look at yet passes; a check that cannot run fails.
 */
import { existsSync, globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { runProcess } from './processes.ts';
import { addCounts, findTestFiles, NO_TESTS, programEnv, runTestFiles, type TestCount } from './test-files.ts';

/** The clone's root directory. */
export const root = join(import.meta.dirname, '../..');

const STEP_DEADLINE_MS = 120_000;
const UNIT_FILE_DEADLINE_MS = 120_000;
const UNIT_LEFT_BEHIND_MS = 10_000;

/** One line of the table. */
export type Step = { readonly name: string; readonly run: (signal: AbortSignal) => Promise<TestCount> };

/** The result of a step. */
export type StepResult = { readonly name: string; readonly count: TestCount; readonly durationMs: number };

/** The seeds of the simulator that the quick check, and a whole `npm test`, run. Always the same ones. */
export const SEEDS = { quick: 20, whole: 200 } as const;

/**
 * All quick checks, the slowest first, so that the last one to end is short. `seeds`: how many seeds of the simulator
 * to run.
 */
export function quickSteps(seeds: number = SEEDS.quick): Step[] {
  return [...toolSteps(), simulatorStep(seeds), ...unitSteps('')];
}

/** Counts as one test. */
function simulatorStep(seeds: number): Step {
  return tool(`simulator: ${seeds} seeds`, [process.execPath, 'scripts/sim.ts', '--seeds', String(seeds)]);
}

/** Types, format, lint, boundaries, dead code, tidy: each counts as one test. */
function toolSteps(): Step[] {
  const folders = ['src', 'scripts', 'test', 'bench', 'scenarios', 'formal', 'web/src'].filter((folder) =>
    holdsSource(folder),
  );
  const bin = (name: string): string => join('node_modules/.bin', name);
  const tsc = [process.execPath, 'node_modules/typescript-native/bin/tsc'] as const;
  return [
    tool('knip', [bin('knip'), '--no-progress', '--no-config-hints']),
    tool('boundaries', [bin('depcruise'), '--config', '.dependency-cruiser.cjs', '--output-type', 'err', ...folders]),
    tool('tidy', [process.execPath, 'scripts/tidy.ts']),
    tool('types', [...tsc, '-p', 'tsconfig.json', '--pretty', 'false']),
    tool('core types', [...tsc, '-p', 'tsconfig.core.json', '--pretty', 'false']),
    tool('web types', [...tsc, '-p', 'web/tsconfig.json', '--pretty', 'false']),
    tool('promises', [bin('oxlint'), '--type-aware', '--deny-warnings', ...folders]),
    tool('format, lint', [
      bin('biome'),
      'check',
      '--error-on-warnings',
      '--diagnostic-level=warn',
      '--colors=off',
      '--max-diagnostics=30',
      '.',
    ]),
  ];
}

/**
 * Folders whose unit tests share a process: their tests load the same code, leave nothing in the process and measure no
 * time. Every other file has a process of its own.
 */
const SHARED_PROCESSES: Readonly<Record<string, RegExp>> = {
  'src/sim': /^src\/sim\//,
  'unit: core, loops and maintenance': /^src\/core\/(loop|maintenance)\//,
  'unit: core, all else': /^src\/core\//,
  'unit: base, wire, web': /^(src\/(base|wire)|web\/src)\//,
  'src/cli': /^src\/cli\//,
  'src/audit': /^src\/audit\//,
};

/** Unit tests whose path contains `filter`. */
export function unitSteps(filter: string): Step[] {
  let alone = findTestFiles({ root, kinds: ['unit'], filter });
  const shared = Object.entries(SHARED_PROCESSES).flatMap(([name, place]) => {
    const files = alone.filter((file) => place.test(file));
    alone = alone.filter((file) => !place.test(file));
    return files.length === 0 ? [] : [unitStep(`${name} (${files.length} files)`, files)];
  });
  return [...shared, ...alone.map((file) => unitStep(file, [file]))];
}

function unitStep(name: string, files: readonly string[]): Step {
  const limits = { deadlineMs: UNIT_FILE_DEADLINE_MS, leftBehindMs: UNIT_LEFT_BEHIND_MS };
  return { name, run: (signal) => runTestFiles({ root, files, signal, ...limits }) };
}

/**
 * Runs steps, as many at a time as there are processors, plus `besides` more (default 0): a step that waits for a clock
 * or a socket leaves its processor to another one. Results are in the order of the steps.
 */
export async function runSteps(
  steps: readonly Step[],
  options: { signal: AbortSignal; onResult: (result: StepResult) => void; besides?: number },
): Promise<StepResult[]> {
  const results: StepResult[] = [];
  const queue = steps.entries();
  const worker = async (): Promise<void> => {
    for (const [index, step] of queue) {
      const startedMs = performance.now();
      const count = options.signal.aborted ? failure(step.name, 'was cancelled') : await step.run(options.signal);
      const result = { name: step.name, count, durationMs: performance.now() - startedMs };
      results[index] = result;
      options.onResult(result);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() + (options.besides ?? 0) }, worker));
  return results;
}

/** The sum over results. */
export function total(results: readonly StepResult[]): TestCount {
  return results.map((result) => result.count).reduce(addCounts, NO_TESTS);
}

function tool(name: string, argv: readonly [string, ...string[]]): Step {
  return {
    name,
    run: async (signal) => {
      const env = { ...programEnv(root), NO_COLOR: '1', FORCE_COLOR: '0' };
      const ended = await runProcess({ argv, cwd: root, deadlineMs: STEP_DEADLINE_MS, signal, env });
      if (ended.exitCode === 0) return { ...NO_TESTS, passed: 1 };
      const why = ended.why === 'ended' ? '' : `${name}: ${ended.why} after ${STEP_DEADLINE_MS / 1000} s at most\n`;
      const again = argv.map((word) => (word === process.execPath ? 'node' : word)).join(' ');
      return failure(name, `${why}again: ${again}\n${ended.output}`);
    },
  };
}

function failure(name: string, message: string): TestCount {
  return { ...NO_TESTS, failed: 1, failures: [{ file: '', name, message }] };
}

function holdsSource(folder: string): boolean {
  return existsSync(join(root, folder)) && globSync(`${folder}/**/*.ts`, { cwd: root }).length > 0;
}
