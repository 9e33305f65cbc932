/** The services of this machine, by systemctl. Every call has a deadline. */
import { existsSync } from 'node:fs';
import { CodedError } from '../base/errors.ts';
import { run, tryRun } from '../os/child-process.ts';
import type { Role } from './programs.ts';
import { unitOf } from './units.ts';

/** A service that joins or starts waits for others. */
const START_MS = 120_000;
const CALL_MS = 30_000;

/** CodedError 'not-installed' where systemd is not the first process of this machine. */
export function demandSystemd(): void {
  if (existsSync('/run/systemd/system')) return;
  throw new CodedError('not-installed', 'systemd is not the first process of this machine.', {
    advice: 'Nothing was changed. Groundplane is installed on Debian 12 as it is.',
  });
}

/** Whether the role's service runs and is ready. */
export async function isActive(role: Role): Promise<boolean> {
  const { exitCode } = await tryRun(['systemctl', 'is-active', '--quiet', unitOf(role)], { deadlineMs: CALL_MS });
  return exitCode === 0;
}

/** Returns what the role's service said last about itself; empty if nothing. */
export async function statusText(role: Role): Promise<string> {
  const argv = ['systemctl', 'show', '--property=StatusText', '--value', unitOf(role)];
  return (await tryRun(argv, { deadlineMs: CALL_MS })).stdout.trim();
}

/** Starts the role's service, now and at each boot, and waits until it is ready. */
export async function enable(role: Role): Promise<void> {
  await run(['systemctl', 'enable', '--now', unitOf(role)], { deadlineMs: START_MS });
}

/** Starts the role's service again. */
export async function start(role: Role): Promise<void> {
  await run(['systemctl', 'start', unitOf(role)], { deadlineMs: START_MS });
}

/** Ends the role's service until it is started. */
export async function stop(role: Role): Promise<void> {
  await run(['systemctl', 'stop', unitOf(role)], { deadlineMs: START_MS });
}

/** Ends the role's service, and starts it at no boot. */
export async function disable(role: Role): Promise<void> {
  await run(['systemctl', 'disable', '--now', unitOf(role)], { deadlineMs: START_MS });
}

/** Ends everything in a slice. */
export async function stopSlice(slice: string): Promise<void> {
  await run(['systemctl', 'stop', slice], { deadlineMs: START_MS });
}
