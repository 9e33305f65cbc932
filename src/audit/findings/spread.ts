/**
 * Finds hosts for many VMs at once. Pure and deterministic: typed arrays in, an assignment out, no clock and no
 * randomness. VMs that may go to few hosts come first, then the large ones; each goes where it leaves least free memory
 * (best fit). A VM that fits nowhere may displace others, up to three deep, within a budget counted in steps. An
 * assignment always holds; `unplaced` is no proof that there is none.
 */

/** The problem to solve. Hosts and VMs are numbers from 0. */
export interface SpreadProblem {
  /** Free memory per host, in MiB, without the VMs that are to be placed. */
  readonly freeMib: Float64Array;
  /** Hosts by falling `freeMib` (`rankHosts`); many problems can share one ranking. */
  readonly ranked: Int32Array;
  /** Memory per VM, in MiB. */
  readonly vmMib: Float64Array;
  /** Returns true if the VM may be on the host, regardless of memory and groups. */
  allows(vm: number, host: number): boolean;
  /** Returns how many hosts the VM may be on, regardless of groups: VMs with few choices come first. */
  choices(vm: number): number;
  /** VMs to place; at the beginning no host has any of them. */
  readonly toPlace: readonly number[];
  /** Groups of VMs of which at most `perHost` may be on one host. */
  readonly apart: readonly { readonly vms: readonly number[]; readonly perHost: number }[];
  /**
   * The present hosts of VMs that are not to be placed; -1: none. These VMs count for `apart`, and may be displaced if
   * `isMovable`.
   */
  readonly at: Int32Array;
  isMovable(vm: number): boolean;
}

export interface SpreadResult {
  /** Host per VM; -1: none. */
  readonly at: Int32Array;
  readonly unplaced: readonly number[];
  /** VMs that were displaced, apart from those to place. */
  readonly displaced: readonly number[];
}

const DEPTH_MAX = 3;
/** Tolerance in MiB for rounding in exports. */
const SLACK_MIB = 0.5;

/** Sorts hosts by falling free memory; the number of a host breaks ties. */
export function rankHosts(freeMib: Float64Array): Int32Array {
  const hosts = Array.from(freeMib, (_mib, host) => host);
  return Int32Array.from(hosts.toSorted((a, b) => (freeMib[b] ?? 0) - (freeMib[a] ?? 0) || a - b));
}

/** Places `toPlace`; displacing VMs may try a VM on a host at most `steps` times. */
export function spread(problem: SpreadProblem, steps = 20_000): SpreadResult {
  const search = new Search(problem, steps);
  const unplaced = search.order().filter((vm) => !search.place(vm));
  const displaced = [...search.displaced]
    .filter((vm) => problem.at[vm] !== -1 && search.at[vm] !== problem.at[vm])
    .toSorted((a, b) => a - b);
  return { at: search.at, unplaced, displaced };
}

class Search {
  readonly #problem: SpreadProblem;
  readonly #free: Float64Array;
  /** Hosts by falling free memory; the number of a host breaks ties. */
  readonly #ranked: Int32Array;
  readonly #groupsOf = new Map<number, { readonly perHost: number; readonly onHost: Map<number, number> }[]>();
  /** Built only when a VM must be displaced: most VMs of an estate are placed without. */
  #onHost: Map<number, Set<number>> | null = null;
  readonly at: Int32Array;
  readonly displaced = new Set<number>();
  #steps: number;

  constructor(problem: SpreadProblem, steps: number) {
    this.#problem = problem;
    this.#steps = steps;
    this.#free = problem.freeMib.slice();
    this.at = problem.at.slice();
    this.#ranked = problem.ranked.slice();
    for (const { vms, perHost } of problem.apart) {
      const group = { perHost, onHost: new Map<number, number>() };
      for (const vm of vms) {
        this.#groupsOf.set(vm, [...(this.#groupsOf.get(vm) ?? []), group]);
        const host = this.at[vm] ?? -1;
        if (host >= 0) group.onHost.set(host, (group.onHost.get(host) ?? 0) + 1);
      }
    }
  }

  /** Sorts the VMs: those with the fewest hosts first, then the largest. */
  order(): number[] {
    const hosts = this.#free.length;
    const rank = (vm: number): number => {
      const choices = this.#problem.choices(vm);
      return choices < hosts || this.#groupsOf.has(vm) ? choices : hosts + 1;
    };
    return this.#problem.toPlace.toSorted((a, b) => rank(a) - rank(b) || this.#sizeOf(b) - this.#sizeOf(a) || a - b);
  }

  place(vm: number): boolean {
    const host = this.#bestFit(vm, -1);
    if (host >= 0) this.#put(vm, host);
    return host >= 0 || this.#placeByDisplacing(vm, DEPTH_MAX, new Set([vm]));
  }

  #freeOf(host: number): number {
    return this.#free[host] ?? 0;
  }

  #sizeOf(vm: number): number {
    return this.#problem.vmMib[vm] ?? 0;
  }

  #residents(host: number): Set<number> {
    if (this.#onHost === null) {
      this.#onHost = new Map();
      for (const [vm, at] of this.at.entries()) if (at >= 0) this.#residents(at).add(vm);
    }
    const known = this.#onHost.get(host) ?? new Set<number>();
    this.#onHost.set(host, known);
    return known;
  }

  /** Returns the host that is left with least free memory, or -1. */
  #bestFit(vm: number, except: number): number {
    const size = this.#sizeOf(vm);
    for (let rank = this.#firstTooSmall(size) - 1; rank >= 0; rank -= 1) {
      const host = this.#ranked[rank] ?? -1;
      if (host !== except && this.#problem.allows(vm, host) && this.#isApart(vm, host)) return host;
    }
    return -1;
  }

  /** Returns how many hosts of the ranking have room. */
  #firstTooSmall(size: number): number {
    let low = 0;
    let high = this.#ranked.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#freeOf(this.#ranked[middle] ?? 0) + SLACK_MIB >= size) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #isApart(vm: number, host: number): boolean {
    return (this.#groupsOf.get(vm) ?? []).every(({ perHost, onHost }) => (onHost.get(host) ?? 0) < perHost);
  }

  #put(vm: number, host: number): void {
    this.#move(vm, host, -1);
    this.at[vm] = host;
    if (this.#onHost !== null) this.#residents(host).add(vm);
  }

  #take(vm: number): void {
    const host = this.at[vm] ?? -1;
    this.#move(vm, host, 1);
    this.at[vm] = -1;
    this.#onHost?.get(host)?.delete(vm);
  }

  /** Changes a host's free memory by the VM's, and updates the ranking and the groups. */
  #move(vm: number, host: number, sign: 1 | -1): void {
    for (const { onHost } of this.#groupsOf.get(vm) ?? []) onHost.set(host, (onHost.get(host) ?? 0) - sign);
    let rank = this.#ranked.indexOf(host);
    this.#free[host] = this.#freeOf(host) + sign * this.#sizeOf(vm);
    const isBefore = (a: number, b: number): boolean =>
      this.#freeOf(a) > this.#freeOf(b) || (this.#freeOf(a) === this.#freeOf(b) && a < b);
    for (; rank > 0 && isBefore(host, this.#ranked[rank - 1] ?? host); rank -= 1)
      this.#ranked[rank] = this.#ranked[rank - 1] ?? host;
    for (; rank + 1 < this.#ranked.length && isBefore(this.#ranked[rank + 1] ?? host, host); rank += 1)
      this.#ranked[rank] = this.#ranked[rank + 1] ?? host;
    this.#ranked[rank] = host;
  }

  /** Makes room for a VM by moving one other VM away; that VM may displace a further one, and so on. */
  #placeByDisplacing(vm: number, depth: number, moving: ReadonlySet<number>): boolean {
    if (depth === 0) return false;
    for (const host of [...this.#ranked]) {
      if (!this.#problem.allows(vm, host)) continue;
      for (const other of this.#candidates(vm, host, moving)) {
        if (this.#steps <= 0) return false;
        this.#steps -= 1;
        if (this.#swap(vm, host, other, depth, moving)) return true;
      }
    }
    return false;
  }

  #candidates(vm: number, host: number, moving: ReadonlySet<number>): readonly number[] {
    const missing = this.#sizeOf(vm) - this.#freeOf(host) - SLACK_MIB;
    const placed = (other: number): boolean => this.#problem.at[other] === -1 || this.#problem.isMovable(other);
    return [...this.#residents(host)]
      .filter((other) => !moving.has(other) && placed(other) && this.#sizeOf(other) >= missing)
      .toSorted((a, b) => this.#sizeOf(a) - this.#sizeOf(b) || a - b);
  }

  #swap(vm: number, host: number, other: number, depth: number, moving: ReadonlySet<number>): boolean {
    this.#take(other);
    if (this.#isApart(vm, host)) {
      this.#put(vm, host);
      const elsewhere = this.#bestFit(other, host);
      if (elsewhere >= 0) this.#put(other, elsewhere);
      if (elsewhere >= 0 || this.#placeByDisplacing(other, depth - 1, new Set([...moving, other]))) {
        this.displaced.add(other);
        return true;
      }
      this.#take(vm);
    }
    this.#put(other, host);
    return false;
  }
}
