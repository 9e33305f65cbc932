/**
 * How far a machine's wall clock is from ours, by its answer to a question: it was read somewhere between the sending and the answer, so half
 * the round trip is the estimate's error. Pure. For people and alarms: nothing is decided by comparing clocks of two machines.
 */

/** An estimate: the difference lies between `offsetMs - errorMs` and `offsetMs + errorMs`. */
export interface ClockOffset {
  /** Positive where the other clock is ahead, in ms. */
  readonly offsetMs: number;
  readonly errorMs: number;
}

/** Beyond this a difference is an alarm: certificates are valid from an hour before they are made, and events are read side by side. */
const OFFSET_MS_MAX = 30_000;

/** From the other's clock and the moments of sending and receiving by ours: wall time for the difference, monotonic for the round trip. */
export function clockOffset(
  theirs: number,
  ours: { readonly receivedAt: number; readonly roundTripMs: number },
): ClockOffset {
  const errorMs = ours.roundTripMs / 2;
  return { offsetMs: theirs - (ours.receivedAt - errorMs), errorMs };
}

/** What is wrong with a machine's clock as a sentence, or null while that is not certain. */
export function clockFinding(machine: string, offset: ClockOffset | null): string | null {
  if (offset === null || Math.abs(offset.offsetMs) - offset.errorMs <= OFFSET_MS_MAX) return null;
  const seconds = Math.round(Math.abs(offset.offsetMs) / 1_000);
  const where = offset.offsetMs > 0 ? 'ahead of' : 'behind';
  return `The clock of ${machine} is ${seconds} s ${where} that of the leading control node. Set both by NTP: a host an hour behind cannot use certificates that are made now.`;
}
