/**
 * Runs the model checker: spin makes a C program of a model, gcc compiles it, and the program searches every state.
 * Guarantees: everything happens in one folder that the caller removes; each program has a deadline; a search that was not complete is
 * never taken for a passed one.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runProcess } from '../scripts/lib/processes.ts';

/** How far the model goes: each number is the macro of that name at the head of generations.pml. */
export interface Bounds {
  readonly breaks: number;
  readonly late: number;
  readonly migrations: number;
  readonly stops: number;
  readonly terms: number;
  readonly calm: 0 | 1;
}

/** One search. */
export interface Search {
  readonly folder: string;
  readonly name: string;
  readonly bounds: Bounds;
  /** Further macros of the model. */
  readonly defines: readonly string[];
  /** `assertions`: what must hold in every state, and no deadlock; otherwise the name of an LTL formula, under weak fairness or without. */
  readonly property: 'assertions' | { readonly ltl: string; readonly fair: boolean };
  /** gcc's -O: 2 for a long search, 0 for one that ends soon. */
  readonly optimize: 0 | 2;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/** What a search found. */
export interface Found {
  /** What is violated, in the words of the checker (`assertion violated (...)`, `acceptance cycle`); null for nothing. */
  readonly violation: string | null;
  /** Whether every state within the bounds was visited. */
  readonly complete: boolean;
  readonly states: number;
  readonly depth: number;
  /** Statements that no run reached, but for the ends of processes that never end. Those inside a `d_step` are not told apart. */
  readonly unreached: readonly string[];
  readonly output: string;
}

const MODEL = join(import.meta.dirname, 'generations.pml');
/** More than any search of ours needs; a search that reaches it is not complete. */
const DEPTH_MAX = 100_000;
const MEMORY_MIB_MAX = 4_000;

/** Searches. Throws an Error with the program's output where a program cannot be run or the search says nothing. */
export async function search(options: Search): Promise<Found> {
  const { property, bounds } = options;
  const cwd = join(options.folder, options.name);
  await mkdir(cwd, { recursive: true });
  const macros = [
    ...Object.entries(bounds).map(([name, value]) => `${name.toUpperCase()}=${value}`),
    ...options.defines,
  ].map((macro) => `-D${macro}`);
  await program(options, cwd, ['spin', ...macros, '-a', MODEL]);
  const isSafety = property === 'assertions';
  const kind = isSafety ? ['-DSAFETY', '-DNOCLAIM'] : ['-DNFAIR=3'];
  await program(options, cwd, [
    'gcc',
    '-w',
    `-O${options.optimize}`,
    `-DMEMLIM=${MEMORY_MIB_MAX}`,
    ...kind,
    '-o',
    'pan',
    'pan.c',
  ]);
  const ltl = isSafety ? [] : ['-a', ...(property.fair ? ['-f'] : []), '-N', property.ltl];
  const output = await program(options, cwd, [
    './pan',
    `-m${DEPTH_MAX}`,
    options.optimize === 2 ? '-w24' : '-w20',
    ...ltl,
  ]);
  return readFound(output);
}

/** The lines of generations.pml: which guards there are is read from there. */
export async function readGuards(): Promise<string[]> {
  const names = (await readFile(MODEL, 'utf8')).matchAll(/\bWITHOUT_([A-Z_]*[A-Z])\b/g);
  return [...new Set([...names].map(([, name = '']) => name))].sort();
}

async function program(options: Search, cwd: string, argv: readonly [string, ...string[]]): Promise<string> {
  const { deadlineMs, signal } = options;
  const ended = await runProcess({ argv, cwd, deadlineMs, signal });
  if (ended.exitCode === 0) return ended.output;
  const how = ended.why === 'ended' ? `exit code ${ended.exitCode}` : ended.why;
  throw new Error(`${options.name}: ${argv[0]}: ${how}\n${ended.output.slice(-2_000)}`);
}

/** Reads what pan prints at its end (spin 6.5: pan.c, wrapup). */
function readFound(output: string): Found {
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
    unreached: output.match(/^\t\S*generations\.pml:\d+, state \d+, "(?!-end-).*"$/gm) ?? [],
    output,
  };
}
