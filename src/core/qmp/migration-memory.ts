/**
 * The orders to one end of a live migration, and the events of the present session since. Guarantees: an event counts
 * as news of a migration only if that migration was ordered on the same session; nothing is remembered across the end
 * of a session, since events in between were not heard.
 *   ordered     event                          told                     remembered afterwards
 *   receive     MIGRATION completed            arrived                  the same
 *   send        STOP, not ordered here         ending                   when the guest stopped
 *   send        MIGRATION completed            left                     that it is complete
 *   send        RESUME, or another end         nothing                  nothing: it goes on
 */
import type { Generation } from '../../base/ids.ts';
import type { QmpEvent } from '../../wire/qmp/codec.ts';
import type { MigrationState, MigrationTold } from '../model/observation.ts';
import type { Clock } from '../ports/clock.ts';
import { isEndOfMigration, migrationState } from './observation.ts';

/**
 * How far an event may be late, in ms. If a pause by the host's wall clock exceeds the time that passed here between
 * its two events by more than this, that clock was stepped.
 */
const LATE_MS_MAX = 1_000;

/** QEMU's events after which a decision may be another one; of MIGRATION those that end one. */
const TELLING_EVENTS: ReadonlySet<string> = new Set([
  'SHUTDOWN',
  'STOP',
  'RESUME',
  'RESET',
  'GUEST_PANICKED',
  'BLOCK_IO_ERROR',
]);

type Ordered =
  | { readonly kind: 'receive' }
  | {
      readonly kind: 'send';
      readonly to: Generation;
      /** When the guest was paused: by the host's wall clock, and by this process's monotonic clock. */
      stopped: { readonly hostMs: number; readonly ownMs: number } | null;
      completed: MigrationState | null;
      /** The guest was told to halt here: its halt does not mean that a migration has finished sending. */
      isHalted: boolean;
    };

/** Whether a decision may change after an event. */
export function isTelling({ name, data }: QmpEvent): boolean {
  return name === 'MIGRATION' ? isEndOfMigration(String(data['status'])) : TELLING_EVENTS.has(name);
}

/** The memory of one session. */
export class MigrationMemory {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #ordered: Ordered | null = null;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** The end of the migration that was ordered to be sent, if its events reported it: then no question is needed. */
  get completed(): MigrationState | null {
    return this.#ordered?.kind === 'send' ? this.#ordered.completed : null;
  }

  /** The QEMU waits for a stream. */
  orderedToReceive(): void {
    this.#ordered = { kind: 'receive' };
  }

  /** The QEMU is told to send. Not for a stream that another session began: its events do not say where it goes. */
  orderedToSend(to: Generation): void {
    this.#ordered = { kind: 'send', to, stopped: null, completed: null, isHalted: false };
  }

  /** The guest is told to halt. */
  orderedToHalt(): void {
    if (this.#ordered?.kind === 'send') this.#ordered.isHalted = true;
  }

  forget(): void {
    this.#ordered = null;
  }

  /**
   * An event's news of the ordered migration; null if there is none. It saves a question: QEMU 7.2 reads a TLS monitor
   * a byte at a time in the very loop that loads or completes the guest, which is paused in the meantime.
   */
  hear(event: QmpEvent): MigrationTold | null {
    const ordered = this.#ordered;
    if (ordered === null) return null;
    const { name, data, timestampMs } = event;
    const isCompleted = name === 'MIGRATION' && data['status'] === 'completed';
    if (ordered.kind === 'receive') return isCompleted ? { kind: 'arrived' } : null;
    if (isCompleted) {
      // Set before the run state is postmigrate, and never taken back: from here on only `cont` lets it go on (7.2,
      // migration_iteration_finish).
      const pausedMs = ordered.stopped === null ? null : this.#pauseMs(ordered.stopped, timestampMs);
      ordered.completed = { ...migrationState({ status: 'completed' }, undefined), downtimeMs: pausedMs };
      return { kind: 'left', sentTo: ordered.to, pausedMs };
    }
    if (name === 'STOP' && ordered.isHalted) return null;
    if (name === 'STOP' && ordered.completed === null) {
      ordered.stopped = { hostMs: timestampMs, ownMs: this.#clock.monotonicMs() };
      return { kind: 'ending' };
    }
    // The guest continues, or another stream began: the ordered migration is over.
    if (name === 'RESUME' || (name === 'MIGRATION' && isTelling(event))) this.#ordered = null;
    return null;
  }

  /**
   * How long the guest was paused, in ms: by the host's wall clock, whose times do not depend on when an event arrived
   * here; by our own monotonic clock if the host's clock was set in between.
   */
  #pauseMs(stopped: { readonly hostMs: number; readonly ownMs: number }, hostMs: number): number {
    const byHostMs = hostMs - stopped.hostMs;
    const byOwnMs = Math.round(this.#clock.monotonicMs() - stopped.ownMs);
    return byHostMs < 0 || byHostMs > byOwnMs + LATE_MS_MAX ? byOwnMs : byHostMs;
  }
}
