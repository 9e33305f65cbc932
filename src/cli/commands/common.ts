/** What the commands share: running an action with a session, and options that several of them have. */
import { type Command, Option } from 'commander';
import type { Task } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { isName } from '../../base/ids.ts';
import type { Io } from '../io.ts';
import { Session } from '../session.ts';
import { demandSuccess, waitForTask } from '../task-wait.ts';
import { parseDuration } from '../units.ts';

const DEFAULT_TIMEOUT_MS = 120_000;

/** Options of commands that wait for a task. */
export interface WaitOptions {
  /** False with --no-wait. */
  readonly wait: boolean;
  /** Milliseconds. */
  readonly timeout: number;
}

/** Adds --no-wait and --timeout. */
export function withWaiting(command: Command): Command {
  return command.option('--no-wait', 'return as soon as the operation has begun').addOption(timeoutOption());
}

/** --timeout of everything that waits for a task. */
export function timeoutOption(): Option {
  return new Option('--timeout <duration>', 'stop waiting after this long; the operation continues')
    .argParser(parseDuration)
    .default(DEFAULT_TIMEOUT_MS, '2m');
}

/** An action with a session that is closed at its end. Arguments and options come as commander gives them. */
export function action<Args extends unknown[]>(
  io: Io,
  work: (session: Session, ...args: Args) => Promise<void>,
): (...args: unknown[]) => Promise<void> {
  return async (...all) => {
    const command = all.pop() as Command;
    const session = new Session(io, command);
    try {
      await work(session, ...(all as Args));
      await session.learn();
    } finally {
      await session.close();
    }
  };
}

/** Waits for a task's success if that is wanted; returns true if it waited. */
export async function settle(session: Session, task: Task, options: WaitOptions): Promise<boolean> {
  if (!options.wait) {
    if (!(await session.printedAsData(task))) session.io.out(`${task.id}\n`);
    return false;
  }
  demandSuccess(await waitForTask(session, task, options.timeout));
  return true;
}

/** A name as an argument, before it becomes part of a path. Throws `bad-input`. */
export function nameArgument(text: string): string {
  if (isName(text)) return text;
  throw new CodedError('bad-input', `${JSON.stringify(text.slice(0, 60))} is not a valid name.`, {
    advice: 'Use 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit.',
  });
}

/** Collects the values of an option that may be repeated. */
export function collect<T>(
  parse: (text: string) => T,
): (text: string, before: readonly T[] | undefined) => readonly T[] {
  return (text, before) => [...(before ?? []), parse(text)];
}

/** `key=value`. Throws `bad-input`. */
export function parsePair(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new CodedError('bad-input', `${JSON.stringify(text.slice(0, 60))} is not of the form KEY=VALUE.`, {
    advice: 'Nothing was changed.',
  });
}

/** Overriding quiet hours takes a signature: owner and reason. */
export interface QuietOptions {
  readonly overrideQuiet?: true;
  readonly owner?: string;
  readonly reason?: string;
}

/** The person who signs for moves in quiet hours; undefined: nobody. CodedError 'bad-input' for half a signature. */
export function quietOverrideOf({
  overrideQuiet,
  owner,
  reason,
}: QuietOptions): { owner: string; reason: string } | undefined {
  if (overrideQuiet === undefined) {
    if (owner === undefined) return undefined;
    throw new CodedError('bad-input', '--owner is for --override-quiet.');
  }
  if (owner !== undefined && reason !== undefined) return { owner, reason };
  throw new CodedError('bad-input', '--override-quiet needs --owner and --reason: who answers for it, and why.');
}
