/** Pseudo-random numbers from a seed: the same seed, the same numbers. */

/** A stream of numbers (mulberry32, public domain). */
export class SimRandom {
  readonly #seed: number;
  #state: number;

  constructor(seed: number) {
    this.#seed = seed >>> 0;
    this.#state = this.#seed;
  }

  /** A stream of its own for one purpose: what is drawn from it changes nothing elsewhere. */
  fork(purpose: string): SimRandom {
    let hash = 0x811c9dc5 ^ this.#seed;
    for (let i = 0; i < purpose.length; i++) hash = Math.imul(hash ^ purpose.charCodeAt(i), 0x01000193);
    const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    return new SimRandom(mixed ^ (mixed >>> 13));
  }

  /** From 0 up to and without 1. */
  unit(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** From 0 up to and without `bound`, an integer. */
  below(bound: number): number {
    return Math.floor(this.unit() * bound);
  }

  /** From `least` up to `most`, not rounded. */
  between(least: number, most: number): number {
    return least + this.unit() * (most - least);
  }

  /** True in `percent` of cases. */
  chance(percent: number): boolean {
    return this.unit() * 100 < percent;
  }

  /** One of them; there must be one. */
  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }

  /** Time until the next of events that come every `meanMs` on average (exponential distribution), in ms. */
  wait(meanMs: number): number {
    return -Math.log(1 - this.unit()) * meanMs;
  }

  /** `bytes` bytes in hexadecimal. */
  hex(bytes: number): string {
    let text = '';
    for (let i = 0; i < bytes; i++) text += this.below(256).toString(16).padStart(2, '0');
    return text;
  }
}
