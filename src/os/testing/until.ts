/** For tests of real processes: waiting for their effects. */

import { sleep } from '../../base/sleep.ts';
import { systemClock } from '../clock.ts';
import { monotonicMs } from '../monotonic.ts';

const POLL_MS = 20;

/**
 * Checks repeatedly until the condition holds; after `deadlineMs` throws an error that names `what`. A condition that
 * throws ends the wait.
 */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  { deadlineMs = 30_000 } = {},
): Promise<void> {
  const endsAtMs = monotonicMs() + deadlineMs;
  while (!(await condition())) {
    if (monotonicMs() > endsAtMs) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await sleep(systemClock, POLL_MS);
  }
}
