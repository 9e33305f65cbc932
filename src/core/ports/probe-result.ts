/**
 * The outcome of one TCP connection attempt. Both `accepted` and `refused` prove that the peer's kernel is alive and
 * reachable.
 */
export interface ProbeResult {
  readonly outcome: 'accepted' | 'refused' | 'silent' | 'void';
  /** Lateness of the prober's own timer; above a bound the outcome is `void`: the prober's process was not running. */
  readonly lateMs: number;
}
