/**
 * Decides when the leader looks at each drain and each roll: when somebody wakes it, when the time that its last look
 * asked for is over, and less and less often after looks that failed.
 * Guarantees: one look at each at a time; a wake-up during a look is not lost: another look follows, in a turn of its
 * own; while a drain or roll rests, after a failure or because its look asked for that, no wake-up begins a look; after
 * `stop` no look begins.
 */
import { messageOf } from '../../../base/errors.ts';
import type { Clock } from '../../ports/clock.ts';

/**
 * The time before the next look after a look that changed something, in ms: one drain must not keep the leader busy.
 */
const SOON_MS = 50;
/** More doublings than any longest time needs. */
const DOUBLINGS_MAX = 20;

export interface ActivationPorts<K> {
  readonly clock: Pick<Clock, 'after' | 'monotonicMs'>;
  /**
   * Looks at one drain or roll; resolves with the longest time until the next look in ms, or null: there is nothing
   * left to do.
   */
  readonly look: (id: K) => Promise<number | null>;
  /** Called after a look that threw; `failures`: how many looks in a row did. It must not throw. */
  readonly onFailed: (id: K, reason: string, failures: number) => Promise<void>;
  /** Called after the last look: the caller drops all state about it. */
  readonly onGone: (id: K) => void;
  /**
   * How long a drain or roll rests after its first failure in ms (doubled after each further failure), and the maximum.
   */
  readonly failedMs: number;
  readonly failedMsMax: number;
}

interface Activation {
  isActive: boolean;
  again: boolean;
  cancelTimer: (() => void) | null;
  /** The time until which no look begins, monotonic ms. */
  restsUntilMs: number;
  failures: number;
}

/** One per loop; `stop` is final. */
export class Activations<K> {
  readonly #ports: ActivationPorts<K>;
  readonly #activations = new Map<K, Activation>();
  #isStopped = false;

  constructor(ports: ActivationPorts<K>) {
    this.#ports = ports;
  }

  /** True after `stop`: looks that are under way end after their present step. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Ends all timers. */
  stop(): void {
    this.#isStopped = true;
    for (const { cancelTimer } of this.#activations.values()) cancelTimer?.();
  }

  /** Looks at one now, once it has rested, or soon after the look that is under way. */
  wake(id: K): void {
    if (this.#isStopped) return;
    const activation = this.#of(id);
    activation.cancelTimer?.();
    activation.cancelTimer = null;
    activation.again = true;
    if (activation.isActive) return;
    const { clock } = this.#ports;
    // Whole ms: what is left after a timer may be less than its clock can count.
    const restMs = Math.ceil(activation.restsUntilMs - clock.monotonicMs());
    if (restMs > 0) {
      activation.cancelTimer = clock.after(restMs, () => this.wake(id));
      return;
    }
    activation.isActive = true;
    void this.#activate(id, activation);
  }

  /** Begins no look before this time has passed. Returns the time, at most `failedMsMax`. */
  rest(id: K, forMs: number): number {
    const restMs = Math.min(forMs, this.#ports.failedMsMax);
    this.#of(id).restsUntilMs = this.#ports.clock.monotonicMs() + restMs;
    return restMs;
  }

  async #activate(id: K, activation: Activation): Promise<void> {
    const { clock, look, onFailed, onGone, failedMs } = this.#ports;
    let againInMs: number | null = null;
    try {
      activation.again = false;
      againInMs = await look(id);
      activation.failures = 0;
      if (activation.again && againInMs !== null) againInMs = SOON_MS;
    } catch (error) {
      activation.failures += 1;
      againInMs = this.rest(id, failedMs * 2 ** Math.min(activation.failures - 1, DOUBLINGS_MAX));
      await onFailed(id, messageOf(error), activation.failures);
    } finally {
      activation.isActive = false;
    }
    if (this.#isStopped) return;
    if (againInMs === null) {
      this.#activations.delete(id);
      onGone(id);
    } else activation.cancelTimer = clock.after(againInMs, () => this.wake(id));
  }

  #of(id: K): Activation {
    let activation = this.#activations.get(id);
    if (activation === undefined) {
      activation = { isActive: false, again: false, cancelTimer: null, restsUntilMs: 0, failures: 0 };
      this.#activations.set(id, activation);
    }
    return activation;
  }
}
