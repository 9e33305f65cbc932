/**
 * Keeps the processes of the roles running on their machines, as an init system would: started again with growing
 * pauses when they end, their output kept in bounded logs. Guarantees: a process that a fault keeps dead stays dead
 * until it is released, and one that a fault froze stays frozen; a process that was stopped is never started again; a
 * process that hangs for longer than it may, before its first sign of life or after, is ended and started anew
 * (os/heartbeat.ts).
 */

import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { closeSync, copyFileSync, fchmodSync, openSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import { HEARTBEAT, HELD } from '../os/heartbeat.ts';
import { monotonicMs } from '../os/monotonic.ts';
import { isRunning, type ProcessIdentity, signalProcess, waitGone } from '../os/process-table.ts';
import type { LabLayout } from './layout.ts';
import { childOf, enterArgv, type Machine, machineEnv } from './machine.ts';

const BACKOFF_MS_MIN = 200;
const BACKOFF_MS_MAX = 5_000;
/** A process that ran this long was healthy: the next restart is immediate again. */
const HEALTHY_AFTER_MS = 10_000;
const LOG_BYTES_MAX = 8 * 1024 * 1024;
const LOG_CHECK_MS = 10_000;
const START_DEADLINE_MS = 5_000;
const KILL_DEADLINE_MS = 5_000;
/** How many beats a process sends, and how often they are checked, within the time that it may hang. */
const BEATS = 6;
/** File descriptor of the supervisor's pipe in the process, after its standard streams. */
const BEAT_FD = 3;

export interface ProcessSpec {
  /** The name of its log: etcd, control, storage, agent. */
  readonly role: string;
  readonly argv: readonly string[];
  /** Beside the machine's own environment. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** How long a process that beats may hang, in ms; undefined if it does not beat. */
  readonly watchdogMs?: number | undefined;
  /** How long a process that beats may take from its start to its first beat, in ms. FIRST_BEAT_MS by default. */
  readonly firstBeatMs?: number | undefined;
}

/** Far above the start of a process beside hundreds of others on a small machine. */
const FIRST_BEAT_MS = 300_000;

export type ProcessState = 'running' | 'starting' | 'frozen' | 'dead' | 'stopped';

/** One supervised process. All methods are idempotent. */
export class SupervisedProcess {
  readonly machine: Machine;
  readonly spec: ProcessSpec;
  readonly #layout: LabLayout;
  readonly #logFile: string;
  readonly #say: (line: string) => void;
  #wanted: 'running' | 'held' | 'stopped' = 'stopped';
  #frozen = false;
  #child: ChildProcess | undefined;
  #startedMs = 0;
  #backoffMs = BACKOFF_MS_MIN;
  #restart: NodeJS.Timeout | undefined;
  #logTimer: NodeJS.Timeout | undefined;
  #watchdog: NodeJS.Timeout | undefined;
  /** When the process last beat, or was started; null if it does not run, or is being ended. */
  #beatMs: number | null = null;
  #hasBeaten = false;
  /** The number of its starts. */
  starts = 0;

  constructor(options: { machine: Machine; spec: ProcessSpec; layout: LabLayout; say: (line: string) => void }) {
    this.machine = options.machine;
    this.spec = options.spec;
    this.#layout = options.layout;
    this.#say = options.say;
    this.#logFile = join(options.layout.machine(options.machine.spec.name).logDir, `${options.spec.role}.log`);
  }

  get state(): ProcessState {
    if (this.#wanted === 'held') return 'dead';
    if (this.#wanted === 'stopped') return 'stopped';
    if (this.#frozen) return 'frozen';
    return this.#child === undefined ? 'starting' : 'running';
  }

  /** Starts it and keeps it running from now on. Ends a hold. */
  start(): void {
    this.#wanted = 'running';
    this.#backoffMs = BACKOFF_MS_MIN;
    this.#logTimer ??= setInterval(() => this.#boundLog(), LOG_CHECK_MS).unref();
    this.#watch();
    this.#cancelRestart();
    if (this.#child === undefined) this.#spawn();
  }

  /** SIGKILL, at once. `hold`: stays dead until `start`; otherwise it is started again immediately. */
  async kill({ hold }: { readonly hold: boolean }): Promise<void> {
    if (this.#wanted === 'stopped') return;
    this.#wanted = hold ? 'held' : 'running';
    this.#cancelRestart();
    const process = await this.#process();
    if (process !== undefined) {
      signalProcess(process, 'SIGKILL');
      await waitGone(process, KILL_DEADLINE_MS);
    }
    this.#frozen = false;
    this.#thawParent();
    if (!hold && this.#child === undefined) this.start();
  }

  /** SIGSTOP: it holds its connections and answers nothing. */
  async freeze(): Promise<void> {
    const process = await this.#process();
    if (process === undefined || !signalProcess(process, 'SIGSTOP')) return;
    this.#frozen = true;
  }

  /** SIGCONT. */
  async thaw(): Promise<void> {
    const process = await this.#process();
    this.#frozen = false;
    // The process was paused on purpose: its time begins anew.
    if (this.#beatMs !== null) this.#beatMs = monotonicMs();
    if (process !== undefined) signalProcess(process, 'SIGCONT');
    this.#thawParent();
  }

  /** Asks it to end (SIGTERM), then kills it; it is not started again. */
  async stop(deadlineMs: number): Promise<void> {
    this.abandon();
    const process = this.#child === undefined ? undefined : await this.#process();
    if (process === undefined) return;
    if (this.#frozen) await this.thaw();
    signalProcess(process, 'SIGTERM');
    await waitGone(process, deadlineMs).catch(() => {
      this.#say(`${this.#name} did not end within ${deadlineMs} ms and was killed`);
      signalProcess(process, 'SIGKILL');
    });
  }

  /** Leaves it to its fate, because its machine is being killed: never restarted. */
  abandon(): void {
    this.#wanted = 'stopped';
    // A stopped parent would not reap a killed child, and the machine's init would wait for that child for ever.
    this.#thawParent();
    this.#cancelRestart();
    clearInterval(this.#logTimer);
    this.#logTimer = undefined;
    clearInterval(this.#watchdog);
    this.#watchdog = undefined;
  }

  get #name(): string {
    return `${this.spec.role} of ${this.machine.spec.name}`;
  }

  #spawn(): void {
    this.#restart = undefined;
    this.#boundLog();
    const log = openSync(this.#logFile, 'a', 0o600);
    try {
      fchmodSync(log, 0o600);
      const [program = '', ...args] = [...enterArgv(this.machine.init.pid), ...this.spec.argv];
      const { watchdogMs } = this.spec;
      const stdio: StdioOptions = ['ignore', log, log, ...(watchdogMs === undefined ? [] : (['pipe'] as const))];
      const beats = watchdogMs === undefined ? {} : { [HEARTBEAT]: `${BEAT_FD}:${Math.ceil(watchdogMs / BEATS)}` };
      const child = spawn(program, args, {
        stdio,
        env: { ...machineEnv(this.#layout), ...this.spec.env, ...beats },
        cwd: '/',
        detached: true,
      });
      this.#child = child;
      this.starts += 1;
      this.#startedMs = monotonicMs();
      this.#frozen = false;
      this.#beatMs = this.#startedMs;
      this.#hasBeaten = false;
      child.stdio[BEAT_FD]?.on('data', (chunk) => this.#beaten(child, String(chunk)));
      child.once('error', (error) => this.#ended(child, messageOf(error)));
      child.once('exit', (code, signal) => this.#ended(child, signal ?? `exit status ${code}`));
    } finally {
      closeSync(log);
    }
  }

  /** Marks a process that a failpoint is about to stop as frozen, as `freeze` does, until it is thawed. */
  #beaten(child: ChildProcess, beats: string): void {
    if (this.#child !== child) return;
    this.#beatMs = monotonicMs();
    this.#hasBeaten = true;
    if (beats.includes(HELD)) this.#frozen = true;
  }

  #ended(child: ChildProcess, how: string): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    this.#beatMs = null;
    if (this.#wanted !== 'running' || !isRunning(this.machine.init)) return;
    if (monotonicMs() - this.#startedMs > HEALTHY_AFTER_MS) this.#backoffMs = BACKOFF_MS_MIN;
    this.#say(`${this.#name} ended (${how}); it is started again in ${this.#backoffMs} ms`);
    this.#restart = setTimeout(() => this.#spawn(), this.#backoffMs);
    this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MS_MAX);
  }

  /**
   * Checks a process's beats. A late check means that the supervisor itself was not running and has not read the beats
   * either.
   */
  #watch(): void {
    const { watchdogMs, firstBeatMs = FIRST_BEAT_MS } = this.spec;
    if (watchdogMs === undefined || this.#watchdog !== undefined) return;
    const everyMs = watchdogMs / BEATS;
    let lookedMs = monotonicMs();
    this.#watchdog = setInterval(() => {
      const nowMs = monotonicMs();
      const isLate = nowMs - lookedMs > 2 * everyMs;
      lookedMs = nowMs;
      if (this.#beatMs === null || this.#frozen || this.#wanted !== 'running') return;
      if (isLate) this.#beatMs = nowMs;
      const stillMs = nowMs - this.#beatMs;
      if (stillMs <= (this.#hasBeaten ? watchdogMs : firstBeatMs)) return;
      this.#beatMs = null;
      this.#say(`${this.#name} has been standing still for ${Math.round(stillMs / 1_000)} s and is ended`);
      this.kill({ hold: false }).catch((error: unknown) =>
        this.#say(`${this.#name} does not end: ${messageOf(error)}`),
      );
    }, everyMs).unref();
  }

  /** The process itself: the child of the nsenter that we started. Waits the moment until nsenter has forked. */
  async #process(): Promise<ProcessIdentity | undefined> {
    const startedMs = monotonicMs();
    for (;;) {
      const parent = this.#child?.pid;
      if (parent === undefined) return undefined;
      const process = childOf(parent);
      if (process !== undefined) return process;
      if (monotonicMs() - startedMs > START_DEADLINE_MS) return undefined;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** nsenter stops itself when its child is stopped. */
  #thawParent(): void {
    this.#child?.kill('SIGCONT');
  }

  #cancelRestart(): void {
    clearTimeout(this.#restart);
    this.#restart = undefined;
  }

  /** Moves a log that grew too long aside. The process appends to the same file, so it continues at the beginning. */
  #boundLog(): void {
    try {
      if (statSync(this.#logFile).size < LOG_BYTES_MAX) return;
      copyFileSync(this.#logFile, `${this.#logFile}.1`);
      truncateSync(this.#logFile);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT'))
        this.#say(`${this.#logFile} could not be bounded: ${messageOf(error)}`);
    }
  }
}
