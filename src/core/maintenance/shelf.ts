/**
 * Hosts of one kind by rising free memory; the host's number breaks ties. The owner takes a host off before its free
 * memory changes.
 */

/** See the module's comment. */
export class Shelf {
  readonly #free: Float64Array;
  readonly #hosts: number[];

  constructor(free: Float64Array, hosts: readonly number[]) {
    this.#free = free;
    this.#hosts = hosts.toSorted((a, b) => this.#freeOf(a) - this.#freeOf(b) || a - b);
  }

  get size(): number {
    return this.#hosts.length;
  }

  /** Puts a host in its place. */
  add(host: number): void {
    this.#hosts.splice(this.#placeOf(this.#freeOf(host), host), 0, host);
  }

  /** Takes a host off. */
  remove(host: number): void {
    const place = this.#placeOf(this.#freeOf(host), host);
    if (this.#hosts[place] !== host) throw new Error(`Host ${host} is not where its free memory puts it.`);
    this.#hosts.splice(place, 1);
  }

  /** Returns the host with the least free memory of at least `mib` that `fits`, or -1. */
  tightest(mib: number, fits: (host: number) => boolean): number {
    for (let place = this.#placeOf(mib, -1); place < this.#hosts.length; place += 1) {
      const host = this.#hosts[place] ?? -1;
      if (fits(host)) return host;
    }
    return -1;
  }

  /** Returns the hosts with the most free memory that `fits`, at most `most`, the roomiest first. */
  roomiest(most: number, fits: (host: number) => boolean): number[] {
    const found: number[] = [];
    for (let place = this.#hosts.length - 1; place >= 0 && found.length < most; place -= 1) {
      const host = this.#hosts[place] ?? -1;
      if (fits(host)) found.push(host);
    }
    return found;
  }

  #freeOf(host: number): number {
    return this.#free[host] ?? 0;
  }

  /** The first place whose host does not come before (`mib`, `host`). */
  #placeOf(mib: number, host: number): number {
    let low = 0;
    let high = this.#hosts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const there = this.#hosts[middle] ?? -1;
      const free = this.#freeOf(there);
      if (free < mib || (free === mib && there < host)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
