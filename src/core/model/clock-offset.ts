/**
 * The offset of a machine's wall clock from ours, measured by a request: the machine read its clock between sending and
 * answer, so half the round trip is the estimate's error. Pure. For people and alarms only: no decision compares the
 * clocks of two machines.
 */

/** An estimate: the true offset lies between `offsetMs - errorMs` and `offsetMs + errorMs`. */
export interface ClockOffset {
  /** Positive if the other clock is ahead, in ms. */
  readonly offsetMs: number;
  readonly errorMs: number;
}

/**
 * A larger offset is an alarm, in ms: certificates are valid from an hour before they are made, and people compare
 * events of different machines.
 */
const OFFSET_MS_MAX = 30_000;

/**
 * Estimates the offset from the other clock and our times of sending and receiving: wall time for the offset, monotonic
 * time for the round trip.
 */
export function clockOffset(
  theirs: number,
  ours: { readonly receivedAt: number; readonly roundTripMs: number },
): ClockOffset {
  const errorMs = ours.roundTripMs / 2;
  return { offsetMs: theirs - (ours.receivedAt - errorMs), errorMs };
}

/** Returns what is wrong with a machine's clock as a sentence, or null while that is not certain. */
export function clockFinding(machine: string, offset: ClockOffset | null): string | null {
  if (offset === null || Math.abs(offset.offsetMs) - offset.errorMs <= OFFSET_MS_MAX) return null;
  const seconds = Math.round(Math.abs(offset.offsetMs) / 1_000);
  const where = offset.offsetMs > 0 ? 'ahead of' : 'behind';
  return `The clock of ${machine} is ${seconds} s ${where} that of the leading control node. Set both by NTP: a host an hour behind cannot use certificates that are made now.`;
}
