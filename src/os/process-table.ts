/**
 * The operating system's list of processes (/proc): the agent finds running QEMUs here, because it remembers nothing.
 * Guarantees: a process is named by pid and start time, so that a reused pid is never signalled; a zombie counts as
 * gone, but not while one of its threads lives: a killed process whose main thread has ended may have a write under way
 * in the kernel (`Zl` in ps).
 */

import { readdirSync, readFileSync } from 'node:fs';
import { sleep } from '../base/sleep.ts';
import { systemClock } from './clock.ts';
import { deadlineError } from './deadline.ts';
import { monotonicMs } from './monotonic.ts';

/** A process of this boot: the kernel gives no two of them the same pair. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot. */
  readonly startTicks: number;
}

export interface ProcessRecord extends ProcessIdentity {
  readonly ppid: number;
  /** Effective user. */
  readonly uid: number;
  /** Empty for kernel threads and zombies. */
  readonly argv: readonly string[];
  /** The kernel's letter: R, S, D, T (stopped), Z (zombie, all of it), X… */
  readonly state: string;
}

const WAIT_STEP_MS_MIN = 1;
const WAIT_STEP_MS_MAX = 50;
/** The next check comes after this fraction of the time waited so far: an end is noticed late by no more than that. */
const WAIT_STEP_PART = 0.2;

/** Every process we can see. A process that ends while we read is left out. */
export function listProcesses(): readonly ProcessRecord[] {
  const records: ProcessRecord[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const record = readProcess(Number(name));
    if (record !== undefined) records.push(record);
  }
  return records;
}

/** One process, or undefined if no process has that pid. */
export function readProcess(pid: number): ProcessRecord | undefined {
  const stat = readStat(pid);
  const status = readProc(pid, 'status');
  // Its main thread is a zombie and others are not: they are blocked in the kernel, as a rule.
  const isBlocked = stat?.state === 'Z' && !isOver(stat);
  const cmdline = isBlocked ? cmdlineOfThreads(pid) : readProc(pid, 'cmdline');
  if (stat === undefined || status === undefined || cmdline === undefined) return undefined;
  const uid = /^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1];
  const argv = cmdline === '' ? [] : cmdline.replace(/\0$/, '').split('\0');
  const state = isBlocked ? 'D' : stat.state;
  return { pid, startTicks: stat.startTicks, ppid: stat.ppid, state, uid: Number(uid), argv };
}

/** The start time of the process that has this pid now (a zombie included), or undefined. */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  return stat === undefined ? undefined : { pid, startTicks: stat.startTicks };
}

/** Whether that very process still exists and is not a zombie. */
export function isRunning(identity: ProcessIdentity): boolean {
  const stat = readStat(identity.pid);
  return stat !== undefined && stat.startTicks === identity.startTicks && !isOver(stat);
}

/** Whether no part of the process runs any more, or will: a zombie without a living thread. */
export function isOver({ state, threads }: Pick<Stat, 'state' | 'threads'>): boolean {
  return state === 'X' || (state === 'Z' && threads <= 1);
}

/**
 * Sends a signal to that very process; false if it is gone (a zombie included) or its pid belongs to another one. Node
 * has no pidfd: the start time is compared in the same turn, which leaves the microseconds between two system calls, in
 * which the kernel would have to go once round its whole pid space. For our own children there is no gap at all: they
 * stay unreaped until the event loop turns. Throws when the kernel refuses (EPERM).
 */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isRunning(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

/**
 * Resolves when that process is gone (or a zombie); CodedError 'deadline' after `deadlineMs`. Polls /proc, in steps of
 * 1 growing to 50 ms: there is nothing to wait on for a process that is not our child.
 */
export async function waitGone(identity: ProcessIdentity, deadlineMs: number, signal?: AbortSignal): Promise<void> {
  const startedMs = monotonicMs();
  while (isRunning(identity)) {
    const waitedMs = monotonicMs() - startedMs;
    if (waitedMs >= deadlineMs) throw deadlineError(`process ${identity.pid}`, deadlineMs);
    const stepMs = Math.min(Math.max(waitedMs * WAIT_STEP_PART, WAIT_STEP_MS_MIN), WAIT_STEP_MS_MAX);
    await sleep(systemClock, Math.min(stepMs, deadlineMs - waitedMs), { signal });
    signal?.throwIfAborted();
  }
}

/** The kernel's random name of this boot: start times are only comparable within one. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** The command line that a process's living threads show; its own is empty when its main thread has ended. */
function cmdlineOfThreads(pid: number): string | undefined {
  try {
    const lines = readdirSync(`/proc/${pid}/task`).map((thread) => readProc(pid, `task/${thread}/cmdline`));
    return lines.find((line) => line !== undefined && line !== '');
  } catch {
    return undefined;
  }
}

interface Stat {
  readonly state: string;
  readonly ppid: number;
  readonly startTicks: number;
  /** The number of threads. The main thread counts until the process has been waited for. */
  readonly threads: number;
}

function readStat(pid: number): Stat | undefined {
  const text = readProc(pid, 'stat');
  return text === undefined ? undefined : parseStat(text);
}

/** Parses /proc/PID/stat (proc(5)); the name in parentheses may itself hold spaces and parentheses. */
export function parseStat(text: string): Stat | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, ppid] = fields;
  const [threads, startTicks] = [fields[17], fields[19]];
  if (state === undefined || ppid === undefined || threads === undefined || startTicks === undefined) return undefined;
  return { state, ppid: Number(ppid), threads: Number(threads), startTicks: Number(startTicks) };
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // The process went between two reads, or is hidden by hidepid: for our purposes it does not exist.
    return undefined;
  }
}
