/**
 * Order among writes that overlap. Guarantees: work that is `exclusive` (COMPARE AND WRITE, ORWRITE) overlaps in time
 * with no other work on its blocks; work is let in by order of arrival, so no command waits for ever; ordinary writes
 * cost nothing while no work is exclusive.
 */

interface Held {
  readonly lba: number;
  readonly end: number;
  readonly isExclusive: boolean;
  readonly done: Promise<unknown>;
}

/** The blocks that the work is about. */
export interface GateRange {
  readonly lba: number;
  readonly count: number;
  readonly isExclusive: boolean;
}

const nothing = (): undefined => undefined;

/** One per logical unit. */
export class RangeGate {
  readonly #held = new Set<Held>();
  #exclusiveCount = 0;

  /** Runs `work` as soon as nothing conflicting is in flight: at once if possible. */
  run<T>(range: GateRange, work: () => T | Promise<T>): T | Promise<T> {
    const end = range.lba + range.count;
    const waits = this.#conflicts(range, end);
    const result = waits.length === 0 ? work() : Promise.all(waits).then(work);
    if (!(result instanceof Promise)) return result;
    const held: Held = {
      lba: range.lba,
      end,
      isExclusive: range.isExclusive,
      done: result.then(nothing, nothing).then(() => this.#leave(held)),
    };
    this.#held.add(held);
    if (range.isExclusive) this.#exclusiveCount += 1;
    return result;
  }

  #conflicts(range: GateRange, end: number): Promise<unknown>[] {
    if (!range.isExclusive && this.#exclusiveCount === 0) return [];
    const waits: Promise<unknown>[] = [];
    for (const held of this.#held)
      if ((range.isExclusive || held.isExclusive) && held.lba < end && range.lba < held.end) waits.push(held.done);
    return waits;
  }

  #leave(held: Held): void {
    this.#held.delete(held);
    if (held.isExclusive) this.#exclusiveCount -= 1;
  }
}
