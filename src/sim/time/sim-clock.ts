/**
 * Simulated time. Nothing happens between two events, and events of one instant happen in the order they were asked
 * for: the same calls give the same run, whatever the machine does meanwhile.
 *
 * Between two events every promise callback has run. `process.nextTick` asked for in a microtask waits for the end of
 * all microtasks, those that they ask for included, and costs no turn of Node's event loop: a tenth of setImmediate.
 * Now and then there is a turn all the same, so that a signal reaches the process that simulates.
 */
import type { Clock } from '../../core/ports/clock.ts';

interface Timer {
  readonly at: number;
  readonly order: number;
  callback: (() => void) | null;
}

/** Events between two turns of Node's event loop, unless a simulation says otherwise. */
const EVENTS_PER_TURN = 4_096;

/** Unix time at which every simulation begins, in ms. */
export const EPOCH_MS = 1_700_000_000_000;

/** An event queue. Times are in ms since the beginning, kept to the microsecond. */
export class SimClock implements Clock {
  /** Events between two turns of Node's event loop. 1: work that waits for the next turn goes on after the next event. */
  eventsPerTurn = EVENTS_PER_TURN;
  readonly #heap: Timer[] = [];
  #now = 0;
  #order = 0;
  #events = 0;

  wallMs(): number {
    return EPOCH_MS + Math.floor(this.#now);
  }

  monotonicMs(): number {
    return this.#now;
  }

  /** How many events have happened. */
  get events(): number {
    return this.#events;
  }

  after(delayMs: number, callback: () => void): () => void {
    const at = Math.round((this.#now + Math.max(0, delayMs)) * 1_000) / 1_000;
    const timer: Timer = { at, order: ++this.#order, callback };
    this.#push(timer);
    return () => {
      timer.callback = null;
    };
  }

  /**
   * Lets time pass until `untilMs`, or until `over` says so after an event. What a callback throws ends the run with
   * it.
   */
  run(untilMs: number, over: () => boolean = () => false): Promise<void> {
    return new Promise((resolve, reject) => {
      const step = (): void => {
        try {
          const timer = over() ? undefined : this.#next(untilMs);
          if (timer === undefined) {
            if (!over()) this.#now = Math.max(this.#now, untilMs);
            resolve();
            return;
          }
          this.#now = timer.at;
          this.#events++;
          const { callback } = timer;
          timer.callback = null;
          callback?.();
        } catch (error) {
          reject(error);
          return;
        }
        queueMicrotask(again);
      };
      const again = (): void => {
        if (this.#events % this.eventsPerTurn === 0) setImmediate(step);
        else process.nextTick(step);
      };
      queueMicrotask(again);
    });
  }

  /** The next event that was not cancelled, taken off the queue; undefined when there is none until `untilMs`. */
  #next(untilMs: number): Timer | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.at > untilMs) return undefined;
      this.#pop();
      if (first.callback !== null) return first;
    }
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(timer);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isLater(above, timer)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    const size = heap.length;
    if (last === undefined || size === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      let below = heap[child];
      if (below === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && isLater(below, right)) {
        below = right;
        child++;
      }
      if (!isLater(last, below)) break;
      heap[i] = below;
      i = child;
    }
    heap[i] = last;
  }
}

function isLater(x: Timer, y: Timer): boolean {
  return x.at > y.at || (x.at === y.at && x.order > y.order);
}
