/**
 * Failpoints: a story names a step in a file (`crash WORKFLOW STEP` or `freeze WORKFLOW STEP`), and before that step
 * the leader dies or stops still, once. For one-machine clusters only.
 */
import { readFileSync, rmSync } from 'node:fs';
import type { CrashPoint } from '../core/loop/vm/workflow-names.ts';
import { holdHeartbeat } from '../os/heartbeat.ts';

/** Does nothing: production. */
export const noCrashPoint: CrashPoint = async () => undefined;

/** The faults that a process can suffer, each with its signal. */
const SIGNALS = { crash: 'SIGKILL', freeze: 'SIGSTOP' } as const;

/**
 * Sends this process the signal that `file` asks for before the step that it names, and removes the file first, so that
 * the next leader is spared. A frozen one continues with that very step when it is thawed (SIGCONT), without having
 * heard of anything in the meantime.
 */
export function crashPointFrom(file: string): CrashPoint {
  return async (workflow, step) => {
    const signal = wantedSignal(file, `${workflow} ${step}`);
    if (signal === undefined) return;
    rmSync(file, { force: true });
    if (signal === 'SIGSTOP') holdHeartbeat();
    process.kill(process.pid, signal);
    // The signal is delivered before anything else of this process runs; this only keeps the step from beginning.
    if (signal === 'SIGKILL') await new Promise<never>(() => undefined);
  };
}

function wantedSignal(file: string, point: string): 'SIGKILL' | 'SIGSTOP' | undefined {
  try {
    const [, what, wanted] = /^(crash|freeze) (.+)$/.exec(readFileSync(file, 'utf8').trim()) ?? [];
    return wanted === point && (what === 'crash' || what === 'freeze') ? SIGNALS[what] : undefined;
  } catch {
    return undefined;
  }
}
