/**
 * Runs work one after the other, in the order of the requests. Guarantees: the number of waiting requests is bounded;
 * work does not begin after its caller has stopped waiting; a failure does not affect the next work.
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

  /** Runs `act` after all earlier work. CodedError 'unavailable' if that takes too long. */
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
