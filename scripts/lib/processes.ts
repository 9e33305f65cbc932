/**
 * Runs the programs that the checks consist of. Guarantees: each child has a deadline and leads a process group of its
 * own; the whole group is gone when the promise settles, whether the child ended, was too slow or was cancelled.
 */
import { spawn } from 'node:child_process';

/** How a child ended, with the last part of its output. */
export type Ended = {
  /** undefined if a signal or the deadline ended it. */
  readonly exitCode: number | undefined;
  readonly output: string;
  readonly why: 'ended' | 'deadline' | 'cancelled';
};

/**
 * What to run and how long it may take. `onLine` sees standard output line by line, and then keeps it out of `output`.
 */
export type ProcessOptions = {
  readonly argv: readonly [string, ...string[]];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** True where the line is dealt with and need not be kept. */
  readonly onLine?: (line: string) => boolean;
};

const GRACE_MS = 10_000;
const OUTPUT_CHARS_MAX = 200_000;

/** Runs one child to its end; rejects only if it cannot be started. */
export function runProcess(options: ProcessOptions): Promise<Ended> {
  const [program, ...args] = options.argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: options.env ?? process.env,
      cwd: options.cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let why: Ended['why'] = 'ended';
    let output = '';
    let killTimer: NodeJS.Timeout | undefined;
    const stop = (reason: 'deadline' | 'cancelled'): void => {
      why = reason;
      signalGroup(child.pid, 'SIGTERM');
      killTimer ??= setTimeout(() => signalGroup(child.pid, 'SIGKILL'), GRACE_MS);
    };
    const onAbort = (): void => stop('cancelled');
    const timer = setTimeout(() => stop('deadline'), options.deadlineMs);
    const release = (): void => {
      clearTimeout(timer);
      clearTimeout(killTimer);
      options.signal.removeEventListener('abort', onAbort);
    };
    const keep = (line: string): void => {
      output = `${output}${line}\n`.slice(-OUTPUT_CHARS_MAX);
    };
    eachLine(child.stdout, (line) => {
      if (options.onLine?.(line) !== true) keep(line);
    });
    eachLine(child.stderr, keep);
    if (options.signal.aborted) onAbort();
    else options.signal.addEventListener('abort', onAbort, { once: true });
    child.on('error', (error) => {
      release();
      reject(error);
    });
    // A grandchild that holds the pipes would prevent 'close'.
    child.on('exit', () => signalGroup(child.pid, 'SIGKILL'));
    child.on('close', (code) => {
      release();
      resolve({ exitCode: why === 'ended' ? (code ?? undefined) : undefined, output: output.trim(), why });
    });
  });
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is gone already, as intended.
  }
}

function eachLine(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  });
  stream.on('end', () => {
    if (rest !== '') onLine(rest);
  });
}
