/**
 * One QEMU with a serial console and QMP, for this folder's tests. Ends with `end`, at the latest with the test's
 * process.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { present } from '../../base/assert.ts';
import { sleep } from '../../base/sleep.ts';
import { systemClock } from '../../os/clock.ts';

const BOOT_ARGS = [
  '-M',
  'q35,accel=tcg',
  '-cpu',
  'max,-tsc,-erms',
  '-nodefaults',
  '-no-user-config',
  '-display',
  'none',
];
const QMP_TRIES_MAX = 100;
let sockets = 0;

export interface GuestOptions {
  readonly directory: string;
  readonly args: readonly string[];
  readonly memoryMb?: number;
  /** Instead of memoryMb. */
  readonly memoryKib?: number;
}

export class Guest {
  serial = '';
  readonly exited: Promise<unknown>;
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly qmpPath: string;
  private readonly onExit: () => void;

  constructor(options: GuestOptions) {
    sockets += 1;
    this.qmpPath = join(options.directory, `qmp-${sockets}`);
    const io = ['-serial', 'stdio', '-qmp', `unix:${this.qmpPath},server=on,wait=off`];
    this.child = spawn('qemu-system-x86_64', [
      ...BOOT_ARGS,
      '-m',
      `size=${options.memoryKib ?? (options.memoryMb ?? 128) * 1024}K`,
      ...io,
      ...options.args,
    ]);
    this.onExit = () => this.child.kill('SIGKILL');
    process.on('exit', this.onExit);
    // Not 'exit': its last output may still be in the pipe then.
    this.exited = once(this.child, 'close');
    this.child.stdout.setEncoding('latin1').on('data', (text: string) => {
      this.serial += text;
      this.child.emit('text');
    });
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.serial += `[qemu] ${text}`;
      this.child.emit('text');
    });
    this.child.once('exit', () => this.child.emit('text'));
  }

  /** Waits until the console's text from `from` on matches. */
  async waitFor(pattern: RegExp, { deadlineMs = 60_000, from = 0 } = {}): Promise<RegExpExecArray> {
    const signal = AbortSignal.timeout(deadlineMs);
    for (;;) {
      const match = pattern.exec(this.serial.slice(from));
      if (match !== null) return match;
      const tail = () => new Error(`no ${pattern} on the console:\n${this.serial.slice(-2000)}`);
      if (this.child.exitCode !== null || this.child.signalCode !== null) throw tail();
      await once(this.child, 'text', { signal }).catch(() => {
        throw tail();
      });
    }
  }

  /** Types a line into the console's shell and answers what follows, up to a match. */
  async ask(line: string, pattern: RegExp): Promise<RegExpExecArray> {
    const from = this.serial.length;
    this.child.stdin.write(`${line}\n`);
    return this.waitFor(pattern, { from });
  }

  /** Sends one QMP command over a connection of its own; returns its `return`, throws on `error`. */
  async qmp(execute: string, args: object = {}): Promise<unknown> {
    const socket = await this.connectQmp();
    try {
      socket.write('{"execute":"qmp_capabilities"}\n');
      socket.write(`${JSON.stringify({ execute, arguments: args, id: 'x' })}\n`);
      let text = '';
      for await (const chunk of socket.setEncoding('utf8')) {
        text += chunk;
        const line = text.split('\n').find((candidate) => candidate.includes('"id": "x"') && candidate.endsWith('\r'));
        if (line === undefined) continue;
        const answer: { return?: unknown; error?: unknown } = JSON.parse(line);
        if (answer.error !== undefined) throw new Error(`${execute}: ${JSON.stringify(answer.error)}`);
        return answer.return;
      }
      throw new Error(`${execute}: the connection ended`);
    } finally {
      socket.destroy();
    }
  }

  private async connectQmp(): Promise<Socket> {
    let cause: unknown;
    for (let tries = 0; tries < QMP_TRIES_MAX; tries += 1) {
      const socket = connect(this.qmpPath);
      try {
        await once(socket, 'connect');
        return socket;
      } catch (error) {
        cause = error;
        await sleep(systemClock, 50);
      }
    }
    throw new Error('QMP does not answer', { cause });
  }

  async end(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
    process.off('exit', this.onExit);
  }
}

/** A guest that is ended with the test's scope (`await using`). */
export function scoped(options: GuestOptions): Guest & AsyncDisposable {
  const guest = new Guest(options);
  return Object.assign(guest, { [Symbol.asyncDispose]: () => guest.end() });
}

/** First capture of a match, which the pattern always has. */
export function captured(match: RegExpExecArray): string {
  return present(match[1], 'a capture');
}
