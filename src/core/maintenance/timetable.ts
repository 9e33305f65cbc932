/**
 * The predicted run of the moves of one wave: what is held when, which moves began, which ended. Used by schedule.ts.
 */
import type { Journey, Schedule } from './journey.ts';
import type { Layout } from './layout.ts';
import type { Model } from './model.ts';
import { moveTime } from './move-time.ts';
import type { PlannedMove, PlanStep } from './plan.ts';
import { TokenPool } from './token-pool.ts';

/** The kind of thing that a pool counts; with a number, its key. */
const KEYS = { memory: 0, cpu: 1, lane: 2, link: 3, group: 4, cluster: 5 } as const;

interface Demand {
  readonly pool: TokenPool;
  readonly amount: number;
}

interface Running {
  readonly journey: Journey;
  readonly id: number;
  readonly endsAtMs: number;
  readonly lanes: readonly Demand[];
}

/** See the module's comment. */
export class Timetable {
  readonly #layout: Layout;
  readonly #model: Model;
  readonly #firstId: number;
  readonly #moved: readonly number[];
  readonly #pools: readonly Map<number, TokenPool>[] = Object.values(KEYS).map(() => new Map<number, TokenPool>());
  readonly #links: ReadonlyMap<string, number>;
  readonly #held = new Map<number, number>();
  readonly #moves: PlannedMove[] = [];
  readonly #lastOf = new Map<number, number>();
  readonly #steps: PlanStep[] = [];
  #running: Running[] = [];
  #begun: Running[] = [];
  #ended: Running[] = [];
  #nowMs = 0;

  constructor(layout: Layout, { moved, firstId }: { readonly moved: readonly number[]; readonly firstId: number }) {
    this.#layout = layout;
    this.#moved = moved;
    this.#model = layout.model;
    this.#firstId = firstId;
    this.#links = new Map(this.#model.policy.links.map(({ name }, number) => [name, number]));
  }

  /** True when no move runs. */
  get isIdle(): boolean {
    return this.#running.length === 0;
  }

  /** Returns true if the move can begin now. */
  canBegin(journey: Journey): boolean {
    return this.#demands(journey).every(({ pool, amount }) => pool.has(amount));
  }

  /** Begins the move; false if it cannot begin now. */
  begin(journey: Journey): boolean {
    const lanes = this.#lanes(journey);
    const room = this.#room(journey);
    const { vm, from, to, why } = journey;
    if (this.#running.some((running) => running.journey.vm === vm)) return false;
    if (![...lanes, ...room].every(({ pool, amount }) => pool.has(amount))) return false;
    const after = new Set<number>();
    for (const { pool, amount } of [...lanes, ...room]) pool.take(amount, after);
    const before = this.#lastOf.get(vm);
    if (before !== undefined) after.add(before);
    const id = this.#firstId + this.#moves.length;
    const record = this.#model.vmAt(vm);
    const hosts = [this.#model.hostAt(from), this.#model.hostAt(to)] as const;
    const { durationMs, converges } = moveTime(this.#model.policy, { vm: record, hosts });
    this.#moves.push({
      id,
      vm: record.id,
      name: record.name,
      from: hosts[0].name,
      to: hosts[1].name,
      after: [...after].toSorted((a, b) => a - b),
      why,
      memoryMib: record.memoryMib,
      startsAtMs: this.#nowMs,
      durationMs,
      pauseMs: record.pauseMs,
      converges,
    });
    const running = { journey, id, endsAtMs: this.#nowMs + durationMs, lanes };
    this.#running.push(running);
    this.#begun.push(running);
    this.#lastOf.set(vm, id);
    this.#held.set(to, this.#heldOn(to) + record.memoryMib);
    return true;
  }

  /** Goes on to the next moment at which a move ends; returns the second legs of those that ended on a third host. */
  advance(): Journey[] {
    if (this.#running.length === 0) return [];
    this.#note();
    this.#nowMs = Math.min(...this.#running.map(({ endsAtMs }) => endsAtMs));
    this.#ended = this.#running.filter(({ endsAtMs }) => endsAtMs === this.#nowMs);
    this.#running = this.#running.filter(({ endsAtMs }) => endsAtMs > this.#nowMs);
    const next: Journey[] = [];
    for (const { journey, id, lanes } of this.#ended) {
      const { vm, from, to, onward } = journey;
      for (const { pool, amount } of lanes) pool.give(amount, id);
      for (const { pool, amount } of this.#room({ ...journey, from: to, to: from })) pool.give(amount, id);
      this.#held.set(from, this.#heldOn(from) - (this.#model.mibOf[vm] ?? 0));
      if (onward !== undefined) next.push({ vm, from: to, ...onward });
    }
    return next;
  }

  /** Lets all moves end. */
  finish(): Schedule {
    while (this.#running.length > 0) this.advance();
    this.#note();
    return { moves: this.#moves, steps: this.#steps, durationMs: this.#nowMs };
  }

  /** Writes down what began and ended at this moment. */
  #note(): void {
    if (this.#begun.length === 0 && this.#ended.length === 0) return;
    const touched = [...this.#begun, ...this.#ended].flatMap(({ journey }) => [journey.from, journey.to]);
    this.#steps.push({
      atMs: this.#nowMs,
      begins: this.#begun.map(({ id }) => id),
      ends: this.#ended.map(({ id }) => id),
      memory: [...new Set(touched)]
        .toSorted((a, b) => a - b)
        .map((host) => ({ host: this.#model.hostAt(host).name, heldMib: this.#heldOn(host) })),
    });
    this.#begun = [];
    this.#ended = [];
  }

  #demands(journey: Journey): Demand[] {
    return [...this.#lanes(journey), ...this.#room(journey)];
  }

  /**
   * The links and limits that a move uses while it runs: both hosts and their links, and one disturbance of its guest
   * cluster.
   */
  #lanes({ vm, from, to }: Journey): Demand[] {
    const { policy, clusters, groups } = this.#model;
    const demands = [from, to].map((host) => this.#demand('lane', host, () => policy.movesPerHost));
    const links = [from, to].map((host) => this.#links.get(this.#model.hostAt(host).link ?? '') ?? -1);
    for (const link of new Set(links))
      if (link >= 0) demands.push(this.#demand('link', link, () => policy.links[link]?.movesMax ?? 1));
    const cluster = groups.clusterOf.get(vm);
    const record = clusters[cluster ?? -1];
    // A member that people stopped or paused is disturbed already: moving it disturbs no more.
    if (cluster !== undefined && record !== undefined && !record.disturbed.includes(this.#model.vmAt(vm).id))
      demands.push(this.#demand('cluster', cluster, () => record.maxDisturbed - record.disturbed.length));
    return demands;
  }

  /** The room that a VM takes on `to` and does not have on `from`: memory, vCPUs, a place of each hard rule. */
  #room({ vm, from, to }: Journey): Demand[] {
    const { mibOf, cpuOf, groups, rackOf } = this.#model;
    const demands = [
      this.#demand('memory', to, () => this.#freeAtFirst(to).mib, mibOf[vm] ?? 0),
      this.#demand('cpu', to, () => this.#freeAtFirst(to).cpu, cpuOf[vm] ?? 0),
    ];
    for (const number of groups.apartOf.get(vm) ?? []) {
      const group = groups.apart[number];
      if (group === undefined || !group.hard) continue;
      const place = (host: number): number => (group.byRack ? (rackOf[host] ?? -1) : host);
      if (place(from) === place(to)) continue;
      const key = number * 65_536 + place(to);
      demands.push(this.#demand('group', key, () => group.most - this.#countAtFirst(number, place(to))));
    }
    return demands;
  }

  #demand(of: keyof typeof KEYS, number: number, atFirst: () => number, amount = 1): Demand {
    const pools = this.#pools[KEYS[of]];
    let pool = pools?.get(number);
    if (pool === undefined) {
      pool = new TokenPool(atFirst());
      pools?.set(number, pool);
    }
    return { pool, amount };
  }

  /** Memory and vCPUs that were free when the wave began. */
  #freeAtFirst(host: number): { mib: number; cpu: number } {
    const { at, base, free, cpu } = this.#layout;
    const { mibOf, cpuOf } = this.#model;
    const found = { mib: free[host] ?? 0, cpu: cpu[host] ?? 0 };
    for (const vm of this.#moved) {
      const sign = Number(at[vm] === host) - Number(base[vm] === host);
      found.mib += sign * (mibOf[vm] ?? 0);
      found.cpu += sign * (cpuOf[vm] ?? 0);
    }
    return found;
  }

  #countAtFirst(number: number, place: number): number {
    const { at, base } = this.#layout;
    const group = this.#model.groups.apart[number];
    const placeOf = (host: number): number => (group?.byRack === true ? (this.#model.rackOf[host] ?? -1) : host);
    let count = this.#layout.countOf(number, place);
    for (const vm of group?.vms ?? [])
      count += Number(placeOf(base[vm] ?? -1) === place) - Number(placeOf(at[vm] ?? -1) === place);
    return count;
  }

  #heldOn(host: number): number {
    const known = this.#held.get(host);
    if (known !== undefined) return known;
    const { memoryMib, claimedMib } = this.#model.hostAt(host);
    return memoryMib - claimedMib - this.#freeAtFirst(host).mib;
  }
}
