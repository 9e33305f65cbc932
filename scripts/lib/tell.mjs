/** The shared parts of bootstrap: where the clone is, how it prints, how it stops, how it runs a program. */
import { spawn } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The clone's root directory. */
export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** One progress line, on standard error: standard output belongs to the command. */
export function say(text) {
  process.stderr.write(`groundplane: ${text}\n`);
}

/** An expected reason to stop, with the exit code for scripts. */
export class Stop extends Error {
  constructor(exitCode, message) {
    super(message);
    this.exitCode = exitCode;
  }
}

const INTERRUPTIONS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Runs a program that may be ended at any time, as `runProgram` does. A signal ends it, and this process once it is
 * gone: npm undoes an interrupted installation, and must not do so while the next run works. Throws Stop(130 or 143)
 * then.
 */
export async function runInterruptible(program, args, options) {
  const cancelled = new AbortController();
  let exitCode;
  const interrupt = (signal) => {
    exitCode = signal === 'SIGINT' ? 130 : 143;
    cancelled.abort();
  };
  for (const signal of INTERRUPTIONS) process.on(signal, interrupt);
  try {
    const result = await runProgram(program, args, { ...options, signal: cancelled.signal });
    if (exitCode !== undefined) throw new Stop(exitCode, 'Interrupted while installing. Run this again.');
    return result;
  } finally {
    for (const signal of INTERRUPTIONS) process.off(signal, interrupt);
  }
}

/**
 * Runs a program to its end. Resolves with {exitCode, output}; exitCode is undefined if it could not start or was ended
 * at `deadlineMs`. With `onLine`, each line of both streams is passed on as it comes. After the deadline, or when
 * `signal` fires, the program gets SIGTERM, and SIGKILL 10 s later.
 */
export function runProgram(program, args, { env = process.env, deadlineMs, onLine = () => {}, signal = undefined }) {
  return new Promise((done) => {
    const child = spawn(program, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let killTimer;
    const end = () => {
      child.kill('SIGTERM');
      killTimer ??= setTimeout(() => child.kill('SIGKILL'), 10_000);
    };
    const timer = setTimeout(end, deadlineMs);
    signal?.addEventListener('abort', end, { once: true });
    const finish = (exitCode) => {
      clearTimeout(timer);
      clearTimeout(killTimer);
      done({ exitCode, output });
    };
    for (const stream of [child.stdout, child.stderr]) {
      let rest = '';
      stream.setEncoding('utf8').on('data', (text) => {
        output = (output + text).slice(-200_000);
        const lines = (rest + text).split('\n');
        rest = lines.pop();
        for (const line of lines) onLine(line);
      });
    }
    child.on('error', (error) => {
      output += error.message;
      finish(undefined);
    });
    child.on('close', (code) => finish(code ?? undefined));
  });
}
