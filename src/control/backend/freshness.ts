/**
 * Tracks how old this node's knowledge of etcd may be: a node that is cut off together with its etcd member sees no
 * changes and no error. Guarantees: a state that passed `demand` or `check` was true at most KNOWN_MS_MAX ago.
 */
import { CodedError } from '../../base/errors.ts';
import { PREFIX } from '../../core/model/keys.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { Etcd } from '../../etcd/api.ts';
import type { ClusterStore } from '../store/cluster-store.ts';

/** The greatest age of a reading from etcd, in ms; longer than an election of etcd's leader usually takes. */
const KNOWN_MS_MAX = 3_500;
/** The age of knowledge after which etcd is asked again, in ms. */
const ASK_AGAIN_MS = 1_000;
const ASK_MS = 1_500;

export interface FreshnessPorts {
  readonly etcd: Pick<Etcd, 'list'>;
  readonly store: Pick<ClusterStore, 'caughtUp'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** Asks etcd at most once a second, and only on demand. */
export class Freshness {
  readonly #ports: FreshnessPorts;
  #knownAtMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;

  constructor(ports: FreshnessPorts) {
    this.#ports = ports;
  }

  /** Waits for etcd's answer if the knowledge is too old; CodedError 'unavailable' if etcd cannot be asked. */
  async demand(): Promise<void> {
    const asking = this.#askAgain();
    if (this.#ageMs() > KNOWN_MS_MAX) await asking;
    this.check();
  }

  /** CodedError 'unavailable' if the knowledge is too old. Never waits. */
  check(): void {
    void this.#askAgain();
    if (this.#ageMs() <= KNOWN_MS_MAX) return;
    throw new CodedError(
      'unavailable',
      'This control node is cut off from etcd, so it cannot know which tokens are valid.',
      {
        advice:
          'Nothing was changed. Try again, or ask another control node; the administrator’s own token works here.',
      },
    );
  }

  #ageMs(): number {
    return this.#ports.clock.monotonicMs() - this.#knownAtMs;
  }

  #askAgain(): Promise<void> {
    if (this.#ageMs() < ASK_AGAIN_MS) return Promise.resolve();
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  /** Asks etcd; without an answer, the age of the last reading keeps growing. */
  async #ask(): Promise<void> {
    const { etcd, store, clock } = this.#ports;
    const askedAtMs = clock.monotonicMs();
    try {
      // Linearizable: a member without a majority does not answer. The prefix holds only the few candidates of the
      // election.
      const { revision } = await etcd.list(PREFIX.election, { deadlineMs: ASK_MS });
      await store.caughtUp(ASK_MS, revision);
      this.#knownAtMs = askedAtMs;
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
    }
  }
}
