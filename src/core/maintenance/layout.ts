/**
 * Tracks which VM is on which host during a search for a plan: VMs are taken in hand and put on hosts, and everything
 * can be undone to a mark. Hosts of one kind stand on a shelf, by rising free memory, so that the tightest fit is found
 * without looking at every host.
 * VMs of one bundle go together: the first of them, the lead, stands for all. Guarantee: a VM that is put on a host
 * keeps every hard constraint there; VMs that were there before may break a rule already.
 */
import type { Model } from './model.ts';
import type { ApartGroup } from './rule-groups.ts';
import { Shelf } from './shelf.ts';

/**
 * The hosts that a search fills first: those whose maintenance is over, then all others. Hosts on no shelf take no VM.
 */
type Tier = 0 | 1;

/** A lead that went from one host to another; -1: in hand. */
export interface Put {
  readonly lead: number;
  readonly from: number;
  readonly to: number;
}

/** See the module's comment. */
export class Layout {
  readonly model: Model;
  /** Host by VM; -1: in hand. */
  readonly at: Int32Array;
  /** Host by VM when the wave began. */
  readonly base: Int32Array;
  readonly free: Float64Array;
  readonly cpu: Float64Array;
  /** Memory and vCPUs by lead; what a VM that is no lead has is its lead's. */
  readonly mib: Float64Array;
  readonly vcpus: Float64Array;
  /** Release by host, as it is after the waves so far. */
  readonly kind: Int32Array;
  /** The rack to which VMs that must share a rack go, by group, while none of them has a place. */
  readonly rackFor = new Map<number, number>();
  /** Leads that restart from their disks, on whichever host: the host where they ran does not matter. */
  restarting: ReadonlySet<number> = new Set();
  readonly #tier: Int8Array;
  /** VMs that are on their way to a host and count as there, each with the host that it comes from. */
  readonly #arriving = new Map<number, number>();
  /** VMs that were on their way when the snapshot was made, and have arrived in an earlier wave. */
  readonly #arrived = new Set<number>();
  readonly #shelves = new Map<number, Shelf>();
  readonly #residents: (Set<number> | undefined)[] = [];
  readonly #counts = new Map<number, Int16Array>();
  #journal: Put[] = [];

  constructor(model: Model) {
    this.model = model;
    this.at = Int32Array.from(model.atOf);
    this.base = this.at.slice();
    this.free = Float64Array.from(model.freeMib);
    this.cpu = Float64Array.from(model.freeCpu);
    this.mib = Float64Array.from(model.mibOf);
    this.vcpus = Float64Array.from(model.cpuOf);
    this.kind = Int32Array.from(model.kindOf);
    for (const [lead, vms] of model.groups.bundles) {
      this.mib[lead] = vms.reduce((sum, vm) => sum + (model.mibOf[vm] ?? 0), 0);
      this.vcpus[lead] = vms.reduce((sum, vm) => sum + (model.cpuOf[vm] ?? 0), 0);
    }
    this.#tier = Int8Array.from(model.hosts, ({ state }) => (state === 'in-service' ? 1 : -1));
    const byKind = Map.groupBy(this.#tier.keys(), (host) => (this.isOpen(host) ? (this.kind[host] ?? 0) : -1));
    for (const [kind, hosts] of byKind) if (kind >= 0) this.#shelves.set(kind * 2 + 1, new Shelf(this.free, hosts));
  }

  /** Returns true if the host may take VMs. */
  isOpen(host: number): boolean {
    return (this.#tier[host] ?? -1) >= 0;
  }

  /** The tier of a host; null: it takes no VM. */
  tierOf(host: number): Tier | null {
    const tier = this.#tier[host] ?? -1;
    return tier === 0 || tier === 1 ? tier : null;
  }

  /** Takes the host off its shelf: it takes no VM from now on. */
  close(host: number): void {
    if (!this.isOpen(host)) return;
    this.#shelfOf(host).remove(host);
    this.#tier[host] = -1;
  }

  /** Puts a host back among those that take VMs; `kind`: its kind from now on. */
  reopen(host: number, { tier, kind }: { readonly tier: Tier; readonly kind: number }): void {
    this.close(host);
    this.#tier[host] = tier;
    this.kind[host] = kind;
    this.#shelfOf(host).add(host);
  }

  /** Ends a wave: the next wave begins with the present places of VMs, and arriving VMs have left their old hosts. */
  rebase(): void {
    this.base.set(this.at);
    this.#journal.length = 0;
    for (const [vm, from] of this.#arriving) {
      if (from >= 0) this.#free(vm, from, 1);
      if (from >= 0) this.#count(vm, from, -1);
      this.#arrived.add(vm);
    }
    this.#arriving.clear();
  }

  /** The VMs that go with a lead, itself included. */
  bundle(lead: number): readonly number[] {
    return this.model.groups.bundles.get(lead) ?? [lead];
  }

  /** The lead that stands for a VM. */
  lead(vm: number): number {
    return this.model.groups.leadOf.get(vm) ?? vm;
  }

  /** The leads on a host. */
  residents(host: number): ReadonlySet<number> {
    return this.#residentsOf(host);
  }

  /** Returns true if the VM was on its way in the snapshot and counts as having arrived. */
  countsAsArrived(vm: number): boolean {
    return this.#arriving.has(vm) || this.#arrived.has(vm);
  }

  /**
   * Treats a VM that is moving to `host` as arrived there: its next move begins there. Its room on the old host stays
   * taken. Not in the journal: `leaveAgain` takes it back. The VM goes with no other.
   */
  arrive(vm: number, host: number): void {
    this.#arriving.set(vm, this.at[vm] ?? -1);
    this.#relocate(vm, host);
  }

  /** Takes `arrive` back. */
  leaveAgain(vm: number): void {
    this.#relocate(vm, this.#arriving.get(vm) ?? -1);
    this.#arriving.delete(vm);
  }

  /** A mark that `undo` goes back to. */
  mark(): number {
    return this.#journal.length;
  }

  /** Takes back everything since the mark. */
  undo(mark: number): void {
    while (this.#journal.length > mark) {
      const step = this.#journal.pop();
      if (step !== undefined) this.#shift(step.lead, step.from);
    }
  }

  /** The changes since the mark, in order. */
  since(mark: number): readonly Put[] {
    return this.#journal.slice(mark);
  }

  /** Forgets that leads went somewhere and came back since the mark. */
  forget(mark: number, leads: ReadonlySet<number>): void {
    this.#journal = [...this.#journal.slice(0, mark), ...this.since(mark).filter(({ lead }) => !leads.has(lead))];
  }

  /** Takes a lead in hand. */
  take(lead: number): void {
    this.put(lead, -1);
  }

  /** Puts a lead on a host, or in hand (-1). */
  put(lead: number, host: number): void {
    this.#journal.push({ lead, from: this.at[lead] ?? -1, to: host });
    this.#shift(lead, host);
  }

  /** Returns true if the host could ever take the lead, however full it is now. */
  suits(lead: number, host: number): boolean {
    return this.isOpen(host) && this.#isKindFit(lead, this.kind[host] ?? -1) && this.#isTieFit(lead, host);
  }

  /** Returns true if no hard rule or guest cluster forbids it because of other VMs. */
  agrees(lead: number, host: number): boolean {
    for (const vm of this.bundle(lead))
      if (!this.#isApartFit(vm, host, true) || !this.#isTogetherFit(vm, host, true)) return false;
    return true;
  }

  /** Returns true if no soft rule forbids it either. */
  pleases(lead: number, host: number): boolean {
    for (const vm of this.bundle(lead))
      if (!this.#isApartFit(vm, host, false) || !this.#isTogetherFit(vm, host, false)) return false;
    return true;
  }

  /** Returns true if some soft rule names a VM of the bundle. */
  hasWishes(lead: number): boolean {
    const { apart, together, apartOf, togetherOf } = this.model.groups;
    return this.bundle(lead).some(
      (vm) =>
        apartOf.get(vm)?.some((group) => apart[group]?.hard === false) === true ||
        togetherOf.get(vm)?.some((group) => together[group]?.hard === false) === true,
    );
  }

  /** Returns true if the host can take the lead now. */
  holds(lead: number, host: number): boolean {
    return (
      (this.free[host] ?? 0) >= (this.mib[lead] ?? 0) &&
      (this.cpu[host] ?? 0) >= (this.vcpus[lead] ?? 0) &&
      this.suits(lead, host) &&
      this.agrees(lead, host)
    );
  }

  /** Returns the host that is left with least free memory, or -1. Hosts that are done come first. */
  bestFit(lead: number, except: number): number {
    if (this.hasWishes(lead)) {
      const best = this.#bestFit(lead, except, true);
      if (best >= 0) return best;
    }
    return this.#bestFit(lead, except, false);
  }

  /**
   * Returns the hosts that suit a lead and are where it belongs with others, at most `most` of each kind, those with
   * the most free memory first.
   */
  roomiest(lead: number, most: number): number[] {
    const found: number[] = [];
    for (const [key, shelf] of this.#shelves) {
      if (!this.#isKindFit(lead, key >> 1)) continue;
      found.push(...shelf.roomiest(most, (host) => this.#isTieFit(lead, host) && this.#isBundleTogether(lead, host)));
    }
    return found;
  }

  /** Hosts that suit the lead, regardless of what is there: fewer choices are placed first. */
  choices(lead: number): number {
    const ties = this.#tieHosts(lead);
    if (ties !== null) return ties.filter((host) => this.suits(lead, host)).length;
    let count = 0;
    for (const [key, shelf] of this.#shelves) if (this.#isKindFit(lead, key >> 1)) count += shelf.size;
    return count;
  }

  /** Returns true if the group counts the VM where the host is: on it, or on another host of its rack. */
  isCounted(vm: number, host: number, group: ApartGroup): boolean {
    const at = this.at[vm] ?? -1;
    return at >= 0 && placeIn(this.model, group, at) === placeIn(this.model, group, host);
  }

  /** VMs of the group on the host or in the rack, those that are moving there included. */
  countOf(group: number, place: number): number {
    return this.#countsOf(group)[place] ?? 0;
  }

  #bestFit(lead: number, except: number, pleasing: boolean): number {
    const mib = this.mib[lead] ?? 0;
    const cpu = this.vcpus[lead] ?? 0;
    for (const tier of [0, 1] as const) {
      let best = -1;
      for (const [key, shelf] of this.#shelves) {
        if ((key & 1) !== tier || !this.#isKindFit(lead, key >> 1)) continue;
        const fits = (host: number): boolean =>
          host !== except &&
          (this.cpu[host] ?? 0) >= cpu &&
          this.#isTieFit(lead, host) &&
          this.agrees(lead, host) &&
          (!pleasing || this.pleases(lead, host));
        const found = shelf.tightest(mib, fits);
        if (found >= 0 && (best < 0 || this.#isTighter(found, best))) best = found;
      }
      if (best >= 0) return best;
    }
    return -1;
  }

  #isTighter(a: number, b: number): boolean {
    const less = (this.free[a] ?? 0) - (this.free[b] ?? 0);
    return less < 0 || (less === 0 && a < b);
  }

  #isKindFit(lead: number, kind: number): boolean {
    const { kinds, shapeOf } = this.model;
    for (const vm of this.bundle(lead)) if (!kinds.runs(shapeOf[vm] ?? -1, kind)) return false;
    const from = this.base[lead] ?? -1;
    return from < 0 || this.restarting.has(lead) || kinds.carries(this.kind[from] ?? -1, kind);
  }

  #isTieFit(lead: number, host: number): boolean {
    return this.#tieHosts(lead)?.includes(host) ?? true;
  }

  #tieHosts(lead: number): readonly number[] | null {
    let hosts: readonly number[] | null = null;
    for (const vm of this.bundle(lead)) {
      const tie = this.model.vms[vm]?.tie ?? null;
      if (tie === null) continue;
      const allowed = tie.hosts.map((name) => this.model.host(name));
      hosts = hosts === null ? allowed : hosts.filter((host) => allowed.includes(host));
    }
    return hosts;
  }

  #isApartFit(vm: number, host: number, hard: boolean): boolean {
    const { apart, apartOf } = this.model.groups;
    for (const number of apartOf.get(vm) ?? []) {
      const group = apart[number];
      if (group === undefined || group.hard !== hard) continue;
      if (this.isCounted(vm, host, group)) continue;
      if (this.countOf(number, placeIn(this.model, group, host)) >= group.most) return false;
    }
    return true;
  }

  #isTogetherFit(vm: number, host: number, hard: boolean): boolean {
    const { together, togetherOf } = this.model.groups;
    for (const number of togetherOf.get(vm) ?? []) {
      const group = together[number];
      if (group === undefined || group.hard !== hard) continue;
      const other = group.vms.find((one) => one !== vm && (this.at[one] ?? -1) >= 0);
      const place = (one: number): number | undefined => (group.byRack ? this.model.rackOf[one] : one);
      const wanted = other === undefined ? this.rackFor.get(number) : place(this.at[other] ?? -1);
      if (wanted !== undefined && wanted !== place(host)) return false;
    }
    return true;
  }

  #isBundleTogether(lead: number, host: number): boolean {
    return this.bundle(lead).every((vm) => this.#isTogetherFit(vm, host, true));
  }

  #shift(lead: number, host: number): void {
    const before = this.at[lead] ?? -1;
    if (before >= 0) this.#give(lead, before, 1);
    if (host >= 0) this.#give(lead, host, -1);
    for (const vm of this.bundle(lead)) {
      if (before >= 0) this.#count(vm, before, -1);
      if (host >= 0) this.#count(vm, host, 1);
      this.at[vm] = host;
    }
  }

  #relocate(vm: number, host: number): void {
    this.#residentsOf(this.at[vm] ?? -1).delete(vm);
    this.#residentsOf(host).add(vm);
    this.at[vm] = host;
    this.base[vm] = host;
  }

  #free(lead: number, host: number, sign: 1 | -1): void {
    const shelf = this.isOpen(host) ? this.#shelfOf(host) : null;
    shelf?.remove(host);
    this.free[host] = (this.free[host] ?? 0) + sign * (this.mib[lead] ?? 0);
    this.cpu[host] = (this.cpu[host] ?? 0) + sign * (this.vcpus[lead] ?? 0);
    shelf?.add(host);
  }

  #give(lead: number, host: number, sign: 1 | -1): void {
    this.#free(lead, host, sign);
    if (sign === 1) this.#residentsOf(host).delete(lead);
    else this.#residentsOf(host).add(lead);
  }

  #count(vm: number, host: number, by: 1 | -1): void {
    const { apart, apartOf } = this.model.groups;
    for (const number of apartOf.get(vm) ?? []) {
      const counts = this.#counts.get(number);
      const group = apart[number];
      if (counts === undefined || group === undefined) continue;
      const place = placeIn(this.model, group, host);
      counts[place] = (counts[place] ?? 0) + by;
    }
  }

  #countsOf(number: number): Int16Array {
    const known = this.#counts.get(number);
    if (known !== undefined) return known;
    const group = this.model.groups.apart[number];
    if (group === undefined) throw new Error(`No group ${number}.`);
    const counts = new Int16Array(Math.max(this.model.hosts.length, this.model.racks));
    for (const vm of group.vms) {
      // The room of a VM on its way counts at both ends, whichever host the VM counts as being on.
      const from = this.#arriving.get(vm);
      const to = this.#arrived.has(vm) ? -1 : this.model.destination(this.model.vmAt(vm));
      const at = this.at[vm] ?? -1;
      for (const host of from === undefined ? new Set([at, to]) : [at, from]) {
        const place = placeIn(this.model, group, host);
        if (host >= 0) counts[place] = (counts[place] ?? 0) + 1;
      }
    }
    this.#counts.set(number, counts);
    return counts;
  }

  #residentsOf(host: number): Set<number> {
    const known = this.#residents[host];
    if (known !== undefined) return known;
    const leads = new Set([...(this.model.residents[host] ?? [])].map((vm) => this.lead(vm)));
    this.#residents[host] = leads;
    return leads;
  }

  #shelfOf(host: number): Shelf {
    const key = (this.kind[host] ?? 0) * 2 + (this.#tier[host] ?? 0);
    let shelf = this.#shelves.get(key);
    if (shelf === undefined) {
      shelf = new Shelf(this.free, []);
      this.#shelves.set(key, shelf);
    }
    return shelf;
  }
}

/** The place in which a group counts a VM that is on a host: the host itself, or its rack. */
export function placeIn({ rackOf }: Model, { byRack }: Pick<ApartGroup, 'byRack'>, host: number): number {
  return byRack ? (rackOf[host] ?? -1) : host;
}
