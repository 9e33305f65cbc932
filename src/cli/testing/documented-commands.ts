/**
 * The commands that documents show, held against the command's own grammar. Guarantees: nothing of a command is carried
 * out; what a shell would take for itself (quotes, pipes, comments) is taken from the line first.
 */
import { type Command, CommanderError } from 'commander';
import { CodedError } from '../../base/errors.ts';
import { FAULTS } from '../../lab/faults.ts';
import { buildProgram } from '../program.ts';
import { fakeIo } from './run-gp.ts';

/** A command as a document shows it. */
export interface Shown {
  /** The line of the document, from 1. */
  readonly line: number;
  readonly text: string;
}

const BLOCK_LINE = /^ {4,}(?:npx )?gp (?!\()/;
const INLINE = /`(?:npx )?gp ([^`]+)`/g;
/** Words for which a reader puts something of their own. */
const PLACEHOLDERS: ReadonlyMap<string, string> = new Map([
  ['DATE', '2026-12-31'],
  ['FILE', 'file'],
  ['SIZE', '1G'],
  ['TIME', '5m'],
]);

/** Returns the commands of indented and fenced blocks: whole, as they are typed. */
export function blockCommands(markdown: string): readonly Shown[] {
  const lines = markdown.split('\n');
  const found: Shown[] = [];
  let isFenced = false;
  for (let at = 0; at < lines.length; at++) {
    const first = lines[at] ?? '';
    if (first.trimStart().startsWith('```')) isFenced = !isFenced;
    if (!BLOCK_LINE.test(isFenced ? `    ${first}` : first)) continue;
    let text = first.trim();
    const line = at + 1;
    while (text.endsWith('\\')) text = `${text.slice(0, -1)} ${(lines[++at] ?? '').trim()}`;
    found.push({ line, text: text.replace(/^(npx )?gp /, '') });
  }
  return found;
}

/** Returns the commands named in running text: often without their arguments. */
export function inlineCommands(text: string): readonly Shown[] {
  return [...text.matchAll(INLINE)].map(({ 1: words = '', index }) => ({
    line: text.slice(0, index).split('\n').length,
    text: words.replaceAll(/\s+/g, ' ').replace(/\\$/, ''),
  }));
}

/** Returns the words of a line as a shell gives them to the program; a comment, a pipe or three spaces end them. */
export function wordsOf(text: string): readonly string[] {
  const words: string[] = [];
  let word: string | null = null;
  const end = (): void => {
    if (word !== null) words.push(word);
    word = null;
  };
  for (let at = 0; at < text.length; at++) {
    const letter = text[at] ?? '';
    if (letter === "'" || letter === '"') {
      const close = text.indexOf(letter, at + 1);
      word = `${word ?? ''}${text.slice(at + 1, close)}`;
      at = close === -1 ? text.length : close;
    } else if (letter === ' ') {
      end();
      if (text.startsWith('   ', at)) break;
    } else if (/[|;>&]/.test(letter) || (letter === '#' && word === null)) break;
    else word = (word ?? '') + letter;
  }
  end();
  return words;
}

/** Returns the nouns and verbs that a command begins with. */
export function pathOf(text: string): readonly string[] {
  const path: string[] = [];
  let command = inert();
  for (const word of wordsOf(text)) {
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined) break;
    path.push(word);
    command = next;
  }
  return path;
}

/** Says what is wrong with a whole command; null if the grammar takes it. */
export async function faultOf(text: string): Promise<string | null> {
  const words = wordsOf(text).map((word) => PLACEHOLDERS.get(word) ?? (/^[A-Z]{2,}$/.test(word) ? 'x1' : word));
  try {
    await inert().parseAsync([...words], { from: 'user' });
    return null;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return null;
    if (error instanceof CommanderError || error instanceof CodedError) return error.message;
    throw error;
  }
}

/** Says what is wrong with a command that may lack arguments: its nouns, verbs and options exist. */
export function inlineFaultOf(text: string): string | null {
  for (const one of alternatives(wordsOfInline(text))) {
    let command = inert();
    const options: string[] = [];
    let isPath = true;
    for (const word of one) {
      const option = /^\[?(--?[a-z][a-z-]*)/.exec(word)?.[1];
      const next = isPath ? command.commands.find((each) => each.name() === word) : undefined;
      if (option !== undefined) options.push(option);
      else if (next !== undefined) command = next;
      else if (isPath && command.commands.length > 0 && /^[a-z][a-z-]*$/.test(word))
        return `${command.name()} has no ${word}`;
      else isPath = false;
    }
    for (const option of options) if (!knows(command, option)) return `${command.name()} has no option ${option}`;
  }
  return null;
}

/** Returns the names of verbs of each noun, and of the commands without verbs, as the grammar has them. */
export function grammar(): ReadonlyMap<string, readonly string[]> {
  const { commands } = inert();
  return new Map(commands.map((noun) => [noun.name(), noun.commands.map((verb) => verb.name())]));
}

/** The program with every action taken away. */
function inert(): Command {
  const { io } = fakeIo();
  const program = buildProgram({ io, version: '1.2.3', faults: FAULTS, withCompletion: true });
  const quiet = (command: Command): void => {
    command.configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
    // Commander keeps a command's action to itself: one with verbs may have one too (gp cluster backup FILE).
    const { _actionHandler: acts } = command as unknown as { readonly _actionHandler?: unknown };
    if (typeof acts === 'function') command.action(() => undefined);
    for (const each of command.commands) quiet(each);
  };
  quiet(program);
  return program;
}

/** Quotes and pipes mean nothing here: `bash|zsh` are alternatives. */
function wordsOfInline(text: string): readonly string[] {
  return (
    text
      .replaceAll(/'[^']*'/g, 'TEXT')
      .split(/ (?:>|--) /)[0]
      ?.split(' ')
      .filter((word) => word !== '') ?? []
  );
}

/** `create|set VM` means `create VM` and `set VM`. */
function alternatives(words: readonly string[]): readonly (readonly string[])[] {
  const at = words.findIndex((word) => /^[a-z-]+(\|[a-z-]+)+$/.test(word));
  if (at === -1) return [words];
  return (words[at] ?? '').split('|').map((one) => words.toSpliced(at, 1, one));
}

function knows(command: Command, option: string): boolean {
  if (['--help', '-h'].includes(option)) return true;
  for (let at: Command | null = command; at !== null; at = at.parent)
    if (at.options.some(({ long, short }) => long === option || short === option)) return true;
  return command.commands.some((each) => each.options.some(({ long }) => long === option));
}
