/**
 * The outer process of `gp up --detach`, in a session of its own. It gets its options over the IPC channel of its
 * parent, reports progress there until the cluster is ready, and lives until SIGTERM (orderly end; a second one: at
 * once).
 */

import { appendFileSync } from 'node:fs';
import { toWire } from '../base/wire-error.ts';
import { labLayout } from './layout.ts';
import { type LabHandle, type LabOptions, startLab } from './outer.ts';
import type { DaemonMessage } from './up.ts';

const stop = new AbortController();
let handle: LabHandle | undefined;
let ready = false;

function report(message: DaemonMessage): void {
  if (process.connected) process.send?.(message, () => undefined);
}

async function main(options: LabOptions): Promise<void> {
  try {
    handle = await startLab(options, {
      onProgress: (progress) => report({ progress }),
      signal: stop.signal,
    });
  } catch (error) {
    report({ failed: toWire(error) });
    process.exitCode = 1;
    if (process.connected) process.disconnect();
    return;
  }
  ready = true;
  report({ ready: handle.info });
  if (stop.signal.aborted) void handle.stop();
  const { asked } = await handle.ended;
  process.exit(asked ? 0 : 1);
}

process.umask(0o077);
process.once('message', (raw) => {
  const options = raw as LabOptions;
  // Errors of our own are reported where the room's are: nobody sees our standard error.
  process.on('uncaughtExceptionMonitor', (error) => appendFileSync(labLayout(options.dir).logFile, `${error.stack}\n`));
  void main(options);
});
// The command that asked for the cluster ended before the cluster was ready: nobody would know of it.
process.once('disconnect', () => {
  if (!ready) stop.abort(new Error('the command that started the cluster has ended'));
});
for (const signalName of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signalName, () => {
    if (stop.signal.aborted) void handle?.kill();
    else void handle?.stop();
    stop.abort(new Error('the cluster is being ended'));
  });
}
process.on('SIGHUP', () => undefined);
