/** Lets simulated time pass while something waits for it. */
import type { SimClock } from '../../time/sim-clock.ts';

const DRIVE_MS_MAX = 3_600_000;

/** The outcome of `body`; fails when it does not end within an hour of simulated time. */
export async function drive<T>(clock: SimClock, body: () => Promise<T>): Promise<T> {
  let isOver = false;
  const end = (): void => {
    isOver = true;
  };
  const running = body();
  running.then(end, end);
  await clock.run(clock.monotonicMs() + DRIVE_MS_MAX, () => isOver);
  if (!isOver) throw new Error('It did not end within an hour of simulated time.');
  return running;
}
