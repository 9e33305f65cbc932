/**
 * The simulator (src/sim): one seed with its log, or many spread over the cores.
 *
 *   npm run sim -- --seed N [--log FILE]        one run
 *   npm run sim -- --seeds COUNT [--from N]     many
 *   npm run sim -- --story NAME --seed N        a story of scenarios/, with --log FILE too
 *   … --roll small|large                        runs in which all hosts are rolled over: 12 to 20, or 200
 *   … --bug NAME                                with a mistake planted on purpose
 *
 * Exit status: 0 nothing was found; 1 a rule was broken; 2 wrong use; 130 interrupted.
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { CodedError, messageOf } from '../src/base/errors.ts';
import type { Violation } from '../src/core/check/trace.ts';
import { findBug } from '../src/sim/faults/planted-bugs.ts';
import { drawRoll, ROLLS, type RollSize } from '../src/sim/faults/swarm.ts';
import { type Outcome, runSeed } from '../src/sim/run.ts';
import { runSeeds } from '../src/sim/seeds.ts';
import { listStories, tellStory } from '../src/sim/stories/tell.ts';
import { comparedOf } from '../src/stories/differences.ts';
import { runProcess } from './lib/processes.ts';
import { root } from './lib/steps.ts';

const USAGE =
  'Use --seed N [--story NAME] [--log FILE], or --seeds COUNT [--from N]; --roll small|large plays rolls, --bug NAME plants a mistake.';
const SEED_MAX = 0xffffffff;
const SEEDS_MAX = 1_000_000;
/** The most broken rules that are shown of one run, and the most runs that are shown of many. */
const SHOWN_MAX = 10;
const PROGRESS_MS = 1_000;
/** How often a new line reports progress if the output is no terminal, in ms. */
const PROGRESS_LINES_MS = 15_000;
const GIT_MS = 5_000;

interface Wish {
  readonly seed: number | null;
  readonly seeds: number;
  readonly from: number;
  readonly log: string | null;
  readonly bug: string | null;
  /** Runs in which all hosts are rolled over. */
  readonly roll: RollSize | null;
  /** A story of scenarios/ instead of a run of chance. */
  readonly story: string | null;
}

function wishOf(argv: readonly string[]): Wish {
  const text = { type: 'string' } as const;
  const options = { seed: text, seeds: text, from: text, log: text, bug: text, story: text, roll: text };
  let values: Partial<Record<keyof typeof options, string>>;
  try {
    values = parseArgs({ args: [...argv], options, strict: true, allowPositionals: false }).values;
  } catch (cause) {
    throw new CodedError('bad-input', messageOf(cause), { cause, advice: USAGE });
  }
  const { seed, seeds, from, log, bug, story, roll } = values;
  if ((seed === undefined) === (seeds === undefined))
    throw new CodedError('bad-input', 'One of --seed and --seeds is needed.', { advice: USAGE });
  if (seed === undefined && log !== undefined)
    throw new CodedError('bad-input', 'A log is of one seed: --log goes with --seed.', { advice: USAGE });
  if (seed !== undefined && from !== undefined)
    throw new CodedError('bad-input', '--from goes with --seeds.', { advice: USAGE });
  if (seed === undefined && story !== undefined)
    throw new CodedError('bad-input', 'A story is told with one seed: --story goes with --seed.', { advice: USAGE });
  if (bug !== undefined) findBug(bug);
  if (roll !== undefined && !Object.hasOwn(ROLLS, roll))
    throw new CodedError('bad-input', `--roll is ${Object.keys(ROLLS).join(' or ')}.`, { advice: USAGE });
  if (roll !== undefined && story !== undefined)
    throw new CodedError('bad-input', 'A story has its own hosts: --roll goes without --story.', { advice: USAGE });
  return {
    seed: seed === undefined ? null : numberOf('--seed', seed, 0, SEED_MAX),
    seeds: seeds === undefined ? 1 : numberOf('--seeds', seeds, 1, SEEDS_MAX),
    from: from === undefined ? 1 : numberOf('--from', from, 0, SEED_MAX - SEEDS_MAX),
    log: log ?? null,
    bug: bug ?? null,
    roll: (roll as RollSize | undefined) ?? null,
    story: story ?? null,
  };
}

function numberOf(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most)
    throw new CodedError(
      'bad-input',
      `${option} takes a number from ${least} to ${most}, not ${JSON.stringify(text)}.`,
      { advice: USAGE },
    );
  return value;
}

/** The commit of the code: a seed means nothing without it. */
async function commitOf(signal: AbortSignal): Promise<string> {
  const git = async (...args: string[]): Promise<string> => {
    const ended = await runProcess({ argv: ['git', ...args], cwd: root, deadlineMs: GIT_MS, signal });
    return ended.exitCode === 0 ? ended.output.trim() : 'unknown';
  };
  const [commit, changed] = await Promise.all([
    git('rev-parse', '--short=12', 'HEAD'),
    git('status', '--porcelain', 'src'),
  ]);
  return changed === '' ? commit : `${commit} with changes`;
}

const lineOf = ({ at, rule, what }: Violation): string => `  ${(at / 1_000).toFixed(3)} s  ${rule}: ${what}`;

/** The command that plays a seed again. */
function againOf(seed: number, { bug, story, roll }: Pick<Wish, 'bug' | 'story' | 'roll'>): string {
  const more = [
    ...(roll === null ? [] : ['--roll', roll]),
    ...(story === null ? [] : ['--story', story]),
    ...(bug === null ? [] : ['--bug', bug]),
  ];
  return ['npm run sim -- --seed', seed, ...more, `--log sim-${seed}.log`].join(' ');
}

function explain({ seed, violations }: Outcome, { bug, roll }: Wish, commit: string): string {
  const shown = violations.slice(0, SHOWN_MAX).map(lineOf);
  const more = violations.length > SHOWN_MAX ? [`  … ${violations.length - SHOWN_MAX} more`] : [];
  return [
    `seed ${seed} at commit ${commit}:`,
    ...shown,
    ...more,
    `  again: ${againOf(seed, { bug, roll, story: null })}`,
  ].join('\n');
}

/** Plays a seed or story with its log in the given file. */
async function logged<T>({ log }: Wish, play: (options: { log?: (line: string) => void }) => Promise<T>): Promise<T> {
  if (log === null) return play({});
  const file = createWriteStream(log);
  const failed = once(file, 'error').then(([error]) => Promise.reject(error as Error));
  // A file that cannot be written is noticed at the end, or earlier.
  failed.catch(() => undefined);
  try {
    return await play({ log: (line) => void file.write(`${line}\n`) });
  } finally {
    file.end();
    await Promise.race([once(file, 'finish'), failed]);
    console.log(`The log is in ${log}.`);
  }
}

/** One seed, of one commit. */
interface Played {
  readonly seed: number;
  readonly commit: string;
  readonly signal: AbortSignal;
}

async function playOne(wish: Wish, { seed, commit, signal }: Played): Promise<boolean> {
  const bug = wish.bug === null ? {} : { bug: findBug(wish.bug) };
  const swarm = wish.roll === null ? {} : { swarm: drawRoll(seed, wish.roll) };
  const outcome = await logged(wish, (options) => runSeed(seed, { ...bug, ...swarm, ...options, signal }));
  const isGood = outcome.violations.length === 0;
  console.log(
    isGood
      ? `seed ${seed}: nothing broken in ${(outcome.simulatedMs / 1_000).toFixed(1)} s of simulated time, ${outcome.events} events`
      : explain(outcome, wish, commit),
  );
  return isGood;
}

async function playStory(wish: Wish, { seed, story }: { seed: number; story: string }, commit: string) {
  if (!(await listStories()).includes(story)) {
    const advice = `There are: ${(await listStories()).join(', ')}.`;
    throw new CodedError('bad-input', `There is no story ${JSON.stringify(story)}.`, { advice });
  }
  const bug = wish.bug === null ? {} : { bug: findBug(wish.bug) };
  const { isGood, end } = await logged(wish, async (options) => {
    try {
      const { recorded, golden, simulatedMs } = await tellStory(story, { seed, ...bug, ...options });
      if (comparedOf(story, recorded) !== comparedOf(story, golden))
        return { isGood: false, end: `its golden log says otherwise than what was recorded:\n${recorded}` };
      return { isGood: true, end: `told in ${(simulatedMs / 1_000).toFixed(1)} s of simulated time` };
    } catch (error) {
      return { isGood: false, end: `it does not come true.\n${messageOf(error)}` };
    }
  });
  console.log(`story ${story}, seed ${seed}, at commit ${commit}: ${end}`);
  if (!isGood) console.log(`  again: ${againOf(seed, wish)}`);
  return isGood;
}

async function playMany(wish: Wish, commit: string, signal: AbortSignal): Promise<boolean> {
  const startedMs = performance.now();
  let done = 0;
  let simulatedMs = 0;
  const broken: Outcome[] = [];
  const progress = (): string => {
    const seconds = (performance.now() - startedMs) / 1_000;
    const rate = (done / seconds).toFixed(1);
    return `${done} of ${wish.seeds} seeds, ${broken.length} failed, ${rate} a second, ${(simulatedMs / 3_600_000).toFixed(2)} h simulated`;
  };
  const isTerminal = process.stderr.isTTY === true;
  const timer = setInterval(
    () => process.stderr.write(isTerminal ? `\r${progress()} ` : `${progress()}\n`),
    isTerminal ? PROGRESS_MS : PROGRESS_LINES_MS,
  );
  try {
    await runSeeds({
      from: wish.from,
      count: wish.seeds,
      threads: availableParallelism(),
      bug: wish.bug,
      roll: wish.roll,
      stopAtFirst: false,
      signal,
      onOutcome: (outcome) => {
        done++;
        simulatedMs += outcome.simulatedMs;
        if (outcome.violations.length > 0) {
          broken.push(outcome);
          if (broken.length <= SHOWN_MAX) console.log(`${isTerminal ? '\r' : ''}${explain(outcome, wish, commit)}`);
        }
        return false;
      },
    });
  } finally {
    clearInterval(timer);
    if (isTerminal) process.stderr.write('\r');
  }
  console.log(progress());
  if (broken.length > 0)
    console.log(
      `failed: ${broken
        .map(({ seed }) => seed)
        .sort((a, b) => a - b)
        .join(' ')}`,
    );
  return broken.length === 0;
}

async function main(): Promise<number> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => stop.abort(new CodedError('unavailable', `Interrupted by ${signal}.`)));
  try {
    const argv = process.argv.slice(2);
    if (argv.includes('--help') || argv.includes('-h')) {
      console.log(USAGE);
      return 0;
    }
    const wish = wishOf(argv);
    const commit = await commitOf(stop.signal);
    const isGood =
      wish.seed === null
        ? await playMany(wish, commit, stop.signal)
        : wish.story === null
          ? await playOne(wish, { seed: wish.seed, commit, signal: stop.signal })
          : await playStory(wish, { seed: wish.seed, story: wish.story }, commit);
    return isGood ? 0 : 1;
  } catch (error) {
    console.error(messageOf(error));
    if (stop.signal.aborted) return 130;
    return error instanceof CodedError && error.code === 'bad-input' ? 2 : 1;
  }
}

process.exitCode = await main();
