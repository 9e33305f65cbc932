/**
 * Finds a place for every VM in hand. VMs with the fewest choices come first, then the largest; each goes where it
 * leaves the least free memory. If no host has room, others are displaced: for each host the cheapest set that makes
 * room, each member of which goes elsewhere, up to three deep. Deterministic: a budget counts attempts, not time.
 * Guarantee: a returned placement keeps the constraints (layout.ts). A search without a result proves nothing. Each VM,
 * and each attempt at displacing others, is a piece of the work.
 */
import { type Layout, placeIn } from './layout.ts';

const DEPTH_MAX = 3;
/**
 * Hosts of each kind that are looked at for a displacement, and of those the cheapest that are tried, by depth left.
 */
const LOOKED_AT = 48;
const TRIED: readonly number[] = [0, 6, 12, 24];

/** The moves that a search may make besides placing the VMs in hand. */
export interface SearchOptions {
  /** Returns true if a lead that is on a host may be displaced. */
  readonly isMovable: (lead: number) => boolean;
  /** Attempts that displacing may take. */
  readonly budget: Budget;
  /**
   * True: a VM goes only where there is room at that moment, so that the placements can be carried out in that order.
   * False finds more, and may leave VMs that wait for each other.
   */
  readonly inSequence: boolean;
}

/** Attempts that are left; shared by the searches of one plan. */
export interface Budget {
  steps: number;
}

interface Displacement {
  readonly host: number;
  readonly leads: readonly number[];
  readonly mib: number;
}

/**
 * Places the leads elsewhere; returns those that found no place. Unless it goes in sequence, all are taken in hand
 * first. Nothing else may use the layout before the end.
 */
export function* placeAll(layout: Layout, leads: readonly number[], options: SearchOptions): Generator<void, number[]> {
  const search = new Search(layout, options);
  const unplaced: number[] = [];
  const families = familiesOf(layout, leads);
  // After the first VM without a place there is no plan: the others are placed only to name those without one.
  const placed = new Set<number>();
  if (!options.inSequence) for (const lead of leads) layout.take(lead);
  for (const lead of inOrder(layout, leads)) {
    if (placed.has(lead)) continue;
    const family = families.get(lead);
    if (family !== undefined && (yield* search.placeFamily(family)))
      for (const member of family.leads) placed.add(member);
    else if (!(yield* search.place(lead, unplaced.length === 0))) unplaced.push(lead);
    yield;
  }
  return unplaced;
}

/** Sorts leads: those with the fewest hosts first, then the largest; the number breaks ties. */
function inOrder(layout: Layout, leads: readonly number[]): number[] {
  const { groups, hosts } = layout.model;
  const ranks = new Map(
    leads.map((lead) => {
      const choices = layout.choices(lead);
      const isRuled = layout.bundle(lead).some((vm) => groups.apartOf.has(vm) || groups.togetherOf.has(vm));
      return [lead, isRuled ? choices : choices + hosts.length];
    }),
  );
  const rank = (lead: number): number => ranks.get(lead) ?? 0;
  const size = (lead: number): number => layout.mib[lead] ?? 0;
  return leads.toSorted((a, b) => rank(a) - rank(b) || size(b) - size(a) || a - b);
}

interface Family {
  readonly group: number;
  readonly leads: readonly number[];
}

/**
 * Leads that must go to one rack together: all of their group are to be placed, so that the first that is placed
 * decides for all.
 */
function familiesOf(layout: Layout, leads: readonly number[]): Map<number, Family> {
  const { together, togetherOf } = layout.model.groups;
  const found = new Map<number, Family>();
  const toPlace = new Set(leads);
  for (const lead of leads) {
    for (const vm of layout.bundle(lead)) {
      for (const group of togetherOf.get(vm) ?? []) {
        const { hard = false, vms = [] } = together[group] ?? {};
        if (!hard || vms.some((one) => !toPlace.has(layout.lead(one)))) continue;
        const members = [...new Set(vms.map((one) => layout.lead(one)))];
        for (const member of members) found.set(member, { group, leads: members });
      }
    }
  }
  return found;
}

class Search {
  readonly #layout: Layout;
  readonly #isMovable: (lead: number) => boolean;
  readonly #budget: Budget;
  readonly #inSequence: boolean;
  /** VMs that the present chain has placed: they stay there. */
  readonly #settled = new Set<number>();

  constructor(layout: Layout, { isMovable, budget, inSequence }: SearchOptions) {
    this.#layout = layout;
    this.#isMovable = isMovable;
    this.#budget = budget;
    this.#inSequence = inSequence;
  }

  /** Places one lead, displacing others where it must and may. */
  place(lead: number, mayDisplace: boolean): Generator<void, boolean> {
    return this.#placeFrom(lead, -1, mayDisplace ? DEPTH_MAX : 0);
  }

  /** Places all of a family in one rack: the roomiest rack is tried first. */
  *placeFamily({ group, leads }: Family): Generator<void, boolean> {
    const layout = this.#layout;
    const room = new Map<number, number>();
    for (const [host, rack] of layout.model.rackOf.entries())
      if (layout.isOpen(host)) room.set(rack, (room.get(rack) ?? 0) + (layout.free[host] ?? 0));
    const racks = [...room].toSorted(([a, roomA], [b, roomB]) => roomB - roomA || a - b);
    for (const [rack] of racks) {
      const mark = layout.mark();
      for (const lead of leads) layout.take(lead);
      layout.rackFor.set(group, rack);
      let isPlaced = true;
      for (const lead of inOrder(layout, leads)) {
        isPlaced = yield* this.place(lead, true);
        if (!isPlaced) break;
      }
      layout.rackFor.delete(group);
      if (isPlaced) return true;
      layout.undo(mark);
    }
    return false;
  }

  *#placeFrom(lead: number, except: number, depth: number): Generator<void, boolean> {
    const host = this.#layout.bestFit(lead, except);
    if (host < 0) return depth > 0 && (yield* this.#placeByDisplacing(lead, except, depth));
    this.#layout.put(lead, host);
    return true;
  }

  *#placeByDisplacing(lead: number, except: number, depth: number): Generator<void, boolean> {
    const layout = this.#layout;
    const found: Displacement[] = [];
    for (const host of layout.roomiest(lead, LOOKED_AT)) {
      const displacement = host === except ? null : this.#cheapest(lead, host);
      if (displacement !== null) found.push(displacement);
    }
    found.sort((a, b) => a.mib - b.mib || a.leads.length - b.leads.length || a.host - b.host);
    for (const displacement of found.slice(0, TRIED[depth])) {
      if (this.#budget.steps <= 0) return false;
      this.#budget.steps -= 1;
      yield;
      if (yield* this.#displace(lead, displacement, depth)) return true;
    }
    return false;
  }

  *#displace(lead: number, { host, leads }: Displacement, depth: number): Generator<void, boolean> {
    const layout = this.#layout;
    const mark = layout.mark();
    const bySize = leads.toSorted((a, b) => (layout.mib[b] ?? 0) - (layout.mib[a] ?? 0) || a - b);
    this.#settled.add(lead);
    if (!this.#inSequence) for (const other of leads) layout.take(other);
    const isRoomMade = (!this.#inSequence || (yield* this.#sendAway(bySize, host, depth))) && layout.holds(lead, host);
    if (isRoomMade) layout.put(lead, host);
    const isDone = isRoomMade && (this.#inSequence || (yield* this.#sendAway(bySize, host, depth)));
    this.#settled.delete(lead);
    if (!isDone) layout.undo(mark);
    return isDone;
  }

  /** Places the leads anywhere but on the host; false as soon as one of them finds no place. */
  *#sendAway(leads: readonly number[], host: number, depth: number): Generator<void, boolean> {
    for (const lead of leads) if (!(yield* this.#placeFrom(lead, host, depth - 1))) return false;
    return true;
  }

  /** The set of VMs on the host that makes room for the lead and costs the least memory to move; null: none. */
  #cheapest(lead: number, host: number): Displacement | null {
    const layout = this.#layout;
    const blockers = this.#blockers(lead, host);
    if (blockers === null) return null;
    let mib = (layout.mib[lead] ?? 0) - (layout.free[host] ?? 0);
    let cpu = (layout.vcpus[lead] ?? 0) - (layout.cpu[host] ?? 0);
    for (const other of blockers) {
      mib -= layout.mib[other] ?? 0;
      cpu -= layout.vcpus[other] ?? 0;
    }
    const more = mib <= 0 && cpu <= 0 ? [] : this.#smallestSet(host, { mib, cpu, not: blockers });
    if (more === null) return null;
    const leads = [...blockers, ...more];
    return { host, leads, mib: leads.reduce((sum, other) => sum + this.#cost(other), 0) };
  }

  /** The memory that must be copied when a lead moves: none if it is on its way anyhow. */
  #cost(lead: number): number {
    const { at, base, mib } = this.#layout;
    return at[lead] === base[lead] ? (mib[lead] ?? 0) : 0;
  }

  #canGo(lead: number): boolean {
    return !this.#settled.has(lead) && this.#isMovable(lead);
  }

  /**
   * Returns the VMs that a rule keeps the lead apart from on this host, or as many as are too many; null if one cannot
   * go.
   */
  #blockers(lead: number, host: number): number[] | null {
    const layout = this.#layout;
    const { apart, apartOf } = layout.model.groups;
    const found = new Set<number>();
    for (const vm of layout.bundle(lead)) {
      for (const number of apartOf.get(vm) ?? []) {
        const group = apart[number];
        if (group === undefined || !group.hard) continue;
        if (layout.isCounted(vm, host, group)) continue;
        let tooMany = layout.countOf(number, placeIn(layout.model, group, host)) - group.most + 1;
        if (tooMany <= 0) continue;
        const there = group.vms
          .filter((one) => layout.at[one] === host && this.#canGo(layout.lead(one)))
          .map((one) => layout.lead(one))
          .toSorted((a, b) => this.#cost(a) - this.#cost(b) || a - b);
        for (const other of there) {
          if (tooMany <= 0) break;
          found.add(other);
          tooMany -= 1;
        }
        if (tooMany > 0) return null;
      }
    }
    return [...found];
  }

  /**
   * Returns the cheapest of: one VM that is large enough, two that are together, or the largest ones until it is
   * enough.
   */
  #smallestSet(host: number, { mib, cpu, not }: { mib: number; cpu: number; not: readonly number[] }): number[] | null {
    const layout = this.#layout;
    const size = (lead: number): number => layout.mib[lead] ?? 0;
    const cpus = (lead: number): number => layout.vcpus[lead] ?? 0;
    const there = [...layout.residents(host)]
      .filter((lead) => !not.includes(lead) && this.#canGo(lead))
      .toSorted((a, b) => size(a) - size(b) || a - b);
    let best: number[] | null = null;
    let bestCost = Number.POSITIVE_INFINITY;
    const consider = (leads: number[]): void => {
      const cost = leads.reduce((sum, lead) => sum + this.#cost(lead), 0);
      if (cost < bestCost) [best, bestCost] = [leads, cost];
    };
    const one = there.find((lead) => size(lead) >= mib && cpus(lead) >= cpu);
    if (one !== undefined) consider([one]);
    let high = there.length - 1;
    for (let low = 0; low < high; low += 1) {
      const a = there[low] ?? -1;
      while (high - 1 > low && size(a) + size(there[high - 1] ?? -1) >= mib) high -= 1;
      const b = there[high] ?? -1;
      if (size(a) + size(b) >= mib && cpus(a) + cpus(b) >= cpu) consider([a, b]);
    }
    if (best === null) {
      const set: number[] = [];
      let [mibLeft, cpuLeft] = [mib, cpu];
      for (const lead of there.toReversed()) {
        if (mibLeft <= 0 && cpuLeft <= 0) break;
        set.push(lead);
        mibLeft -= size(lead);
        cpuLeft -= cpus(lead);
      }
      if (mibLeft <= 0 && cpuLeft <= 0) consider(set);
    }
    return best;
  }
}
