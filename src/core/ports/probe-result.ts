/** What one TCP connection attempt met. Both `accepted` and `refused` prove that the peer's kernel is alive and reachable. */
export interface ProbeResult {
  readonly outcome: 'accepted' | 'refused' | 'silent' | 'void';
  /** How late the prober's own timer fired; above a bound the outcome is `void`: the prober was not running. */
  readonly lateMs: number;
}
