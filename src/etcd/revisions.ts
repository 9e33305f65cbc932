/**
 * Tracks the position of a watch: turns the messages of a stream into whole revisions, each delivered once. Pure.
 * Invariants:
 * 1. `next` is the first revision not yet delivered; a new stream starts there.
 * 2. Only events and progress of our own watch move `next`. The header revision of other messages (created, answers to
 *    manual progress requests) is the store's, which can be ahead of events still on their way: etcd before 3.4.25 and
 *    3.5 before 3.5.8 answer at once.
 * 3. The events of one revision are delivered together: of a fragmented message the last revision is held back until it
 *    is whole, so that a cut between two fragments repeats it instead of losing its rest.
 */
import { assert } from '../base/assert.ts';
import type { WatchEvent } from './records.ts';

/**
 * One per watch, over all of its streams: `push` and `progress` take messages, `restart` begins the next stream at
 * `next`.
 */
export class RevisionAssembler {
  #next: number;
  #held: WatchEvent[] = [];

  /** `fromRevision`: the first revision wanted, at least 1. */
  constructor(fromRevision: number) {
    assert(
      Number.isSafeInteger(fromRevision) && fromRevision >= 1,
      `a watch starts at revision 1 or later: ${fromRevision}`,
    );
    this.#next = fromRevision;
  }

  /** The first revision not yet delivered. */
  get next(): number {
    return this.#next;
  }

  /** A new stream begins: what was held back will come again. */
  restart(): void {
    this.#held = [];
  }

  /** Takes the events of a message; returns those of whole revisions not delivered before. */
  push(events: readonly WatchEvent[], isFragment: boolean): WatchEvent[] {
    const all = [...this.#held, ...events.filter((event) => event.modRevision >= this.#next)];
    const last = all.at(-1)?.modRevision ?? 0;
    const cut = isFragment ? all.findIndex((event) => event.modRevision === last) : -1;
    const whole = cut === -1 ? all : all.slice(0, cut);
    this.#held = cut === -1 ? [] : all.slice(cut);
    let previous = this.#next;
    for (const event of whole) {
      assert(event.modRevision >= previous, `etcd sent revision ${event.modRevision} after ${previous}`);
      previous = event.modRevision;
    }
    if (whole.length > 0) this.#next = previous + 1;
    return whole;
  }

  /** Everything up to `revision` has been delivered. Returns whether that is news. */
  progress(revision: number): boolean {
    if (this.#held.length > 0 || revision < this.#next) return false;
    this.#next = revision + 1;
    return true;
  }
}
