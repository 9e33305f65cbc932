/**
 * Work that is done one after the other, in the order in which it was asked for. Guarantees: at most so many wait, and
 * none begins after it has waited for longer than its caller does; work that fails is no obstacle to the next.
 */
import { CodedError } from './errors.ts';

export interface TurnQueueOptions {
  /** The kind of thing that waits, for people: "changes". */
  readonly what: string;
  readonly waitingMax: number;
  readonly waitMsMax: number;
  readonly monotonicMs: () => number;
}

/** See the module's comment. */
export class TurnQueue {
  readonly #options: TurnQueueOptions;
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(options: TurnQueueOptions) {
    this.#options = options;
  }

  /** Does `act` after everything that was asked for before it. CodedError 'unavailable' where that takes long. */
  async do<T>(act: () => Promise<T>): Promise<T> {
    const { what, waitingMax, waitMsMax, monotonicMs } = this.#options;
    if (this.#waiting >= waitingMax)
      throw new CodedError('unavailable', `${waitingMax} ${what} wait already.`, {
        advice: 'Nothing was changed. Try again in some seconds.',
      });
    const since = monotonicMs();
    const before = this.#last;
    const done = Promise.withResolvers<void>();
    this.#last = done.promise;
    this.#waiting++;
    try {
      await before;
      if (monotonicMs() - since > waitMsMax)
        throw new CodedError('unavailable', `The ${what} that came before take too long at the moment.`, {
          advice: 'Nothing was changed. See whether etcd answers, then try again.',
        });
      return await act();
    } finally {
      this.#waiting--;
      done.resolve();
    }
  }
}
