/**
 * What was ordered of one end of a live migration, and what the events of the present session have told since.
 * Guarantees: an event is news of a migration only where that migration was ordered on the same session; nothing is
 * remembered across the end of a session, since what happened in between was not heard.
 *
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
 * How far an event may be late, in ms. A pause by the host's wall clock that is longer than what passed here between its
 * two events, and this, was made by a step of that clock.
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
      /** When the guest stopped: by the host's wall clock, and by this process's monotonic clock. */
      stopped: { readonly hostMs: number; readonly ownMs: number } | null;
      completed: MigrationState | null;
      /** The guest was told to halt here: its halt does not mean that a migration has finished sending. */
      isHalted: boolean;
    };

/** Whether a decision may be another one after an event. */
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

  /** How the migration ended that was ordered to be sent, where its events told so: then nobody has to ask. */
  get completed(): MigrationState | null {
    return this.#ordered?.kind === 'send' ? this.#ordered.completed : null;
  }

  /** The QEMU waits for a stream. */
  orderedToReceive(): void {
    this.#ordered = { kind: 'receive' };
  }

  /**
   * The QEMU is told to send. Not for a stream that was begun by somebody else: its events do not tell where it goes.
   */
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
   * What an event tells of the migration that was ordered; null where it tells nothing. It spares a question: QEMU 7.2
   * reads a TLS monitor a byte at a time in the very loop that loads or completes the guest, which stands still
   * meanwhile.
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
    // It goes on, or another stream began: what was ordered is over.
    if (name === 'RESUME' || (name === 'MIGRATION' && isTelling(event))) this.#ordered = null;
    return null;
  }

  /**
   * How long the guest has stood still, in ms: by the host's wall clock, whose times do not depend on when an event
   * arrived here; by our own monotonic clock where the host's was set in between.
   */
  #pauseMs(stopped: { readonly hostMs: number; readonly ownMs: number }, hostMs: number): number {
    const byHostMs = hostMs - stopped.hostMs;
    const byOwnMs = Math.round(this.#clock.monotonicMs() - stopped.ownMs);
    return byHostMs < 0 || byHostMs > byOwnMs + LATE_MS_MAX ? byOwnMs : byHostMs;
  }
}
