/**
 * Takes the steps of a story one after the other, on a simulated cluster or on real machines. Guarantees: the first
 * step that does not come true ends the story with its line, the last observation, and the times of the steps before
 * it.
 */
import { messageOf } from '../base/errors.ts';
import { WORKFLOWS } from '../core/plan/vm/steps.ts';
import { type GpOutcome, type Statement, substitute } from './story-language.ts';

/** An observation of a story: whether the condition holds, and a description for people. */
export interface Seen {
  readonly met: boolean;
  readonly what: string;
}

/** The state of one `expect`, from its beginning to its end. */
export interface Waiting {
  /** The highest sequence number when the waiting began, by VM. */
  readonly since: Map<string, number>;
}

/** An event of the cluster, as far as stories record it. */
export interface StoryEvent {
  readonly kind: string;
  /** Names. */
  readonly vm: string | null;
  readonly host: string | null;
  readonly generation: number | null;
}

/** The fault of the leader, and the step of the workflow before which it happens. */
export interface LeaderFall {
  readonly by: 'crash' | 'freeze';
  readonly workflow: string;
  readonly step: string;
}

/** The place where a story is played. Each Error of it ends the story. */
export interface StoryStage {
  /** Ms since the stage stood. */
  nowMs(): number;
  /** Lets a moment pass before the next look. */
  pass(): Promise<void>;
  gp(words: readonly string[]): Promise<{ readonly isDone: boolean; readonly said: string }>;
  fact(words: readonly string[]): string | Promise<string>;
  look(words: readonly string[], waiting: Waiting): Seen | Promise<Seen>;
  fellLeader(fall: LeaderFall): void | Promise<void>;
  /** Holds the disks of a stopped VM against what its guest acknowledged; the answer is what was found. */
  checkDisks(vm: string): string | Promise<string>;
  /** Events since the story began, in order. */
  events(): readonly StoryEvent[] | Promise<readonly StoryEvent[]>;
  /** A step is about to be taken, or was. */
  onStep?(line: string): void;
  onTaken?(note: string): void;
  /** Further text that helps to understand a failure. */
  lastWords?(): string;
}

type Step = Exclude<Statement, { kind: 'repeat' | 'for' }>;

const STEPS_SHOWN = 40;

/** One telling of one story. */
export class StoryTeller {
  readonly #stage: StoryStage;
  readonly #values = new Map<string, string>();
  readonly #taken: string[] = [];
  readonly #lines: string[] = [];
  readonly #hosts = new Map<string, string>();

  constructor(stage: StoryStage) {
    this.#stage = stage;
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

  /** The events of `record` steps, one per line. */
  recorded(): string {
    return this.#lines.map((line) => `${line}\n`).join('');
  }

  async #takeOne(step: Step): Promise<void> {
    const startedMs = this.#stage.nowMs();
    const said = `${step.line}: ${this.#filled(step.text)}`;
    const note = (): string => {
      const tookMs = this.#stage.nowMs() - startedMs;
      return `${inSeconds(startedMs, 7)} s ${inSeconds(tookMs, 5)} s  ${said}`;
    };
    this.#stage.onStep?.(said);
    try {
      await this.#carryOut(step);
      const taken = note();
      this.#taken.push(taken);
      this.#stage.onTaken?.(taken);
    } catch (error) {
      const steps = [...this.#taken.slice(-STEPS_SHOWN), `${note()}   <- here`].join('\n');
      const words = this.#stage.lastWords?.() ?? '';
      throw new Error(`Line ${said}\n${messageOf(error)}\n\n${steps}${words === '' ? '' : `\n\n${words}`}`, {
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
        return this.#gp(fill(step.words), step.outcome);
      case 'let':
        this.#values.set(step.name, await this.#stage.fact(fill(step.fact)));
        return;
      case 'expect':
        return this.#expect(fill(step.words), step.withinMs);
      case 'fell-leader': {
        const { by, workflow } = step;
        const wanted = substitute(step.step, this.#values);
        if (!stepsOf(workflow).includes(wanted)) throw new Error(`${workflow} has no step ${wanted}.`);
        return this.#stage.fellLeader({ by, workflow, step: wanted });
      }
      case 'check-disk':
        return this.#checkDisk(step.vm);
      case 'record':
        return this.#record(step.of);
    }
  }

  async #gp(words: readonly string[], outcome: GpOutcome): Promise<void> {
    const { isDone, said } = await this.#stage.gp(words);
    if (outcome === 'any' || (outcome === 'done') === isDone) return;
    throw new Error(isDone ? 'The command was carried out.' : `The command failed: ${said}`);
  }

  async #expect(words: readonly string[], withinMs: number): Promise<void> {
    const deadlineMs = this.#stage.nowMs() + withinMs;
    const waiting: Waiting = { since: new Map() };
    let seen: Seen;
    do {
      seen = await this.#stage.look(words, waiting);
      if (seen.met) return;
      await this.#stage.pass();
    } while (this.#stage.nowMs() < deadlineMs);
    throw new Error(`Not so within ${withinMs} ms. Seen last: ${seen.what}`);
  }

  /** Stops the VM, because a disk in use is no evidence. */
  async #checkDisk(vm: string): Promise<void> {
    await this.#gp(['vm', 'stop', vm, '--hard'], 'done');
    this.#taken.push(`${' '.repeat(19)}disk of ${vm}: ${await this.#stage.checkDisks(vm)}`);
  }

  async #record(of: string): Promise<void> {
    const isChosen = ({ vm, host }: StoryEvent): boolean => (of === 'hosts' ? vm === null && host !== null : vm === of);
    for (const event of await this.#stage.events()) if (isChosen(event)) this.#lines.push(this.#normalised(event));
  }

  /** Hosts are A, B, C in the order in which they come up: where a VM begins is the placement's affair. */
  #normalised({ kind, vm, host, generation }: StoryEvent): string {
    const where = host === null ? '-' : this.#letter(host);
    return [vm ?? '-', kind, where, generation === null ? '-' : `g${generation}`].join('  ');
  }

  #letter(host: string): string {
    const letter = this.#hosts.get(host) ?? String.fromCharCode(65 + this.#hosts.size);
    this.#hosts.set(host, letter);
    return letter;
  }
}

function inSeconds(ms: number, width: number): string {
  return (ms / 1_000).toFixed(1).padStart(width);
}

function stepsOf(workflow: string): readonly string[] {
  const table: Readonly<Record<string, readonly { readonly step: string }[]>> = WORKFLOWS;
  const steps = Object.hasOwn(table, workflow) ? table[workflow] : undefined;
  if (steps === undefined) throw new Error(`There is no workflow ${workflow}.`);
  return steps.map(({ step }) => step);
}
