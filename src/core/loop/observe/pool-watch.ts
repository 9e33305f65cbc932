/**
 * Follows the fill levels of the storage nodes' pools, from their reports, and records an event when a level is reached
 * and when it is left.
 *
 * Guarantees: at most one event for each change of a level (core/model/pool-room.ts); a new leader records no event for
 * the levels it finds.
 */
import { messageOf } from '../../../base/errors.ts';
import type { StorageName } from '../../../base/ids.ts';
import { type PoolLevel, poolLevel, poolWords } from '../../model/pool-room.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { PoolReport } from '../../ports/storage-link.ts';
import type { LeaderStore } from '../../ports/store.ts';

interface Ports {
  readonly clock: Pick<Clock, 'wallMs'>;
  readonly log: Log;
  readonly store: Pick<LeaderStore, 'commit' | 'leads'>;
}

/** Watches the pools for one leader. */
export class PoolWatch {
  readonly #ports: Ports;
  readonly #levels = new Map<StorageName, PoolLevel>();

  constructor(ports: Ports) {
    this.#ports = ports;
  }

  /** Returns the level of a node's pool; null before its first report. */
  levelOf(node: StorageName): PoolLevel | null {
    return this.#levels.get(node) ?? null;
  }

  /** Handles a node's report. */
  reported(node: StorageName, pool: PoolReport): void {
    const before = this.levelOf(node);
    const level = poolLevel(pool, before);
    this.#levels.set(node, level);
    if (before === null || before === level) return;
    const message = `The pool of storage node ${node} ${poolWords(pool, level)}.`;
    this.#tell(level, message).catch((error: unknown) =>
      this.#ports.log.warn('an event was not written', { message, error: messageOf(error) }),
    );
  }

  /** Forgets a node that left the cluster. */
  forget(node: StorageName): void {
    this.#levels.delete(node);
  }

  async #tell(level: PoolLevel, message: string): Promise<void> {
    const { clock, log, store } = this.#ports;
    if (!store.leads()) return;
    log.info(message, {});
    const about = { vm: null, vmName: null, host: null, generation: null };
    await store.commit({ changes: [], events: [{ at: clock.wallMs(), kind: `pool-${level}`, ...about, message }] });
  }
}
