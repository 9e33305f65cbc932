/**
 * Runs the model checker: spin makes a C program of a model, gcc compiles it, and the program searches every state.
 * Guarantees: everything happens in one folder that the caller removes; each program has a deadline; a search that was
 * not complete is never taken for a passed one.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runProcess } from '../scripts/lib/processes.ts';

/** How far the model goes: each number is the setting of that name at the head of generations.pml. */
export interface Bounds {
  readonly breaks: number;
  readonly late: number;
  readonly migrations: number;
  readonly stops: number;
  readonly terms: number;
  readonly calm: 0 | 1;
}

/** The directory where programs are made and run, how long each may take, and the signal that ends them early. */
export interface Workshop {
  readonly folder: string;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/**
 * What a program checks: the assertions, which must hold in every state, and the absence of deadlock; or the formula
 * `settles`, which takes longer.
 */
export type Kind = 'assertions' | 'progress';

/** One search. */
export interface Search {
  readonly name: string;
  readonly bounds: Bounds;
  /** Further settings that are 1 in this search. */
  readonly settings: readonly string[];
  /** For `progress`: whether it is checked under weak fairness only. */
  readonly isFair: boolean;
}

/** A program that was made for searches of one kind. */
export interface Program {
  readonly kind: Kind;
  readonly path: string;
}

/** The result of a search. */
export interface Found {
  /**
   * The violation, in the words of the checker (`assertion violated (...)`, `acceptance cycle`); null if there is none.
   */
  readonly violation: string | null;
  /** Whether every state within the bounds was visited. */
  readonly complete: boolean;
  readonly states: number;
  readonly depth: number;
  /**
   * Statements that no run reached, except the ends of processes that never end and statements that exist only without
   * a guard. Those inside a `d_step` are not told apart.
   */
  readonly unreached: readonly string[];
  readonly output: string;
}

const MODEL = join(import.meta.dirname, 'generations.pml');
/** More than any of our searches needs; a search that reaches it is not complete. */
const DEPTH_MAX = 100_000;
const MEMORY_MIB_MAX = 4_000;
/** The size of the hash table: as many places as the largest search has states. */
const TABLE_BITS = 24;

/**
 * Makes the program of a kind, once for all its searches: compiling takes longer than most of them. Throws an Error
 * with what is wrong.
 */
export async function build(kind: Kind, workshop: Workshop): Promise<Program> {
  const cwd = join(workshop.folder, kind);
  await mkdir(cwd, { recursive: true });
  await run(kind, workshop, { cwd, argv: ['spin', '-a', MODEL] });
  // Packing the states that are kept takes a fifth of the time of a long search. The check of progress needs it:
  // "-DNOCOMP voids -l and -a".
  const flags = kind === 'assertions' ? ['-DSAFETY', '-DNOCLAIM', '-DNOCOMP'] : ['-DNFAIR=3'];
  // Partial-order reduction finds nothing to leave out in this model, and costs time.
  const common = ['-w', '-O2', '-march=native', '-DNOREDUCE', `-DMEMLIM=${MEMORY_MIB_MAX}`];
  await run(kind, workshop, { cwd, argv: ['gcc', ...common, ...flags, '-o', 'pan', 'pan.c'] });
  return { kind, path: join(cwd, 'pan') };
}

/** Searches. Throws an Error with the program's output where it cannot be run or the search says nothing. */
export async function search({ kind, path }: Program, options: Search, workshop: Workshop): Promise<Found> {
  const { name, bounds, settings, isFair } = options;
  const cwd = join(workshop.folder, name.replaceAll(/[^A-Za-z]+/g, '-'));
  await mkdir(cwd, { recursive: true });
  const numbers = Object.entries(bounds).map(([bound, value]) => [bound.toUpperCase(), String(value)]);
  const env = {
    ...process.env,
    // Large pages: a quarter of the time of a long search is spent on finding pages of the table of states.
    GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1',
    ...Object.fromEntries(numbers),
    ...Object.fromEntries(settings.map((setting) => [setting, '1'])),
  };
  const claim = kind === 'assertions' ? [] : ['-a', ...(isFair ? ['-f'] : [])];
  const argv = [path, `-m${DEPTH_MAX}`, `-w${TABLE_BITS}`, ...claim] as const;
  const output = await run(name, workshop, { cwd, argv, env });
  return readFound(output, await readModel());
}

/** The guards of generations.pml, without the `WITHOUT_` that takes them away. */
export async function readGuards(): Promise<string[]> {
  const names = (await readModel()).matchAll(/\bWITHOUT_([A-Z_]*[A-Z])\b/g);
  return [...new Set([...names].map(([, name = '']) => name))].sort();
}

function readModel(): Promise<string> {
  return readFile(MODEL, 'utf8');
}

async function run(
  name: string,
  { deadlineMs, signal }: Workshop,
  program: { cwd: string; argv: readonly [string, ...string[]]; env?: NodeJS.ProcessEnv },
): Promise<string> {
  const ended = await runProcess({ ...program, deadlineMs, signal });
  if (ended.exitCode === 0) return ended.output;
  const how = ended.why === 'ended' ? `exit code ${ended.exitCode}` : ended.why;
  throw new Error(`${name}: ${program.argv[0]}: ${how}\n${ended.output.slice(-2_000)}`);
}

/** Reads the output that pan prints at its end (spin 6.5: pan.c, wrapup). */
function readFound(output: string, model: string): Found {
  const violation = /^pan:1: (.*?)(?: \(at depth \d+\))?$/m.exec(output)?.[1] ?? null;
  const counts = /depth reached (\d+), errors: (\d+)\n\s*(\d+) states, stored/.exec(output);
  if (counts === null) throw new Error(`The search ended without a result:\n${output.slice(-2_000)}`);
  const [, depth, errors, states] = counts.map(Number);
  const incomplete = /search not completed|max search depth too small|out of memory|memory limit/i.test(output);
  return {
    violation: violation ?? (errors === 0 ? null : 'unnamed'),
    complete: !incomplete && errors === 0,
    states: states ?? 0,
    depth: depth ?? 0,
    unreached: unreachedIn(output, model.split('\n')),
    output,
  };
}

function unreachedIn(output: string, modelLines: readonly string[]): string[] {
  const all = output.matchAll(/^\t\S*generations\.pml:(\d+), state \d+, "(?!-end-).*"$/gm);
  return [...all]
    .filter(([, line]) => !/:: .* \{ WITHOUT_/.test(modelLines[Number(line) - 1] ?? ''))
    .map(([whole]) => whole);
}
