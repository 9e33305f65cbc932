/** The cluster's events as they arrive, kept for waits that begin after the event. */

import type { Event } from '../../src/api/views.ts';
import { CodedError } from '../../src/base/errors.ts';
import type { ApiClient } from '../../src/client/client.ts';
import { withDeadline } from '../../src/os/deadline.ts';

/** See the module's comment. `begin` before what is to be waited for, `end` when done. */
export class EventFeed {
  readonly #client: ApiClient;
  readonly #events: Event[] = [];
  readonly #ended = new AbortController();
  readonly #signal: AbortSignal;
  #waiting: (() => void)[] = [];
  #failure: unknown;

  constructor(client: ApiClient, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
  }

  /** Every event after this is kept. */
  async begin(): Promise<void> {
    const { revision } = await this.#client.call(this.#client.http.GET('/v1/cluster'));
    void this.#follow(revision);
  }

  end(): void {
    this.#ended.abort();
  }

  /** How many events came so far: a mark for `first` and `since`. */
  get count(): number {
    return this.#events.length;
  }

  /** The events that came after a mark. */
  since(mark: number): readonly Event[] {
    return this.#events.slice(mark);
  }

  /** The first event after `mark` that matches. CodedError 'deadline'. */
  first(
    what: string,
    { mark, deadlineMs, matches }: { mark: number; deadlineMs: number; matches: (event: Event) => boolean },
  ): Promise<Event> {
    return withDeadline(
      async (inner) => {
        for (let next = mark; ; ) {
          for (; next < this.#events.length; next++) {
            const event = this.#events[next];
            if (event !== undefined && matches(event)) return event;
          }
          if (this.#failure !== undefined || inner.aborted)
            throw new CodedError('unavailable', 'The watch has ended.', { cause: this.#failure });
          await new Promise<void>((resolve) => {
            this.#waiting.push(resolve);
          });
        }
      },
      { deadlineMs, signal: this.#signal, what },
    );
  }

  /** Reads events until the connection ends, which ends every wait. */
  async #follow(revision: string): Promise<void> {
    const signal = AbortSignal.any([this.#ended.signal, this.#signal]);
    try {
      for await (const change of this.#client.watch({ after: revision, signal })) {
        if (change.kind !== 'event' || change.object === null) continue;
        this.#events.push(change.object as Event);
        this.#wake();
      }
    } catch (error) {
      this.#failure = error;
      this.#wake();
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
