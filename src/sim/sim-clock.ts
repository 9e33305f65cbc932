/**
 * Simulated time. Nothing happens between two events, and events of one instant happen in the order they were asked for: the same
 * calls give the same run, whatever the machine does meanwhile.
 */
import type { Clock } from '../core/ports/clock.ts';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

/** Unix time at which every simulation begins, in ms. */
const EPOCH_MS = 1_700_000_000_000;

/** An event queue. `settle` must resolve when no promise callback is left to run (setImmediate does that in Node). */
export class SimClock implements Clock {
  readonly #settle: () => Promise<void>;
  readonly #heap: Timer[] = [];
  readonly #cancelled = new Set<number>();
  #now = 0;
  #order = 0;

  constructor(settle: () => Promise<void>) {
    this.#settle = settle;
  }

  wallMs(): number {
    return EPOCH_MS + this.#now;
  }

  monotonicMs(): number {
    return this.#now;
  }

  after(delayMs: number, callback: () => void): () => void {
    const order = ++this.#order;
    this.#push({ at: this.#now + Math.max(0, Math.round(delayMs)), order, callback });
    return () => void this.#cancelled.add(order);
  }

  /** Lets time pass until `untilMs`, or until `over` says so after an event. */
  async run(untilMs: number, over: () => boolean = () => false): Promise<void> {
    await this.#settle();
    for (let next = this.#heap[0]; next !== undefined && next.at <= untilMs; next = this.#heap[0]) {
      this.#pop();
      if (this.#cancelled.delete(next.order)) continue;
      this.#now = next.at;
      next.callback();
      await this.#settle();
      if (over()) return;
    }
    this.#now = untilMs;
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    heap.push(timer);
    for (let i = heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (!this.#swapIfLater(parent, i)) break;
      i = parent;
    }
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    heap[0] = last;
    for (let i = 0; ; ) {
      const left = 2 * i + 1;
      const first = left + 1 < heap.length && this.#isLater(left, left + 1) ? left + 1 : left;
      if (first >= heap.length || !this.#swapIfLater(i, first)) break;
      i = first;
    }
  }

  #isLater(a: number, b: number): boolean {
    const [x, y] = [this.#heap[a], this.#heap[b]];
    return x !== undefined && y !== undefined && (x.at > y.at || (x.at === y.at && x.order > y.order));
  }

  #swapIfLater(parent: number, child: number): boolean {
    const [x, y] = [this.#heap[parent], this.#heap[child]];
    if (x === undefined || y === undefined || !this.#isLater(parent, child)) return false;
    this.#heap[parent] = y;
    this.#heap[child] = x;
    return true;
  }
}

/** Pseudo-random numbers from a seed (mulberry32, public domain): the same seed, the same numbers. */
export class SimRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to and without `bound`, an integer. */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4_294_967_296) * bound);
  }

  /** True in `percent` of cases. */
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}
