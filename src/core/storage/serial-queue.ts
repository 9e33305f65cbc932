/**
 * Work on one thing, one piece at a time. Guarantees: pieces never overlap; urgent ones go before all that have not
 * begun; a queue that is full refuses ('unavailable') instead of growing, but never an urgent piece.
 */

import { CodedError } from '../../base/errors.ts';

/** A queue of asynchronous work; `what` names it in the refusal when `waitingMax` pieces wait. */
export class SerialQueue {
  readonly #waitingMax: number;
  readonly #what: string;
  readonly #urgent: (() => Promise<void>)[] = [];
  readonly #waiting: (() => Promise<void>)[] = [];
  #isBusy = false;

  constructor({ waitingMax, what }: { readonly waitingMax: number; readonly what: string }) {
    this.#waitingMax = waitingMax;
    this.#what = what;
  }

  /** Runs `task` in its turn and answers with its result. */
  run<T>(task: () => Promise<T>, { urgent = false }: { readonly urgent?: boolean } = {}): Promise<T> {
    if (!urgent && this.#waiting.length >= this.#waitingMax) {
      const message = `${this.#what} has ${this.#waitingMax} orders waiting already.`;
      return Promise.reject(new CodedError('unavailable', message, { advice: 'Nothing was done. Try again.' }));
    }
    return new Promise<T>((resolve, reject) => {
      (urgent ? this.#urgent : this.#waiting).push(() => task().then(resolve, reject));
      if (!this.#isBusy) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#isBusy = true;
    for (;;) {
      const next = this.#urgent.shift() ?? this.#waiting.shift();
      if (next === undefined) break;
      await next();
    }
    this.#isBusy = false;
  }
}
