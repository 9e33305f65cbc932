/**
 * The persistent reservations of one logical unit in use. Guarantees: changes happen one after the other; a change
 * takes effect when it is saved, not before; after a save with an unknown outcome the saved state is read again before
 * the next change.
 */
import {
  changeReservations,
  NO_RESERVATIONS,
  type ReservationCommand,
  type ReservationOutcome,
  type ReservationState,
} from './reservations.ts';

/**
 * The store in which a unit's reservations outlive the target: etcd in a cluster. Both operations may be repeated after
 * a failure.
 */
export interface ReservationStore {
  /** The saved state; null: none was saved yet. */
  load(): Promise<ReservationState | null>;
  /** Resolves when the state is durable. A rejection says nothing about whether it was saved. */
  save(state: ReservationState): Promise<void>;
}

/** The receiver of `good` outcomes, called at the moment from which they are in force. */
export type OutcomeSink = (outcome: Extract<ReservationOutcome, { result: 'good' }>) => void;

const nothing = (): undefined => undefined;

/** Opened from what was saved. */
export class ReservationKeeper {
  readonly #store: ReservationStore;
  readonly #sink: OutcomeSink;
  #state: ReservationState;
  #tail: Promise<unknown> = Promise.resolve();
  /** A change whose save failed with an unknown outcome. */
  #doubted: Extract<ReservationOutcome, { result: 'good' }> | null = null;

  constructor(store: ReservationStore, state: ReservationState | null, sink: OutcomeSink) {
    this.#store = store;
    this.#state = state ?? NO_RESERVATIONS;
    this.#sink = sink;
  }

  /** The reservations in force. */
  get state(): ReservationState {
    return this.#state;
  }

  /**
   * Carries out one change after all that came before. Rejects when it could not be saved, or the state not be read.
   */
  change(nexus: string, command: ReservationCommand): Promise<ReservationOutcome> {
    const result = this.#tail.then(() => this.#change(nexus, command));
    this.#tail = result.then(nothing, nothing);
    return result;
  }

  async #change(nexus: string, command: ReservationCommand): Promise<ReservationOutcome> {
    if (this.#doubted !== null) await this.#settle(this.#doubted);
    const outcome = changeReservations(this.#state, nexus, command);
    if (outcome.result !== 'good' || outcome.state === this.#state) return outcome;
    this.#doubted = outcome;
    await this.#store.save(outcome.state);
    this.#doubted = null;
    this.#apply(outcome);
    return outcome;
  }

  async #settle(doubted: Extract<ReservationOutcome, { result: 'good' }>): Promise<void> {
    const saved = (await this.#store.load()) ?? NO_RESERVATIONS;
    this.#doubted = null;
    const isOld = shapeOf(saved) === shapeOf(this.#state);
    if (!isOld) this.#apply({ ...doubted, state: saved });
  }

  #apply(outcome: Extract<ReservationOutcome, { result: 'good' }>): void {
    this.#state = outcome.state;
    this.#sink(outcome);
  }
}

/** Equal for equal states, independent of the order of their fields. */
function shapeOf({ generation, registrations, reservation }: ReservationState): string {
  const registered = registrations.map(({ nexus, key, isAllTargetPorts }) => [nexus, key, isAllTargetPorts]);
  return JSON.stringify([generation, registered, reservation?.type, reservation?.holder]);
}
