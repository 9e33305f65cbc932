/** What control nodes reach by themselves, compared: a leader asks the others what they would reach in its place. */

/** A machine that a leader has to reach: a host by its agent's port, a storage node by its service's, both on the control network. */
export interface ReachTarget {
  readonly kind: 'host' | 'storage';
  readonly name: string;
}

/** The most targets of one question; a peer refuses more ('bad-input'). */
export const REACH_TARGETS_MAX = 200;

export interface Reach {
  /** This control node's name, for people. */
  readonly self: string;
  /** The other control nodes, whether they run or not. */
  peers(): readonly string[];
  /**
   * Which of `targets` (at most REACH_TARGETS_MAX) answered one TCP attempt, accepted or refused, made by control node `from`. Null where that
   * is not known: `from` did not answer, was itself not scheduled in time, or could not lead because it does not follow etcd now. Never rejects.
   */
  tryFrom(from: string, targets: readonly ReachTarget[], deadlineMs: number): Promise<ReadonlySet<ReachTarget> | null>;
}
