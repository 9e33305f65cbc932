/**
 * Deletes what a leader keeps no longer: old events, tasks that ended long ago, addresses that no card uses. Bounded
 * work each time.
 */
import { messageOf } from '../base/errors.ts';
import { keyOf, PREFIX } from '../core/model/keys.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { Log } from '../core/ports/log.ts';
import { withoutUnused } from '../core/request/vm-changes.ts';
import type { Compare } from '../etcd/records.ts';
import { inTurns } from '../os/turns.ts';
import type { ClusterStore, Write } from './store/cluster-store.ts';

/** Prefix of the election's keys, without the slash. */
export const ELECTION = PREFIX.election.slice(0, -1);
const INTERVAL_MS = 30_000;
/** Ended tasks that are kept. */
const TASKS_KEPT = 1_000;
const DELETIONS_AT_ONCE = 50;
/** The most networks in which addresses are freed at a time. */
const FREED_AT_ONCE = 10;

/** Tidies up every 30 s from `start` to `stop`; a failure is logged and the next round tries again. */
export class KeepingHouse {
  readonly #options: {
    readonly store: ClusterStore;
    readonly compare: Compare;
    readonly clock: Clock;
    readonly log: Log;
  };
  #cancel: (() => void) | null = null;

  constructor(options: {
    readonly store: ClusterStore;
    readonly compare: Compare;
    readonly clock: Clock;
    readonly log: Log;
  }) {
    this.#options = options;
  }

  start(): void {
    this.#cancel = this.#options.clock.after(INTERVAL_MS, () => void this.#tidy());
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  /** Frees the addresses of cards that were removed together with their VM's last machine. */
  async #freeAddresses(): Promise<void> {
    const { store, compare } = this.#options;
    const freed: Write[] = [];
    await inTurns([...store.networks.values()], ({ value, revision }) => {
      // A network record that was read back after a refused transaction may be newer than the VM whose card came with it.
      if (revision > store.completeRevision) return;
      const next = withoutUnused(value, (id) => store.vms.get(id)?.value);
      if (next !== null && freed.length < FREED_AT_ONCE)
        freed.push({ key: keyOf.network(value.name), value: next, expect: revision });
    });
    if (freed.length > 0) await store.transact(freed, compare);
  }

  async #tidy(): Promise<void> {
    const { store, compare, log } = this.#options;
    try {
      await store.pruneEvents(compare);
      await this.#freeAddresses();
      const ended = [...store.tasks.values()]
        .filter(({ value }) => value.state !== 'running')
        .sort((a, b) => a.revision - b.revision);
      const old = ended.slice(0, Math.max(0, ended.length - TASKS_KEPT)).slice(0, DELETIONS_AT_ONCE);
      if (old.length > 0)
        await store.transact(
          old.map(({ value, revision }) => ({ key: keyOf.task(value.id), value: null, expect: revision })),
          compare,
        );
    } catch (error) {
      log.warn('tidying up failed', { error: messageOf(error) });
    }
    if (this.#cancel !== null) this.start();
  }
}
