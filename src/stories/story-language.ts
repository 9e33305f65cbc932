/**
 * The language of the stories under scenarios/: one step per line, seen from outside of a cluster, so that any world
 * that has a `gp` command and can be observed can play them. Pure: text in, statements out. The whole language is in
 * scenarios/README.md.
 * Guarantees: a story that parses has a deadline on everything that it waits for.
 */
import { own } from '../base/own.ts';

/** How many machines of each kind the story needs. */
export interface StoryShape {
  readonly hosts: number;
  readonly controlNodes: number;
  readonly storageNodes: number;
}

interface At {
  /** From 1. */
  readonly line: number;
  readonly text: string;
}

/**
 * How a command must end. `any`: its end proves nothing, because the server that was asked may have died with the
 * answer.
 */
export type GpOutcome = 'done' | 'refused' | 'any';

/** One step. `$NAME` in words is replaced when the step is taken. */
export type Statement =
  | (At & { readonly kind: 'gp'; readonly words: readonly string[]; readonly outcome: GpOutcome })
  | (At & { readonly kind: 'let'; readonly name: string; readonly fact: readonly string[] })
  | (At & { readonly kind: 'expect'; readonly words: readonly string[]; readonly withinMs: number })
  | (At & {
      readonly kind: 'fell-leader';
      readonly by: 'crash' | 'freeze';
      readonly workflow: string;
      readonly step: string;
    })
  | (At & { readonly kind: 'check-disk'; readonly vm: string })
  | (At & { readonly kind: 'record'; readonly of: string })
  | (At & { readonly kind: 'repeat'; readonly times: number; readonly body: readonly Statement[] })
  | (At & {
      readonly kind: 'for';
      readonly name: string;
      readonly workflow: string;
      readonly body: readonly Statement[];
    });

export interface Story {
  readonly shape: StoryShape;
  readonly statements: readonly Statement[];
}

const DURATION = /^([0-9]{1,4})(ms|s)$/;
const NAME = /^[A-Z][A-Z0-9_]*$/;
const REPEAT_MAX = 1_000;

/** Parses a story's text. Throws an Error that names the line and what is wrong with it. */
export function parseStory(text: string): Story {
  const lines = text
    .split('\n')
    .map((line, index) => ({ line: index + 1, text: line.trim() }))
    .filter((at) => at.text !== '' && !at.text.startsWith('#'));
  const [first, ...rest] = lines;
  if (first === undefined) throw new Error('The story is empty.');
  const reader = new Reader(rest);
  const statements = reader.block(null);
  return { shape: shapeOf(first), statements };
}

/** Splits a line into words as a shell would: single and double quotes group, `#` after a blank begins a comment. */
export function wordsOf(text: string): string[] {
  const words: string[] = [];
  let current: string | null = null;
  let quote = '';
  for (const char of text) {
    if (quote !== '') {
      if (char === quote) quote = '';
      else current = (current ?? '') + char;
    } else if (char === '"' || char === "'") {
      quote = char;
      current ??= '';
    } else if (char === '#' && current === null) break;
    else if (/\s/.test(char)) {
      if (current !== null) words.push(current);
      current = null;
    } else current = (current ?? '') + char;
  }
  if (quote !== '') throw new Error(`A quote (${quote}) is not closed.`);
  if (current !== null) words.push(current);
  return words;
}

class Reader {
  readonly #lines: readonly At[];
  #next = 0;

  constructor(lines: readonly At[]) {
    this.#lines = lines;
  }

  /** Statements up to the end of the story, or of the block that `opened` began. */
  block(opened: At | null): Statement[] {
    const statements: Statement[] = [];
    for (;;) {
      const at = this.#lines[this.#next];
      if (at === undefined) {
        if (opened !== null) throw wrong(opened, 'it has no `end`');
        return statements;
      }
      this.#next += 1;
      if (at.text === 'end') {
        if (opened === null) throw wrong(at, 'nothing is open here');
        return statements;
      }
      statements.push(this.#statement(at));
    }
  }

  #statement(at: At): Statement {
    const words = wordsIn(at);
    const [verb = '', ...rest] = words;
    switch (verb) {
      case 'gp':
        return { ...at, kind: 'gp', words: rest, outcome: 'done' };
      case 'refused:':
      case 'try:':
        if (rest[0] !== 'gp') throw wrong(at, 'what is refused or tried is a gp command');
        return { ...at, kind: 'gp', words: rest.slice(1), outcome: verb === 'try:' ? 'any' : 'refused' };
      case 'let':
        return letStatement(at, rest);
      case 'expect':
        return expectStatement(at, rest);
      case 'crash':
      case 'freeze':
        return fellStatement(at, verb, rest);
      case 'check':
        return checkStatement(at, rest);
      case 'record':
        if (rest.length !== 3 || rest[0] !== 'events' || rest[1] !== 'of')
          throw wrong(at, 'record events of VM, or: record events of hosts');
        return { ...at, kind: 'record', of: rest[2] ?? '' };
      case 'repeat':
        return this.#repeat(at, rest);
      case 'for':
        return this.#for(at, rest);
      default:
        throw wrong(at, `there is no verb ${JSON.stringify(verb)}`);
    }
  }

  #repeat(at: At, [times = '', ...more]: readonly string[]): Statement {
    const count = Number(times);
    if (more.length > 0 || !Number.isInteger(count) || count < 1 || count > REPEAT_MAX)
      throw wrong(at, `repeat N, up to ${REPEAT_MAX}`);
    return { ...at, kind: 'repeat', times: count, body: this.block(at) };
  }

  #for(at: At, [name = '', steps, of, workflow = '', ...more]: readonly string[]): Statement {
    if (!NAME.test(name) || steps !== 'in' || of !== 'steps-of' || workflow === '' || more.length > 0)
      throw wrong(at, 'for NAME in steps-of WORKFLOW');
    return { ...at, kind: 'for', name, workflow, body: this.block(at) };
  }
}

function letStatement(at: At, [name = '', equals, ...fact]: readonly string[]): Statement {
  if (!NAME.test(name) || equals !== '=' || fact.length === 0) throw wrong(at, 'let NAME = FACT');
  return { ...at, kind: 'let', name, fact };
}

function expectStatement(at: At, words: readonly string[]): Statement {
  if (words.at(-1) === 'now') return { ...at, kind: 'expect', words: words.slice(0, -1), withinMs: 0 };
  const [, amount, unit] = DURATION.exec(words.at(-1) ?? '') ?? [];
  if (words.at(-2) !== 'within' || amount === undefined) throw wrong(at, 'it ends with `within 10s` or `now`');
  return { ...at, kind: 'expect', words: words.slice(0, -2), withinMs: Number(amount) * (unit === 's' ? 1_000 : 1) };
}

function fellStatement(at: At, by: 'crash' | 'freeze', words: readonly string[]): Statement {
  const [leader, before, workflow = '', step = '', ...more] = words;
  if (leader !== 'leader' || before !== 'before' || step === '' || more.length > 0)
    throw wrong(at, `${by} leader before WORKFLOW STEP`);
  return { ...at, kind: 'fell-leader', by, workflow, step };
}

function checkStatement(at: At, words: readonly string[]): Statement {
  const [disk, vm = '', ...more] = words;
  if (disk !== 'disk' || vm === '' || more.length > 0) throw wrong(at, 'check disk VM');
  return { ...at, kind: 'check-disk', vm };
}

function shapeOf(at: At): StoryShape {
  const [verb, ...pairs] = wordsIn(at);
  const known: Record<string, number> = { hosts: 3, 'control-nodes': 1, 'storage-nodes': 1 };
  if (verb !== 'cluster') throw wrong(at, 'a story begins with `cluster hosts=3 control-nodes=1 storage-nodes=1`');
  for (const pair of pairs) {
    const [key = '', value = ''] = pair.split('=');
    if (!Object.hasOwn(known, key) || !/^[1-9][0-9]?$/.test(value)) throw wrong(at, `${pair} is no part of a shape`);
    known[key] = Number(value);
  }
  // As in `gp up`; the tests on real machines find stories by it.
  if (![1, 3].includes(known['control-nodes'] ?? 1)) throw wrong(at, 'control-nodes is 1 or 3');
  return {
    hosts: known['hosts'] ?? 3,
    controlNodes: known['control-nodes'] ?? 1,
    storageNodes: known['storage-nodes'] ?? 1,
  };
}

function wordsIn(at: At): string[] {
  try {
    return wordsOf(at.text);
  } catch (error) {
    throw wrong(at, error instanceof Error ? error.message : String(error));
  }
}

function wrong({ line, text }: At, what: string): Error {
  return new Error(`Line ${line}: ${text}\n  ${what}`);
}

/**
 * Whether `object` meets `condition`: KEY=VALUE, KEY!=VALUE, KEY>=NUMBER or KEY~PART, where KEY may be a path such as
 * `observations.qmp.status`.
 */
export function meets(object: unknown, condition: string): boolean {
  const [, path = '', operator = '', wanted = ''] = /^([A-Za-z0-9.]+)(!=|>=|=|~)(.*)$/.exec(condition) ?? [];
  if (path === '') throw new Error(`${condition} is no condition: KEY=VALUE, KEY!=VALUE, KEY>=NUMBER or KEY~PART.`);
  const found = path.split('.').reduce<unknown>((at, key) => fieldOf(at, key), object);
  if (found === undefined) throw new Error(`There is no ${path} in what was observed.`);
  const text = typeof found === 'string' ? found : JSON.stringify(found);
  if (operator === '=') return text === wanted;
  if (operator === '!=') return text !== wanted;
  if (operator === '>=') return Number(text) >= Number(wanted);
  return text.includes(wanted);
}

function fieldOf(object: unknown, key: string): unknown {
  if (typeof object !== 'object' || object === null) return undefined;
  return own(object as Readonly<Record<string, unknown>>, key);
}

/** Replaces `$NAME`, and `$NAME+1` by a sum. Throws an Error for a name that was never given a value. */
export function substitute(word: string, values: ReadonlyMap<string, string>): string {
  return word.replace(/\$([A-Z][A-Z0-9_]*)(?:\+([0-9]+))?/g, (_, name: string, plus: string | undefined) => {
    const value = values.get(name);
    if (value === undefined) throw new Error(`$${name} was never given a value.`);
    return plus === undefined ? value : String(Number(value) + Number(plus));
  });
}
