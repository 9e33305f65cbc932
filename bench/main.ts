/**
 * `npm run bench -- NAME [options]`: runs one benchmark and prints its result as JSON; progress goes to standard error.
 * Guarantees: whatever the outcome, Ctrl-C included, what the benchmark started is ended before this process ends.
 */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CodedError, messageOf } from '../src/base/errors.ts';
import type { Bench, BenchContext } from './lib/bench.ts';
import { machineFacts } from './lib/facts.ts';

const BENCHES: Readonly<Record<string, { readonly about: string; readonly load: () => Promise<Bench> }>> = {
  failover: {
    about: 'host lost -> QEMU launched elsewhere; --runs 20 --vms 1',
    load: async () => (await import('./failover.ts')).failover,
  },
  migrate: {
    about: 'live migration against the same by hand over QMP; --pairs 40 --memory-mib 128 --append TEXT',
    load: async () => (await import('./migrate.ts')).migrate,
  },
  drain: {
    about: 'a host is drained, against migrations by hand one after the other; --runs 5 --vms 8 --memory-mib 128',
    load: async () => (await import('./drain.ts')).drain,
  },
  create: {
    about: 'gp vm create -> QMP answers; --runs 10',
    load: async () => (await import('./create.ts')).create,
  },
  footprint: {
    about: 'idle memory and CPU of every part; --idle-seconds 60 --vms 6',
    load: async () => (await import('./footprint.ts')).footprint,
  },
  steady: {
    about: 'false lost verdicts on a saturated machine; --minutes 30 --vms 6 --load 4',
    load: async () => (await import('./steady.ts')).steady,
  },
  target: {
    about: 'the iSCSI target beside tgt on the same file; --pairs 5',
    load: async () => (await import('./target.ts')).target,
  },
  audit: {
    about: 'gp audit over 1,000 hosts and 20,000 VMs of RVTools, and 100,000 rows of CSV; --runs 3',
    load: async () => (await import('./audit.ts')).auditBench,
  },
  plan: {
    about: 'maintenance plans for 1,000 hosts and 20,000 VMs, and small ones beside HiGHS; --runs 1 --pairs 300',
    load: async () => (await import('./plan.ts')).planBench,
  },
  turns: {
    about: 'the longest piece of planning, explaining and checking at 1,000 hosts and 20,000 VMs; --runs 6',
    load: async () => (await import('./turns.ts')).turnsBench,
  },
  evacuability: {
    about: 'whether each of 1,000 hosts can be drained and lost, kept through 10,000 changes; --runs 10000 --pairs 50',
    load: async () => (await import('./evacuability.ts')).evacuabilityBench,
  },
  web: {
    about: 'the web interface in Chromium over a simulated cluster; --hosts 300 --vms 6000 --minutes 1',
    load: async () => (await import('./web.ts')).webBench,
  },
  scale: {
    about: 'cost of a leader at 1,000 hosts and 20,000 VMs, and when a rack is lost (simulated); --runs 3',
    load: async () => (await import('./scale.ts')).scale,
  },
};

const RESULTS = join(import.meta.dirname, 'results');
const END_MS = 30_000;
const OPTIONS = {
  runs: { type: 'string' },
  pairs: { type: 'string' },
  hosts: { type: 'string' },
  vms: { type: 'string' },
  minutes: { type: 'string' },
  load: { type: 'string' },
  append: { type: 'string' },
  'memory-mib': { type: 'string' },
  'idle-seconds': { type: 'string' },
  save: { type: 'boolean' },
} as const;

const stop = new AbortController();
const kill = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => (stop.signal.aborted ? kill : stop).abort(new CodedError('unavailable', 'Interrupted.')));
}
process.exitCode = await main(process.argv.slice(2));
// A wait of a benchmark that was interrupted may still hold the event loop: everything it owned has ended.
process.exit();

async function main(argv: readonly string[]): Promise<number> {
  const [name = '', ...rest] = argv;
  const chosen = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
  if (chosen === undefined) {
    const lines = Object.entries(BENCHES).map(([bench, { about }]) => `  ${bench.padEnd(10)} ${about}`);
    say(
      ['usage: npm run bench -- NAME [options] [--save]   (--save: into bench/results/NAME.json)', ...lines].join('\n'),
    );
    return 2;
  }
  const ends: (() => Promise<void> | void)[] = [];
  try {
    const context = contextOf(rest, ends);
    const bench = await chosen.load();
    const machine = await machineFacts();
    const interrupted = new Promise<never>((_, reject) => {
      stop.signal.addEventListener('abort', () => reject(stop.signal.reason), { once: true });
    });
    const result = await Promise.race([bench(context.context), interrupted]);
    const facts = { bench: name, command: `npm run bench -- ${argv.join(' ')}`, date: new Date().toISOString() };
    const text = `${JSON.stringify({ ...facts, machine, ...result }, null, 2)}\n`;
    if (context.save) await writeFile(join(RESULTS, `${resultName(name, context.context)}.json`), text);
    process.stdout.write(text);
    return 0;
  } catch (error) {
    say(
      stop.signal.aborted
        ? 'interrupted; ending what was started'
        : error instanceof CodedError
          ? messageOf(error)
          : String(error instanceof Error ? error.stack : error),
    );
    if (stop.signal.aborted) return 130;
    return error instanceof CodedError && error.code === 'bad-input' ? 2 : 1;
  } finally {
    for (const end of ends.reverse()) await endInTime(end);
  }
}

/** A failover of many VMs has a result file of its own. */
function resultName(name: string, context: BenchContext): string {
  const vms = context.text('vms');
  return name === 'failover' && vms !== undefined && vms !== '1' ? `failover-${vms}-vms` : name;
}

function contextOf(
  argv: readonly string[],
  ends: (() => Promise<void> | void)[],
): { context: BenchContext; save: boolean } {
  const { values } = optionsOf(argv);
  const text = (name: string): string | undefined => {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    return typeof value === 'string' ? value : undefined;
  };
  const context: BenchContext = {
    signal: stop.signal,
    killSignal: kill.signal,
    text,
    number: (name, otherwise) => {
      const value = Number(text(name) ?? otherwise);
      if (!Number.isInteger(value) || value < 0) throw new CodedError('bad-input', `--${name} is a whole number.`);
      return value;
    },
    say,
    atEnd: (end) => void ends.push(end),
  };
  return { context, save: values['save'] === true };
}

/** The options as written; CodedError 'bad-input' if one is unknown. */
function optionsOf(argv: readonly string[]): { values: Readonly<Record<string, string | boolean | undefined>> } {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, strict: true });
  } catch (error) {
    throw new CodedError('bad-input', messageOf(error));
  }
}

async function endInTime(end: () => Promise<void> | void): Promise<void> {
  const late = new Promise<void>((resolve) => setTimeout(resolve, END_MS).unref());
  await Promise.race([Promise.resolve(end()).catch((error: unknown) => say(`ending: ${messageOf(error)}`)), late]);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
