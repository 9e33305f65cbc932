/** How long a VM's next attempt waits after failures. */
import type { VmRecord } from '../../model/vm.ts';

/** Back-off between attempts to start after failures: 1 s, doubling, at most 60 s. */
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 60_000;
/** A step that failed is tried again after this. */
export const STEP_RETRY_MS = 500;

/** The time left before the next attempt, in ms; the clock going backwards ends it. */
export function backoffLeft(vm: VmRecord, now: number): number {
  if (vm.failures === null || vm.failures.count === 0) return 0;
  const backoffMs = Math.min(BACKOFF_FIRST_MS * 2 ** (vm.failures.count - 1), BACKOFF_MAX_MS);
  const left = vm.failures.lastAt + backoffMs - now;
  return left > backoffMs ? 0 : Math.max(0, left);
}
