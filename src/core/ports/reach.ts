/**
 * Compares the machines that control nodes reach: a leader asks the others which machines they would reach in its
 * place.
 */

/**
 * A machine that a leader has to reach: a host at its agent's port or a storage node at its service's port, both on the
 * control network.
 */
export interface ReachTarget {
  readonly kind: 'host' | 'storage';
  readonly name: string;
}

/** The most targets of one request; a peer refuses more ('bad-input'). */
export const REACH_TARGETS_MAX = 200;

export interface Reach {
  /** Name of this control node, for people. */
  readonly self: string;
  /** Names of the other control nodes, running or not. */
  peers(): readonly string[];
  /**
   * Returns which of `targets` (at most REACH_TARGETS_MAX) answered one TCP attempt, accepted or refused, from control
   * node `from`. Null if unknown: `from` did not answer, was not scheduled in time, or does not follow etcd and could
   * not lead. Never rejects.
   */
  tryFrom(from: string, targets: readonly ReachTarget[], deadlineMs: number): Promise<ReadonlySet<ReachTarget> | null>;
}
