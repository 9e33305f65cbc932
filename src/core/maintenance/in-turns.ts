/** Long work in small pieces: other work runs between them. */
import type { Clock } from '../ports/clock.ts';

/**
 * Does the work piece by piece, each in a turn of its own. `isOver`: checked between pieces; true ends the work early.
 */
export async function inTurns<T>(work: Generator<void, T>, clock: Clock, isOver: () => boolean): Promise<T | null> {
  while (!isOver()) {
    const piece = work.next();
    if (piece.done === true) return piece.value;
    await new Promise<void>((resolve) => void clock.after(0, resolve));
  }
  return null;
}
