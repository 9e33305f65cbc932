/**
 * Tells a story: takes its steps one after the other on a cluster. Guarantees: the first step that does not come true ends the story
 * with its line, what was seen last, and when each step before was taken.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Event } from '../../src/api/views.ts';
import { WORKFLOWS } from '../../src/core/plan/steps.ts';
import { labLayout } from '../../src/lab/layout.ts';
import { pause } from '../../src/os/deadline.ts';
import {
  type GpOutcome,
  parseStory,
  type Statement,
  type Story,
  substitute,
} from '../../src/sim/stories/story-language.ts';
import { checkDisk } from './disk-check.ts';
import { Observer, type Seen, type Waiting } from './observe.ts';
import type { StoryCluster } from './story-cluster.ts';

const SCENARIOS = join(import.meta.dirname, '../../scenarios');
const POLL_MS = 150;
/** A look that takes longer than its deadline is one look all the same. */
const STOP_DEADLINE_MS = 60_000;
const STEPS_SHOWN = 40;

/** What a story recorded, and what its golden log says it should have. */
export interface Told {
  readonly recorded: string;
  readonly golden: string;
}

/** The story in a folder of scenarios/. */
export async function readStory(name: string): Promise<Story> {
  return parseStory(await readFile(join(SCENARIOS, name, 'story.txt'), 'utf8'));
}

/** Tells the story of that name. Throws an Error at the step that does not come true. GP_UPDATE_GOLDEN=1 rewrites its golden log. */
export async function tell(name: string, cluster: StoryCluster): Promise<Told> {
  const story = await readStory(name);
  const teller = new Teller(cluster, await cluster.newestEvent());
  await teller.take(story.statements);
  const file = join(SCENARIOS, name, 'golden.log');
  const recorded = teller.recorded();
  if (process.env['GP_UPDATE_GOLDEN'] === '1') await writeFile(file, recorded);
  return { recorded, golden: await readFile(file, 'utf8').catch(() => '') };
}

class Teller {
  readonly #cluster: StoryCluster;
  readonly #observer: Observer;
  readonly #values = new Map<string, string>();
  readonly #taken: string[] = [];
  readonly #lines: string[] = [];
  readonly #hosts = new Map<string, string>();
  readonly #startedMs = performance.now();
  readonly #since: bigint;

  constructor(cluster: StoryCluster, since: bigint) {
    this.#cluster = cluster;
    this.#observer = new Observer(cluster);
    this.#since = since;
  }

  async take(statements: readonly Statement[]): Promise<void> {
    for (const statement of statements) {
      if (statement.kind === 'repeat') {
        for (let time = 0; time < statement.times; time++) await this.take(statement.body);
      } else if (statement.kind === 'for') {
        for (const step of stepsOf(statement.workflow)) {
          this.#values.set(statement.name, step);
          await this.take(statement.body);
        }
      } else await this.#takeOne(statement);
    }
  }

  /** What `record` steps recorded, one event per line. */
  recorded(): string {
    return this.#lines.map((line) => `${line}\n`).join('');
  }

  async #takeOne(statement: Exclude<Statement, { kind: 'repeat' | 'for' }>): Promise<void> {
    const startedMs = performance.now();
    const note = (): string => {
      const at = (startedMs - this.#startedMs) / 1_000;
      const took = (performance.now() - startedMs) / 1_000;
      return `${at.toFixed(1).padStart(7)} s ${took.toFixed(1).padStart(5)} s  ${statement.line}: ${this.#filled(statement.text)}`;
    };
    try {
      await this.#carryOut(statement);
      this.#taken.push(note());
      if (process.env['GP_TELL'] === '1') console.error(this.#taken.at(-1));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const steps = [...this.#taken.slice(-STEPS_SHOWN), `${note()}   <- here`].join('\n');
      throw new Error(`Line ${statement.line}: ${this.#filled(statement.text)}\n${reason}\n\n${steps}`, {
        cause: error,
      });
    }
  }

  #filled(text: string): string {
    try {
      return substitute(text, this.#values);
    } catch {
      return text;
    }
  }

  #carryOut(statement: Exclude<Statement, { kind: 'repeat' | 'for' }>): Promise<void> {
    const fill = (words: readonly string[]): string[] => words.map((word) => substitute(word, this.#values));
    switch (statement.kind) {
      case 'gp':
        return this.#gp(fill(statement.words), statement.outcome);
      case 'let':
        return this.#let(statement.name, fill(statement.fact));
      case 'expect':
        return this.#expect(fill(statement.words), statement.withinMs);
      case 'fell-leader':
        return this.#fellLeader(statement.by, statement.workflow, substitute(statement.step, this.#values));
      case 'check-disk':
        return this.#checkDisk(statement.vm);
      case 'record':
        return this.#record(statement.of);
    }
  }

  async #gp(words: readonly string[], outcome: GpOutcome): Promise<void> {
    const { exitCode, stdout, stderr } = await this.#cluster.gp(words);
    if (outcome === 'any' || (outcome === 'done') === (exitCode === 0)) return;
    throw new Error(`gp ended with status ${exitCode}.\n${stdout}${stderr}`);
  }

  async #let(name: string, fact: readonly string[]): Promise<void> {
    this.#values.set(name, await this.#observer.fact(fact));
  }

  async #expect(words: readonly string[], withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    const waiting: Waiting = { since: new Map() };
    let seen: Seen;
    do {
      seen = await this.#observer.look(words, waiting);
      if (seen.met) return;
      await pause(POLL_MS);
    } while (performance.now() < deadline);
    throw new Error(`Not so within ${withinMs} ms. Seen last: ${seen.what}`);
  }

  async #fellLeader(by: 'crash' | 'freeze', workflow: string, step: string): Promise<void> {
    if (!stepsOf(workflow).includes(step)) throw new Error(`${workflow} has no step ${step}.`);
    const leader = await this.#observer.fact(['leader']);
    await writeFile(labLayout(this.#cluster.dir).machine(leader).failpointFile, `${by} ${workflow} ${step}\n`);
  }

  /** Stops the VM, because a disk in use is no evidence. */
  async #checkDisk(name: string): Promise<void> {
    const { client, serial, dir } = this.#cluster;
    const { exitCode, stderr } = await this.#cluster.gp(['vm', 'stop', name, '--hard'], {
      deadlineMs: STOP_DEADLINE_MS,
    });
    if (exitCode !== 0) throw new Error(`${name} could not be stopped: ${stderr}`);
    const vm = await client.call(client.http.GET('/v1/vms/{vm}', { params: { path: { vm: name } } }));
    serial.look();
    const logs = serial.of(vm.id).map(({ text }) => text);
    const report = await checkDisk(dir, vm, logs);
    if (!report.good) throw new Error(`The disk of ${name} is not as acknowledged:\n${shown(report)}`);
    this.#taken.push(
      `         disk of ${name}: ${report.lastSequence} lines, ${report.counts.acknowledged} acknowledged`,
    );
  }

  async #record(of: string): Promise<void> {
    const events = await this.#cluster.eventsAfter(this.#since);
    const chosen = events.filter((event) =>
      of === 'hosts' ? event.vm === null && event.host !== null : event.vm === of,
    );
    for (const event of chosen) this.#lines.push(this.#normalised(event));
  }

  /** Hosts are A, B, C in the order in which they come up: where a VM begins is the placement's affair. */
  #normalised({ kind, vm, host, generation }: Event): string {
    return [
      vm ?? '-',
      kind,
      host === null ? '-' : this.#letter(host),
      generation === null ? '-' : `g${generation}`,
    ].join('  ');
  }

  #letter(host: string): string {
    const letter = this.#hosts.get(host) ?? String.fromCharCode(65 + this.#hosts.size);
    this.#hosts.set(host, letter);
    return letter;
  }
}

function stepsOf(workflow: string): readonly string[] {
  if (!isWorkflow(workflow)) throw new Error(`There is no workflow ${workflow}.`);
  return WORKFLOWS[workflow].map(({ step }) => step);
}

function isWorkflow(name: string): name is keyof typeof WORKFLOWS {
  return Object.hasOwn(WORKFLOWS, name);
}

function shown(report: object): string {
  return JSON.stringify(report, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value), 2);
}
