/**
 * Reports to the supervisor that this process is alive; the supervisor ends and restarts a process that hangs: a
 * stopped process, or one whose event loop is blocked, serves no client and keeps its ports.
 * Guarantees: each beat is started by the event loop and written by a thread of its pool, so that it proves both work;
 * if the supervisor is gone, the beats end and nothing else changes; a supervisor that reads no beats blocks at most
 * one beat, and with it one thread or process.
 *   GROUNDPLANE_HEARTBEAT=FD:MS    the one-machine cluster's supervisor reads a byte from file descriptor FD at least every MS
 *   NOTIFY_SOCKET, WATCHDOG_USEC   systemd (WatchdogSec=, NotifyAccess=all): told by systemd-notify(1), since Node has no datagram sockets of
 *                                  the Unix domain
 */
import { spawn } from 'node:child_process';
import { write, writeSync } from 'node:fs';
import { VERSION } from '../base/version.ts';

/** The variable that names the supervisor's pipe. */
export const HEARTBEAT = 'GROUNDPLANE_HEARTBEAT';

/** The byte that a process sends instead of a beat when a failpoint is about to stop it. */
export const HELD = 'h';

/**
 * Tells the one-machine cluster's supervisor that this process is about to be stopped on purpose, until it is thawed.
 */
export function holdHeartbeat(env: NodeJS.ProcessEnv = process.env): void {
  const [fd] = (env[HEARTBEAT] ?? '').split(':').map(Number);
  if (isCount(fd)) writeSync(fd, HELD);
}

/** Starts beating if a supervisor listens; the first beat is sent at once. Call it once, before anything else. */
export function startHeartbeat(env: NodeJS.ProcessEnv = process.env): void {
  const [fd, everyMs] = (env[HEARTBEAT] ?? '').split(':').map(Number);
  if (isCount(fd) && isCount(everyMs)) {
    beatEvery(everyMs, (done) => write(fd, '.', (error) => done(error === null)));
    return;
  }
  const watchdogUs = Number(env['WATCHDOG_USEC']);
  if (env['NOTIFY_SOCKET'] === undefined || !isCount(watchdogUs)) return;
  beatEvery(Math.max(1_000, Math.floor(watchdogUs / 3_000)), (done) => {
    const told = spawn('systemd-notify', ['WATCHDOG=1'], { stdio: 'ignore', env });
    told.once('error', () => done(false)).once('exit', () => done(true));
    told.unref();
  });
}

/** The StatusText of a service in systemd: the version that it runs, not the one that is installed by now. */
export const STATUS = `version ${VERSION}`;

/**
 * Tells systemd that this process serves now (Type=notify, NotifyAccess=all), and in which version. Does nothing under
 * any other supervisor.
 */
export function reportReady(env: NodeJS.ProcessEnv = process.env): void {
  if (env['NOTIFY_SOCKET'] === undefined) return;
  spawn('systemd-notify', ['--ready', `--status=${STATUS}`], { stdio: 'ignore', env })
    .once('error', () => undefined)
    .unref();
}

function isCount(value: number | undefined): value is number {
  return value !== undefined && Number.isInteger(value) && value > 0;
}

/** `beat` resolves when the beat was read, or with the news that nobody reads any. */
function beatEvery(everyMs: number, beat: (done: (isTaken: boolean) => void) => void): void {
  let isUnderWay = false;
  const next = (): void => {
    if (isUnderWay) return;
    isUnderWay = true;
    beat((isTaken) => {
      isUnderWay = false;
      if (!isTaken) clearInterval(timer);
    });
  };
  const timer = setInterval(next, everyMs).unref();
  next();
}
