/**
 * A leader's housekeeping: every 30 s it deletes records that nobody needs any more
 * (plan/duties/housekeeping-decision.ts).
 * Guarantees: one round after the other; a failure is logged and the next round tries again; nothing begins after
 * `stop`; a turn of the event loop lasts some milliseconds, however many records there are.
 */
import { messageOf } from '../../../base/errors.ts';
import { sleep } from '../../../base/sleep.ts';
import { freedAddresses, KEPT, type Kept, outdated } from '../../plan/duties/housekeeping-decision.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { Change, LeaderStore } from '../../ports/store.ts';

const INTERVAL_MS = 30_000;
/** Networks in which addresses are freed in one round. */
const FREED_AT_ONCE = 10;
const TURN_MS = 3;

export interface HousekeepingPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Pick<LeaderStore, 'snapshot' | 'commit' | 'leads'>;
  /** The number of records that are kept; by default as in production. */
  readonly kept?: Kept | undefined;
  readonly intervalMs?: number | undefined;
}

/** See the module's comment. One for each term, from `start` to `stop`. */
export class Housekeeping {
  readonly #ports: HousekeepingPorts;
  #cancel: (() => void) | null = null;
  #isStopped = false;

  constructor(ports: HousekeepingPorts) {
    this.#ports = ports;
  }

  start(): void {
    const { clock, intervalMs = INTERVAL_MS } = this.#ports;
    if (!this.#isStopped) this.#cancel = clock.after(intervalMs, () => void this.#round());
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  async #round(): Promise<void> {
    const { clock, log, store, kept = KEPT } = this.#ports;
    try {
      await this.#commit(outdated(store.snapshot, kept, clock.wallMs()));
      await this.#commit(await this.#freed());
    } catch (error) {
      log.warn('tidying up failed', { error: messageOf(error) });
    }
    this.start();
  }

  /** A transaction that is refused because something changed in the meantime is the next round's. */
  async #commit(changes: readonly Change[]): Promise<void> {
    const { store } = this.#ports;
    if (changes.length > 0 && !this.#isStopped && store.leads()) await store.commit({ changes, events: [] });
  }

  async #freed(): Promise<readonly Change[]> {
    const { clock, store } = this.#ports;
    const freed: Change[] = [];
    let endsAt = clock.monotonicMs() + TURN_MS;
    for (const entry of [...store.snapshot.networks.values()]) {
      const change = freedAddresses(entry, store.snapshot);
      if (change !== null) freed.push(change);
      if (freed.length >= FREED_AT_ONCE) break;
      if (clock.monotonicMs() < endsAt) continue;
      await sleep(clock, 1);
      endsAt = clock.monotonicMs() + TURN_MS;
    }
    return freed;
  }
}
