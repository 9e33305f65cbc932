/**
 * A command of a roll, run where `gp` runs: by the shell, with the host's name in place of `{host}` and in GP_HOST, and
 * its address on the control network in place of `{address}`.
 * Guarantees: only a valid host name is put into a command; the command ends at its deadline with every process of its
 * group; only its status and the last part of its output are reported.
 */
import { messageOf } from '../../base/errors.ts';
import { sleep } from '../../base/sleep.ts';
import { tryRun } from '../../os/child-process.ts';
import { systemClock } from '../../os/clock.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import { fillIn } from './machine-command.ts';

export interface CommandRun {
  readonly command: string;
  readonly host: string;
  /** On the control network; null: not known. */
  readonly address: string | null;
  readonly roll: string;
  readonly deadlineMs: number;
  /** Tried again until the deadline as long as it fails. */
  readonly isRepeated: boolean;
  /** Ends the command early. */
  readonly signal: AbortSignal;
  readonly env: Readonly<NodeJS.ProcessEnv>;
  readonly cwd: string;
}

export interface CommandResult {
  readonly succeeded: boolean;
  /** Status, time, and the end of the output. */
  readonly message: string;
}

const AGAIN_MS = 5_000;
const TAIL_CHARS = 1_500;
/** The output that is kept, more than its reported end: a command is not ended because it writes much. */
const OUTPUT_BYTES = 64 * 1024;

/** Runs it, again and again where it is repeated. Rejects with the signal's reason, and CodedError 'bad-input'. */
export async function runCommand(asked: CommandRun): Promise<CommandResult> {
  fillIn(asked.command, asked);
  const { deadlineMs, isRepeated, signal } = asked;
  const endsAtMs = monotonicMs() + deadlineMs;
  for (let attempts = 1; ; attempts++) {
    const leftMs = endsAtMs - monotonicMs();
    const result = await once(asked, Math.max(1, leftMs));
    const isLast = !isRepeated || result.succeeded || endsAtMs - monotonicMs() <= AGAIN_MS;
    if (isLast) return attempts === 1 ? result : { ...result, message: `${result.message}\n(attempt ${attempts})` };
    await sleep(systemClock, AGAIN_MS, { signal });
    signal.throwIfAborted();
  }
}

async function once(asked: CommandRun, deadlineMs: number): Promise<CommandResult> {
  const { command, host, roll, signal, env, cwd } = asked;
  const startedMs = monotonicMs();
  try {
    const ran = await tryRun(['/bin/sh', '-c', fillIn(command, asked)], {
      ...{ deadlineMs, signal, cwd, outputBytesMax: OUTPUT_BYTES, keepsEndOnly: true },
      env: { ...env, GP_HOST: host, GP_ROLL: roll },
    });
    const seconds = ((monotonicMs() - startedMs) / 1_000).toFixed(1);
    const output = `${ran.stdout}${ran.stderr}`.trimEnd().slice(-TAIL_CHARS);
    const message = `Exit status ${ran.exitCode} after ${seconds} s.${output === '' ? '' : `\n${output}`}`;
    return { succeeded: ran.exitCode === 0, message };
  } catch (error) {
    signal.throwIfAborted();
    return { succeeded: false, message: messageOf(error).slice(-TAIL_CHARS) };
  }
}
