/** Long work in small pieces: other work runs between some of them. */
import type { Clock } from '../ports/clock.ts';

/** The length of one turn, in ms, and in pieces: in a simulation no time passes during a turn. */
const TURN_MS = 4;
const PIECES_PER_TURN = 256;

/**
 * Does the work in turns of TURN_MS; a turn is longer by at most one piece. `isOver`: checked between turns; true ends
 * the work early, and null is returned.
 */
export async function inTurns<T>(work: Generator<void, T>, clock: Clock, isOver: () => boolean): Promise<T | null> {
  while (!isOver()) {
    const end = oneTurn(work, clock);
    if (end !== null) return end.value;
    await new Promise<void>((resolve) => void clock.after(0, resolve));
  }
  return null;
}

/** Does one turn of the work; null: more is left. */
export function oneTurn<T>(work: Generator<void, T>, clock: Clock): { readonly value: T } | null {
  const endsAtMs = clock.monotonicMs() + TURN_MS;
  for (let pieces = 0; pieces < PIECES_PER_TURN && (pieces === 0 || clock.monotonicMs() < endsAtMs); pieces += 1) {
    const piece = work.next();
    if (piece.done === true) return { value: piece.value };
  }
  return null;
}

/** Does the work in one turn: for short work, and for callers that hold nothing up. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const piece = work.next();
    if (piece.done === true) return piece.value;
  }
}
