/**
 * Talking to a running one-machine cluster: one request, one answer, each a line of JSON on DIR/lab.sock. Guarantees: a
 * call ends at its deadline; an error of the lab arrives as the CodedError it was.
 */

import { CodedError } from '../base/errors.ts';
import { labAnswer } from '../base/wire-error.ts';
import { withDeadline } from '../os/deadline.ts';
import { readJsonFile } from '../os/files.ts';
import { exchangeLine } from '../os/line-exchange.ts';
import { bootId, isRunning, type ProcessIdentity } from '../os/process-table.ts';
import type { FaultArguments, MachineStatus } from './faults.ts';
import { type LabLayout, labLayout } from './layout.ts';

/** Booting machines again takes its time on a busy machine. */
const CALL_DEADLINE_MS = 120_000;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;

export interface LabRequest extends FaultArguments {
  /** A name of FAULTS. */
  readonly verb: string;
}

/** The content of DIR/lab.json about the processes that run a cluster. */
export interface RunningLab {
  readonly bootId: string;
  /** The outer process: ending it ends the cluster. */
  readonly outer: ProcessIdentity;
  /** The init of the room: when it is gone, everything is. Null while it is being made. */
  readonly room: ProcessIdentity | null;
  readonly userNamespace: boolean;
  readonly startedAt: string;
}

/**
 * Carries out a fault and returns what it returns. CodedError 'unavailable' when no cluster runs in `dir`; the errors
 * of `injectFault`; 'deadline'.
 */
export function labCall(dir: string, labRequest: LabRequest, signal?: AbortSignal): Promise<unknown> {
  const layout = labLayout(dir);
  return withDeadline((inner) => call(layout, labRequest, inner), {
    deadlineMs: Math.max(CALL_DEADLINE_MS, (labRequest.deadlineMs ?? 0) + 10_000),
    signal,
    what: `${labRequest.verb} in ${layout.dir}`,
  });
}

/** The state of every machine. */
export async function labStatus(dir: string): Promise<readonly MachineStatus[]> {
  return (await labCall(dir, { verb: 'status' })) as readonly MachineStatus[];
}

/** The running cluster in `dir` according to lab.json; undefined if there is none. */
export async function readRunning(layout: LabLayout): Promise<RunningLab | undefined> {
  const running = (await readJsonFile(layout.runningFile)) as RunningLab | undefined;
  if (running === undefined || running.bootId !== bootId()) return undefined;
  const alive = isRunning(running.outer) || (running.room !== null && isRunning(running.room));
  return alive ? running : undefined;
}

/**
 * The argv with which a terminal gets a program (a shell) on a machine: through the room's namespaces into the
 * machine's. Needs the user who started the cluster. CodedError 'unavailable' when none runs, 'conflict' when the
 * machine is off.
 */
export async function enterMachineArgv(
  dir: string,
  machine: string,
  argv: readonly string[],
): Promise<readonly string[]> {
  const layout = labLayout(dir);
  const running = await readRunning(layout);
  const status = (await labCall(dir, { verb: 'status', target: machine })) as readonly MachineStatus[];
  const initPid = status[0]?.initPid ?? null;
  if (running === undefined || running.room === null) throw nothingRuns(layout);
  if (initPid === null) throw new CodedError('conflict', `${machine} is off.`, { advice: 'Boot it: gp lab restore.' });
  const user = running.userNamespace ? ['--user', '--preserve-credentials'] : [];
  return [
    ...['nsenter', '--target', String(running.room.pid), ...user, '--mount', '--net', '--pid', '--'],
    ...['nsenter', '--target', String(initPid), '--mount', '--uts', '--net', '--pid', '--', ...argv],
  ];
}

function nothingRuns(layout: LabLayout, cause?: unknown): CodedError {
  return new CodedError('unavailable', `No one-machine cluster runs in ${layout.dir}.`, {
    cause,
    advice: 'Start it with `gp up`.',
  });
}

async function call(layout: LabLayout, labRequest: LabRequest, signal: AbortSignal): Promise<unknown> {
  try {
    const text = await exchangeLine(layout.labSocket, JSON.stringify(labRequest), {
      ...{ signal, bytesMax: ANSWER_BYTES_MAX },
    });
    return labAnswer(text, layout.dir);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') throw nothingRuns(layout, error);
    throw error;
  }
}
