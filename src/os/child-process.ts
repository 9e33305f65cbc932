/**
 * Programs run from here. Guarantees: never a shell; a program that was `run` ends at its deadline together with every
 * process of its group, and when this process exits; a daemon outlives us and is named by pid and start time.
 */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, constants as fsConstants, openSync } from 'node:fs';
import { constants } from 'node:os';
import { addAbortSignal, PassThrough, type Readable } from 'node:stream';
import { CodedError } from '../base/errors.ts';
import { deadlineError, onDeadline } from './deadline.ts';
import { type ProcessIdentity, processIdentity } from './process-table.ts';

export interface RunOptions {
  /** The program and its process group are killed after this many milliseconds. */
  readonly deadlineMs: number;
  /** Kills the program early; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Written to standard input, which is then closed; without it standard input is empty. */
  readonly input?: string | Uint8Array | undefined;
  readonly cwd?: string | undefined;
  /** The whole environment; this process's own by default. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** The program is killed when stdout or stderr gets longer. 16 MiB by default. */
  readonly outputBytesMax?: number | undefined;
  /** If the output is longer than `outputBytesMax`, its end is kept, and the program continues. */
  readonly keepsEndOnly?: true;
}

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  /** The exit status; 128 + signal number when a signal ended it, as in shells. */
  readonly exitCode: number;
}

const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;
const STDERR_LINES_IN_ERROR = 5;
/** A killed program that does not end (blocked in the kernel) is reported after this long nevertheless. */
const KILL_PATIENCE_MS = 1000;

/** Process groups that must not outlive this process. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) killGroup(child);
});

/**
 * Runs a program to its end. Throws CodedError 'failed' when it exits with another status than 0 (naming program,
 * status and the last lines of stderr), 'not-installed', 'deadline', 'too-large'; or the signal's reason.
 */
export async function run(argv: readonly string[], options: RunOptions): Promise<RunResult> {
  const result = await tryRun(argv, options);
  if (result.exitCode !== 0) throw exitError(argv, result);
  return result;
}

/** Like `run`, but a failing exit status is a result, not an error. */
export function tryRun(argv: readonly string[], options: RunOptions): Promise<RunResult> {
  const { deadlineMs, signal } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason);
      return;
    }
    const [program, ...args] = argv;
    if (program === undefined) throw new TypeError('an empty argv');
    // A session of its own: the group can be killed as a whole, and Ctrl-C at our terminal is ours to pass on.
    const child = spawn(program, args, {
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
      cwd: options.cwd,
      env: options.env,
    });
    running.add(child);
    const end = (finish: () => void): void => {
      running.delete(child);
      cancelTimer();
      signal?.removeEventListener('abort', onAbort);
      finish();
    };
    const kill = (reason: unknown): void => endAfterKill(child, () => end(() => reject(reason)));
    const onAbort = (): void => kill(signal?.reason);
    const cancelTimer = onDeadline(deadlineMs, (lateByMs) => kill(deadlineError(program, deadlineMs, lateByMs)));
    signal?.addEventListener('abort', onAbort, { once: true });
    const bytesMax = options.outputBytesMax ?? OUTPUT_BYTES_MAX;
    const tooLong = (): void =>
      kill(new CodedError('too-large', `${program} printed more than ${bytesMax} bytes and was ended.`));
    const collected = options.keepsEndOnly === true ? collectEnd : collect;
    const stdout = collected(child.stdout, bytesMax, tooLong);
    const stderr = collected(child.stderr, bytesMax, tooLong);
    child.once('error', (error) => end(() => reject(spawnError(program, error))));
    child.once('close', (code, signalName) =>
      end(() => resolve({ stdout: stdout(), stderr: stderr(), exitCode: exitCodeOf(code, signalName) })),
    );
    // A program may leave input unread: its exit status says whether that is an error.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input);
  });
}

/**
 * Streams `input` through a program. A reader that stops ends the program; the stream fails with CodedError 'failed'
 * and the program's last output if the program exits with a status other than 0, with 'not-installed', or with the
 * signal's reason.
 */
export function filter(argv: readonly string[], input: Readable, signal: AbortSignal): Readable {
  const [program, ...args] = argv;
  if (program === undefined) throw new TypeError('an empty argv');
  const child = spawn(program, args, { detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
  running.add(child);
  const output = addAbortSignal(signal, new PassThrough());
  const stderr = collect(child.stderr, OUTPUT_BYTES_MAX, () => killGroup(child));
  child.once('error', (error) => output.destroy(spawnError(program, error)));
  child.once('close', (code, signalName) => {
    running.delete(child);
    const exitCode = exitCodeOf(code, signalName);
    if (exitCode === 0) output.end();
    else output.destroy(exitError(argv, { stdout: '', stderr: stderr(), exitCode }));
  });
  output.once('close', () => {
    killGroup(child);
    input.destroy();
  });
  // An error of the input fails the output; a program that stops reading reports why by its exit status.
  input.once('error', (error) => output.destroy(error));
  child.stdin.on('error', () => undefined);
  input.pipe(child.stdin);
  child.stdout.pipe(output, { end: false });
  return output;
}

/** Returns the words before a command line that run it as another user; none if that user is ours. */
export function asUser(uid: number): readonly string[] {
  if (uid === process.geteuid?.()) return [];
  return ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--no-new-privs', '--'];
}

export interface DaemonOptions {
  /** Appended to, created with mode 0600; output is discarded without it. */
  readonly stdoutFile?: string | undefined;
  readonly stderrFile?: string | undefined;
  /** The whole environment: a daemon inherits nothing by accident. */
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
}

export interface Daemon extends ProcessIdentity {
  /** Settles when the daemon ends while this process lives: to notice one that fails at its start. Never rejects. */
  readonly exited: Promise<number>;
}

/**
 * Starts a process in a session of its own that outlives us; nothing waits for it. Resolves when the program has been
 * executed, whether or not it is ready. Throws CodedError 'not-installed' or 'failed'.
 */
export function spawnDaemon(argv: readonly string[], options: DaemonOptions): Promise<Daemon> {
  const [program, ...args] = argv;
  if (program === undefined) throw new TypeError('an empty argv');
  const out = options.stdoutFile === undefined ? undefined : openLog(options.stdoutFile);
  const err = options.stderrFile === undefined ? undefined : openLog(options.stderrFile);
  const spawnOptions: SpawnOptions = {
    detached: true,
    stdio: ['ignore', out ?? 'ignore', err ?? 'ignore'],
    env: options.env,
    cwd: options.cwd,
  };
  try {
    const child = spawn(program, args, spawnOptions);
    // Read before the event loop turns: until then even a daemon that failed at once is an unreaped zombie of ours.
    const identity = child.pid === undefined ? undefined : processIdentity(child.pid);
    const exited = new Promise<number>((resolve) => {
      child.once('exit', (code, signalName) => resolve(exitCodeOf(code, signalName)));
    });
    child.unref();
    return new Promise((resolve, reject) => {
      child.once('error', (error) => reject(spawnError(program, error)));
      child.once('spawn', () => {
        if (identity === undefined) reject(new CodedError('failed', `${program} is gone before it could be observed.`));
        else resolve({ ...identity, exited });
      });
    });
  } finally {
    if (out !== undefined) closeSync(out);
    if (err !== undefined) closeSync(err);
  }
}

/** A daemon of another user owns the directory of its log as a rule: a link there is not followed. */
function openLog(path: string): number {
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = fsConstants;
  return openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
}

function collect(stream: NodeJS.ReadableStream, bytesMax: number, tooLong: () => void): () => string {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  stream.on('data', (chunk: Uint8Array) => {
    sizeBytes += chunk.length;
    if (sizeBytes <= bytesMax) chunks.push(chunk);
    else tooLong();
  });
  return () => Buffer.concat(chunks).toString('utf8');
}

/** Keeps the last `bytesMax` bytes, and at most twice as many until they are read. */
function collectEnd(stream: NodeJS.ReadableStream, bytesMax: number): () => string {
  let chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  const end = (): Buffer => Buffer.concat(chunks).subarray(-bytesMax);
  stream.on('data', (chunk: Uint8Array) => {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes <= 2 * bytesMax) return;
    chunks = [Buffer.from(end())];
    sizeBytes = bytesMax;
  });
  return () => end().toString('utf8');
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    // The group's number cannot be given to another process while a member lives.
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // The group is empty, as wanted.
  }
}

function endAfterKill(child: ChildProcess, done: () => void): void {
  killGroup(child);
  // A grandchild that left the group may keep the pipes open: they are not waited for.
  child.stdout?.destroy();
  child.stderr?.destroy();
  child.stdin?.destroy();
  child.removeAllListeners('close');
  if (child.exitCode !== null || child.signalCode !== null) {
    done();
    return;
  }
  const timer = setTimeout(done, KILL_PATIENCE_MS);
  child.once('exit', () => {
    clearTimeout(timer);
    done();
  });
}

function exitCodeOf(code: number | null, signalName: NodeJS.Signals | null): number {
  if (code !== null) return code;
  return 128 + (signalName === null ? 0 : constants.signals[signalName]);
}

function spawnError(program: string, error: Error): CodedError {
  const missing = 'code' in error && error.code === 'ENOENT';
  if (!missing) return new CodedError('failed', `${program} could not be started: ${error.message}`, { cause: error });
  return new CodedError('not-installed', `${program} was not found on this machine.`, {
    cause: error,
    advice: 'Install the package that holds it, or check that its working directory exists.',
  });
}

function exitError(argv: readonly string[], { stderr, exitCode }: RunResult): CodedError {
  const said = stderr.trim().split('\n').slice(-STDERR_LINES_IN_ERROR).join('\n');
  return new CodedError('failed', `${argv[0]} failed with exit status ${exitCode}${said === '' ? '.' : `: ${said}`}`);
}
