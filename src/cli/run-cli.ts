/**
 * One run of the command, from its arguments to its exit code. Guarantees: one readable message on failure, never a
 * stack.
 */
import { CommanderError } from 'commander';
import { CodedError } from '../base/errors.ts';
import { EXIT, exitCodeOf, explain, Interrupted } from './exit-codes.ts';
import type { Io } from './io.ts';
import { buildProgram } from './program.ts';

/** `args`: without node and the script. Resolves to the exit code; throws nothing. */
export async function runCli(args: readonly string[], io: Io, version: string): Promise<number> {
  const first = firstWord(args);
  const isCompletion = first === 'completion' || first === 'complete';
  try {
    const faults = first === 'lab' || isCompletion ? (await import('../lab/faults.ts')).FAULTS : null;
    const program = buildProgram({ io, version, faults, withCompletion: !isCompletion });
    if (isCompletion) {
      const { default: addCompletion } = await import('@bomb.sh/tab/commander');
      addCompletion(program, { completionCommandName: 'completion' });
    }
    await program.parseAsync(args, { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    // Commander has printed its own message.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.badInput;
    const told =
      io.signal.aborted && !(error instanceof CodedError && error.code === 'failed') ? interrupted(error) : error;
    io.err(explain(told, (io.env['GP_DEBUG'] ?? '') !== ''));
    return exitCodeOf(told);
  }
}

function interrupted(error: unknown): Interrupted {
  return error instanceof Interrupted
    ? error
    : new Interrupted('Interrupted. Operations that have begun may continue: `gp task list` shows them.');
}

/** The noun or verb, past the global options. */
function firstWord(args: readonly string[]): string | undefined {
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at] ?? '';
    if (arg === '--dir' || arg === '-o' || arg === '--output') at += 1;
    else if (!arg.startsWith('-')) return arg;
  }
  return undefined;
}
