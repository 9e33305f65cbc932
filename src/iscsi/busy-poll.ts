/**
 * Polls for input for a moment before sleeping. An initiator with one command at a time sends the next one some tens of
 * microseconds after its answer, and on a virtual processor waking up costs more than that. Guarantees: it looks only
 * as long as input has lately come that soon, so that a connection with pauses costs nothing, and never longer than
 * POLL_MS_MAX after the last input. QEMU's event loop and KVM's halt polling adapt in the same way.
 */

/** A command that comes later than this after the last answer is worth a sleep. In ms. */
export const POLL_MS_MAX = 0.2;

/** The clock in ms, with microseconds, and the next turn of the event loop. */
export interface PollPort {
  readonly monotonicMs: () => number;
  /** Calls back in the next turn, which does not wait for input then. */
  readonly nextTurn: (callback: () => void) => void;
}

/** See the module's comment; one for an event loop. */
export class BusyPoll {
  readonly #port: PollPort;
  /** How long to poll now. */
  #limitMs = 0;
  #sinceMs = Number.NEGATIVE_INFINITY;
  #isLooking = false;
  readonly #look = (): void => {
    this.#isLooking = this.#port.monotonicMs() - this.#sinceMs < this.#limitMs;
    if (this.#isLooking) this.#port.nextTurn(this.#look);
  };

  constructor(port: PollPort) {
    this.#port = port;
  }

  /** Input is there: adapts to how long it took to come. */
  arrived(): void {
    const gapMs = this.#port.monotonicMs() - this.#sinceMs;
    if (gapMs > POLL_MS_MAX) this.#limitMs = 0;
    else if (gapMs > this.#limitMs) this.#limitMs = Math.min(2 * gapMs, POLL_MS_MAX);
  }

  /** The input was answered: polling for the next one begins here. */
  handled(): void {
    this.#sinceMs = this.#port.monotonicMs();
    if (this.#limitMs === 0 || this.#isLooking) return;
    this.#isLooking = true;
    this.#port.nextTurn(this.#look);
  }
}
