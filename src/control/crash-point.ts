/** Crash points: a story names one (`WORKFLOW STEP`) in a file, and the leader dies before that step, once. For one-machine clusters only. */
import { readFileSync, rmSync } from 'node:fs';
import type { CrashPoint } from '../core/loop/vm-loop.ts';

/** Does nothing: production. */
export const noCrashPoint: CrashPoint = async () => undefined;

/** Kills this process (SIGKILL, as a power cut would) before the step that `file` names, and removes the file first, so that the next leader lives. */
export function crashPointFrom(file: string): CrashPoint {
  return async (workflow, step) => {
    let wanted: string;
    try {
      wanted = readFileSync(file, 'utf8').trim();
    } catch {
      return;
    }
    if (wanted !== `${workflow} ${step}`) return;
    rmSync(file, { force: true });
    process.kill(process.pid, 'SIGKILL');
    // The signal is delivered before anything else of this process runs; this only keeps the step from beginning.
    await new Promise<never>(() => undefined);
  };
}
