/**
 * `gp up` and `gp down`. Guarantees: `up` resolves when every role of the cluster answers, or throws and leaves nothing
 * running; `down` resolves when nothing of the cluster runs any more; what the cluster keeps survives both.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { CodedError } from '../base/errors.ts';
import { fromWire, type WireError } from '../base/wire-error.ts';
import { isRunning, signalProcess, waitGone } from '../os/process-table.ts';
import { readRunning } from './client.ts';
import type { Progress } from './cluster.ts';
import { labLayout } from './layout.ts';
import { type LabInfo, type LabOptions, startLab } from './outer.ts';

/** An orderly end takes up to ten seconds (END_DEADLINE_MS of the outer process). */
const DOWN_DEADLINE_MS = 15_000;
const KILL_DEADLINE_MS = 10_000;

export interface UpOptions extends LabOptions {
  /** True: the cluster outlives the calling process; false: it ends with it. */
  readonly detach?: boolean | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Ends the cluster in order, also while it is starting (the caller must pass Ctrl-C and SIGTERM on). */
  readonly signal?: AbortSignal | undefined;
  /** Ends it at once (a second Ctrl-C). */
  readonly killSignal?: AbortSignal | undefined;
}

export interface UpResult {
  readonly info: LabInfo;
  /** Settles when the cluster has ended, at once with `detach`; `asked`: false if it ended by itself. */
  readonly ended: Promise<{ readonly asked: boolean }>;
}

/** The messages of the detached process while it starts. */
export type DaemonMessage =
  | { readonly progress: Progress }
  | { readonly ready: LabInfo }
  | { readonly failed: WireError };

/** Starts a one-machine cluster. Throws what `startLab` throws. */
export async function up(options: UpOptions): Promise<UpResult> {
  const { detach, onProgress, signal, killSignal, ...labOptions } = options;
  if (detach === true) {
    return { info: await upDetached(labOptions, options), ended: Promise.resolve({ asked: true }) };
  }
  const handle = await startLab(labOptions, {
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(signal === undefined ? {} : { signal }),
  });
  onAbort(signal, () => void handle.stop());
  onAbort(killSignal, () => void handle.kill());
  return { info: handle.info, ended: handle.ended };
}

/** Ends the cluster in `dir`, if one runs there. CodedError 'deadline' if it cannot be ended. */
export async function down(options: {
  readonly dir: string;
  readonly signal?: AbortSignal | undefined;
}): Promise<{ readonly ended: boolean }> {
  const layout = labLayout(options.dir);
  const running = await readRunning(layout);
  if (running === undefined) return { ended: false };
  signalProcess(running.outer, 'SIGTERM');
  try {
    await waitGone(running.outer, DOWN_DEADLINE_MS, options.signal);
  } catch (error) {
    if (!(error instanceof CodedError) || error.code !== 'deadline') throw error;
    signalProcess(running.outer, 'SIGKILL');
    await waitGone(running.outer, KILL_DEADLINE_MS);
  }
  // The room goes with the outer process; one that was killed leaves it milliseconds behind.
  const { room } = running;
  if (room !== null && isRunning(room)) await waitGone(room, KILL_DEADLINE_MS);
  return { ended: true };
}

async function upDetached(labOptions: LabOptions, how: Pick<UpOptions, 'onProgress' | 'signal'>): Promise<LabInfo> {
  const layout = labLayout(labOptions.dir);
  how.signal?.throwIfAborted();
  const daemon = spawnDaemon();
  try {
    return await new Promise<LabInfo>((resolve, reject) => {
      onAbort(how.signal, () => daemon.kill('SIGTERM'));
      daemon.on('message', (raw) => {
        const message = raw as DaemonMessage;
        if ('progress' in message) how.onProgress?.(message.progress);
        else if ('ready' in message) resolve(message.ready);
        else reject(how.signal?.aborted === true ? how.signal.reason : fromWire(message.failed));
      });
      daemon.once('error', reject);
      daemon.once('exit', (code) =>
        reject(new CodedError('failed', `The cluster's process ended with status ${code}; see ${layout.logFile}.`)),
      );
      daemon.send({ ...labOptions, dir: layout.dir });
    });
  } finally {
    if (daemon.connected) daemon.disconnect();
    daemon.unref();
  }
}

function spawnDaemon(): ChildProcess {
  return fork(fileURLToPath(new URL('daemon.ts', import.meta.url)), [], {
    detached: true,
    execArgv: ['--max-old-space-size=256', '--disable-warning=ExperimentalWarning'],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    cwd: '/',
  });
}

function onAbort(signal: AbortSignal | undefined, then: () => void): void {
  if (signal?.aborted === true) then();
  else signal?.addEventListener('abort', then, { once: true });
}
