/**
 * One run of a command: its global options, its output in the form that was asked for, its connection to the cluster.
 */

import type { Command } from 'commander';
import { printable, printableLines } from '../base/printable.ts';
import type { ApiClient, Target } from '../client/client.ts';
import { type Context, findContext } from './cluster-location.ts';
import type { Reached } from './followed-context.ts';
import { type Colours, coloursFor, type Io } from './io.ts';
import { jsonShown, shown } from './shown.ts';
import { formatTable } from './table.ts';

export const OUTPUTS = ['table', 'wide', 'json', 'yaml', 'name'] as const;
export type Output = (typeof OUTPUTS)[number];

/** Options that every command takes. */
export interface GlobalOptions {
  readonly dir?: string;
  readonly output: Output;
}

/** How objects of one kind look as a table and by name. */
export interface Presentation<T> {
  readonly header: readonly string[];
  row(object: T, colours: Colours): readonly string[];
  /** Columns that `-o wide` adds. */
  readonly wide?: { readonly header: readonly string[]; row(object: T): readonly string[] };
  name(object: T): string;
}

/** See the module's comment. `close` ends the connection. */
export class Session {
  readonly io: Io;
  readonly colours: Colours;
  readonly options: GlobalOptions;
  #context: Context | undefined;
  #reached: Promise<Reached> | undefined;

  constructor(io: Io, command: Command) {
    this.io = io;
    this.options = command.optsWithGlobals<GlobalOptions>();
    this.colours = coloursFor(io);
  }

  /** Whether a person reads the output, as a table. */
  get isForPeople(): boolean {
    return this.options.output === 'table' || this.options.output === 'wide';
  }

  /** The client, made at the first use: commands that need none stay quick. */
  async client(): Promise<ApiClient> {
    return (await this.#reach()).client;
  }

  async target(): Promise<Target> {
    return (await this.#reach()).target;
  }

  #reach(): Promise<Reached> {
    this.#reached ??= (async () => {
      this.#context = await findContext(this.io, this.options.dir);
      const { reach } = await import('./followed-context.ts');
      return reach(this.#context, this.io.signal);
    })();
    return this.#reached;
  }

  /** Lets the context learn from the cluster, once the command has succeeded. Never rejects. */
  async learn(): Promise<void> {
    const reached = await this.#reached?.catch(() => undefined);
    if (reached === undefined || this.#context === undefined) return;
    const { learn } = await import('./followed-context.ts');
    await learn(this.#context, reached, Date.now());
  }

  async close(): Promise<void> {
    await (await this.#reached?.catch(() => undefined))?.client.close();
  }

  /** Prints a list of resources. */
  async printList<T>(objects: readonly T[], as: Presentation<T>): Promise<void> {
    if (await this.printedAsData(objects)) return;
    if (this.options.output === 'name')
      this.io.out(objects.map((object) => `${printable(as.name(object))}\n`).join(''));
    else this.io.out(this.#table(objects.map(shown), as));
  }

  #table<T>(objects: readonly T[], as: Presentation<T>): string {
    const wide = this.options.output === 'wide' ? as.wide : undefined;
    const rows = objects.map((object) => [...as.row(object, this.colours), ...(wide?.row(object) ?? [])]);
    return formatTable([...as.header, ...(wide?.header ?? [])], rows);
  }

  /** Prints one resource; `text` for people. */
  async printOne<T>(object: T, as: Pick<Presentation<T>, 'name'>, text: (object: T) => string): Promise<void> {
    if (await this.printedAsData(object)) return;
    this.io.out(this.options.output === 'name' ? `${printable(as.name(object))}\n` : text(shown(object)));
  }

  /** A sentence for people who look at a table; silence for scripts. */
  say(text: string): void {
    if (this.isForPeople) this.io.out(`${printableLines(text)}\n`);
  }

  /** Prints the value where JSON or YAML was asked for. */
  async printedAsData(value: unknown): Promise<boolean> {
    if (this.options.output === 'json') this.io.out(`${jsonShown(value, 2)}\n`);
    else if (this.options.output === 'yaml') {
      const { stringify } = await import('yaml');
      const text = stringify(value, { aliasDuplicateObjects: false });
      this.io.out(this.io.outIsTty ? printableLines(text) : text);
    } else return false;
    return true;
  }
}

type Present<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Removes the properties that are undefined: they are not sent. */
export function present<T extends object>(object: T): Present<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Present<T>;
}
