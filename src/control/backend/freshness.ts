/**
 * How long ago this node surely knew what etcd holds: a node that is cut off goes on following a member that is cut off with it. Guarantees:
 * what passed `demand` or `check` was true at most KNOWN_MS_MAX ago.
 */
import { CodedError } from '../../base/errors.ts';
import { PREFIX } from '../../core/model/keys.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { Etcd } from '../../etcd/api.ts';
import type { ClusterStore } from '../store/cluster-store.ts';

/** For how long what was known counts. Longer than an election of etcd's leader usually takes. */
const KNOWN_MS_MAX = 3_500;
/** How old what is known may be before etcd is asked again. */
const ASK_AGAIN_MS = 1_000;
const ASK_MS = 1_500;

export interface FreshnessPorts {
  readonly etcd: Pick<Etcd, 'list'>;
  readonly store: Pick<ClusterStore, 'caughtUp'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** Asks etcd, at most once a second, and only while somebody wants to know. */
export class Freshness {
  readonly #ports: FreshnessPorts;
  #knownAtMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;

  constructor(ports: FreshnessPorts) {
    this.#ports = ports;
  }

  /** CodedError 'unavailable' where etcd cannot be asked; waits for its answer where what is known is too old. */
  async demand(): Promise<void> {
    const asking = this.#askAgain();
    if (this.#ageMs() > KNOWN_MS_MAX) await asking;
    this.check();
  }

  /** CodedError 'unavailable' where what is known is too old. Never waits. */
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

  /** What was not answered leaves what is known as it is. */
  async #ask(): Promise<void> {
    const { etcd, store, clock } = this.#ports;
    const askedAtMs = clock.monotonicMs();
    try {
      // Linearizable: a member without a majority does not answer. Nothing is under this prefix but who wants to lead.
      const { revision } = await etcd.list(PREFIX.election, { deadlineMs: ASK_MS });
      await store.caughtUp(ASK_MS, revision);
      this.#knownAtMs = askedAtMs;
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
    }
  }
}
