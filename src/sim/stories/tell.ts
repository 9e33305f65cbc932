/**
 * Tells a story of scenarios/ on a simulated cluster, in simulated time. Guarantees: the same seed tells it in the same way, to the last
 * line of the log; the first step that does not come true ends it with its line, what was seen last, and when each step before was
 * taken; so does any rule of core/check that the cluster broke meanwhile.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, messageOf } from '../../base/errors.ts';
import type { EventRecord } from '../../core/model/cluster.ts';
import { WORKFLOWS } from '../../core/plan/steps.ts';
import { findVm, GpCommands } from './gp-commands.ts';
import { Observer, type Seen, type Waiting } from './observe.ts';
import { StoryCluster, type StoryClusterOptions } from './story-cluster.ts';
import { type GpOutcome, parseStory, type Statement, substitute } from './story-language.ts';

const SCENARIOS = join(import.meta.dirname, '../../../scenarios');
const POLL_MS = [30, 150] as const;
const STEPS_SHOWN = 40;
const LINES_SHOWN = 30;

/** What a story recorded, and what its golden log says it should have. */
export interface Told {
  readonly recorded: string;
  readonly golden: string;
  readonly simulatedMs: number;
}

type Step = Exclude<Statement, { kind: 'repeat' | 'for' }>;

/** The stories that there are, in the order of their names. */
export async function listStories(): Promise<readonly string[]> {
  const entries = await readdir(SCENARIOS, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

/** Tells the story of that name. Throws an Error at the step that does not come true; CodedError 'not-found' where there is no such story. */
export async function tellStory(name: string, options: StoryClusterOptions): Promise<Told> {
  const known = await listStories();
  if (!known.includes(name))
    throw new CodedError('not-found', `There is no story ${JSON.stringify(name)}.`, {
      advice: `There are: ${known.join(', ')}.`,
    });
  const read = (file: string): Promise<string> => readFile(join(SCENARIOS, name, file), 'utf8');
  const golden = await read('golden.log');
  return { ...(await tell(await read('story.txt'), options)), golden };
}

/** Tells the story of that text. Throws as `tellStory` does, and an Error for a text that is no story. */
export async function tell(text: string, options: StoryClusterOptions): Promise<Omit<Told, 'golden'>> {
  const { shape, statements } = parseStory(text);
  const cluster = await StoryCluster.start(shape, options);
  const teller = new Teller(cluster);
  await teller.take(statements);
  return { recorded: teller.recorded(), simulatedMs: cluster.nowMs };
}

class Teller {
  readonly #cluster: StoryCluster;
  readonly #gp: GpCommands;
  readonly #observer: Observer;
  readonly #values = new Map<string, string>();
  readonly #taken: string[] = [];
  readonly #lines: string[] = [];
  readonly #hosts = new Map<string, string>();
  /** Events up to this revision are of the cluster's start. */
  readonly #since: number;

  constructor(cluster: StoryCluster) {
    this.#cluster = cluster;
    this.#gp = new GpCommands(cluster);
    this.#observer = new Observer(cluster);
    this.#since = this.#gp.server().store.revision;
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

  async #takeOne(step: Step): Promise<void> {
    const { nowMs: startedMs } = this.#cluster;
    const note = (): string => {
      const took = (this.#cluster.nowMs - startedMs) / 1_000;
      const at = (startedMs / 1_000).toFixed(1).padStart(7);
      return `${at} s ${took.toFixed(1).padStart(5)} s  ${step.line}: ${this.#filled(step.text)}`;
    };
    this.#cluster.sim.say(() => `== ${step.line}: ${this.#filled(step.text)}`);
    try {
      await this.#carryOut(step);
      this.#taken.push(note());
    } catch (error) {
      const steps = [...this.#taken.slice(-STEPS_SHOWN), `${note()}   <- here`].join('\n');
      const log = this.#cluster.lastLines(LINES_SHOWN).join('\n');
      throw new Error(`Line ${step.line}: ${this.#filled(step.text)}\n${messageOf(error)}\n\n${steps}\n\n${log}`, {
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

  async #carryOut(step: Step): Promise<void> {
    const fill = (words: readonly string[]): string[] => words.map((word) => substitute(word, this.#values));
    switch (step.kind) {
      case 'gp':
        return this.#command(fill(step.words), step.outcome);
      case 'let':
        this.#values.set(step.name, this.#observer.fact(fill(step.fact)));
        return;
      case 'expect':
        return this.#expect(fill(step.words), step.withinMs);
      case 'fell-leader': {
        const { by, workflow } = step;
        const [wanted = ''] = fill([step.step]);
        if (!stepsOf(workflow).includes(wanted)) throw new Error(`${workflow} has no step ${wanted}.`);
        this.#cluster.faults.arm({ control: this.#observer.fact(['leader']), by, workflow, step: wanted });
        return;
      }
      case 'check-disk':
        return this.#checkDisk(step.vm);
      case 'record':
        this.#record(step.of);
    }
  }

  async #command(words: readonly string[], outcome: GpOutcome): Promise<void> {
    const { isDone, said } = await this.#gp.run(words);
    if (outcome === 'any' || (outcome === 'done') === isDone) return;
    throw new Error(isDone ? 'The command was carried out.' : `The command failed: ${said}`);
  }

  async #expect(words: readonly string[], withinMs: number): Promise<void> {
    const { random, nowMs: since } = this.#cluster;
    const waiting: Waiting = { since: new Map() };
    let seen: Seen;
    do {
      seen = this.#observer.look(words, waiting);
      if (seen.met) return;
      await this.#cluster.pass(random.between(...POLL_MS));
    } while (this.#cluster.nowMs - since < withinMs);
    throw new Error(`Not so within ${withinMs} ms. Seen last: ${seen.what}`);
  }

  /** Stops the VM, because a disk in use is no evidence. */
  async #checkDisk(name: string): Promise<void> {
    await this.#command(['vm', 'stop', name, '--hard'], 'done');
    const { id } = findVm(this.#gp.server(), name).value;
    for (const { id: disk, node } of this.#gp.server().store.disksOf(id)) {
      const content = this.#cluster.sim.storage.get(node)?.pool.contentOf(disk) ?? new Set<number>();
      const wrong = this.#cluster.guests.wrongWith(id, disk, content);
      if (wrong.length > 0) throw new Error(`The disk of ${name} is not as acknowledged:\n${wrong.join('\n')}`);
      this.#taken.push(`${' '.repeat(19)}disk of ${name}: ${content.size} lines`);
    }
  }

  #record(of: string): void {
    const events = [...this.#gp.server().store.events.entries]
      .map(([, entry]) => entry)
      .filter(({ revision }) => revision > this.#since)
      .sort((a, b) => a.revision - b.revision)
      .map(({ value }) => value);
    for (const event of events) {
      const isChosen = of === 'hosts' ? event.vm === null && event.host !== null : event.vmName === of;
      if (isChosen) this.#lines.push(this.#normalised(event));
    }
  }

  /** Hosts are A, B, C in the order in which they come up: where a VM begins is the placement's affair. */
  #normalised({ kind, vmName, host, generation }: EventRecord): string {
    const where = host === null ? '-' : this.#letter(host);
    return [vmName ?? '-', kind, where, generation === null ? '-' : `g${generation}`].join('  ');
  }

  #letter(host: string): string {
    const letter = this.#hosts.get(host) ?? String.fromCharCode(65 + this.#hosts.size);
    this.#hosts.set(host, letter);
    return letter;
  }
}

function stepsOf(workflow: string): readonly string[] {
  const table: Readonly<Record<string, readonly { readonly step: string }[]>> = WORKFLOWS;
  const steps = Object.hasOwn(table, workflow) ? table[workflow] : undefined;
  if (steps === undefined) throw new Error(`There is no workflow ${workflow}.`);
  return steps.map(({ step }) => step);
}
