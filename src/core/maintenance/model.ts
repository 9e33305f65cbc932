/**
 * The snapshot as numbers: hosts and VMs are indexes into typed arrays, equal requirements and equal hosts are one
 * class each, so that "may this VM be on that host" is one look into a table. Kept up to date change by change, or made
 * whole from an Estate (`modelOf`).
 *
 * Guarantee: after any sequence of changes the model answers as one made from the last snapshot alone (a test compares
 * them).
 */
import type { HostName, VmId } from '../../base/ids.ts';
import type { Estate, EstateGuestCluster, EstateHost, EstatePolicy, EstateRule, EstateVm } from './estate.ts';
import { Kinds } from './kinds.ts';
import { RuleBook } from './rule-book.ts';
import { type ApartGroup, type Groups, groupsOf, NO_GROUPS } from './rule-groups.ts';

/** The processors of a host that did not report their number: not counted. */
const UNCOUNTED = 2 ** 40;

/** See the module's comment. */
export class Model {
  readonly policy: EstatePolicy;
  readonly hosts: EstateHost[];
  /** VMs by index; null if a VM was removed and its index is free. */
  readonly vms: (EstateVm | null)[];
  readonly kinds: Kinds;
  /** Memory and vCPUs that are free for one more VM; below 0 where more is held than there is. */
  readonly freeMib: number[];
  readonly freeCpu: number[];
  /** Rack by host, as a number. */
  readonly rackOf: number[];
  /** Kind by host, and by VM what kind of host it needs (kinds.ts). */
  readonly kindOf: number[];
  readonly shapeOf: number[];
  /** Host, memory and vCPUs by VM. */
  readonly atOf: number[];
  readonly mibOf: number[];
  readonly cpuOf: number[];
  /** The VMs on each host, not those that are only moving to it. */
  readonly residents: Set<number>[];
  /** The VMs that are moving to each host. */
  readonly arriving: Set<number>[];
  readonly #hostIndex: Map<HostName, number>;
  readonly #vmIndex: Map<VmId, number>;
  readonly #racks: Map<string, number>;
  readonly #unused: number[];
  readonly #ruleBook: RuleBook;
  #groups: Groups | null;

  /**
   * `like`: a model that this one has the content of. `shared`: VMs and rules are its own, and this one is good until it
   * changes (`under`).
   */
  private constructor(policy: EstatePolicy, like: Model | null, has: 'shared' | 'own' = 'shared') {
    const isOwn = like === null || has === 'own';
    this.policy = policy;
    this.hosts = [...(like?.hosts ?? [])];
    this.freeMib = [...(like?.freeMib ?? [])];
    this.freeCpu = [...(like?.freeCpu ?? [])];
    this.rackOf = [...(like?.rackOf ?? [])];
    this.kindOf = [...(like?.kindOf ?? [])];
    this.vms = [...(like?.vms ?? [])];
    // Kinds and shapes are numbered once, for all models: numbers are added, and never mean anything else.
    this.kinds = like?.kinds ?? new Kinds();
    this.shapeOf = isOwn ? [...(like?.shapeOf ?? [])] : like.shapeOf;
    this.atOf = [...(like?.atOf ?? [])];
    this.mibOf = isOwn ? [...(like?.mibOf ?? [])] : like.mibOf;
    this.cpuOf = isOwn ? [...(like?.cpuOf ?? [])] : like.cpuOf;
    this.residents = isOwn ? (like?.residents ?? []).map((vms) => new Set(vms)) : [...like.residents];
    this.arriving = isOwn ? (like?.arriving ?? []).map((vms) => new Set(vms)) : like.arriving;
    this.#hostIndex = isOwn ? new Map(like === null ? [] : like.#hostIndex) : like.#hostIndex;
    this.#vmIndex = isOwn ? new Map(like === null ? [] : like.#vmIndex) : like.#vmIndex;
    this.#racks = isOwn ? new Map(like === null ? [] : like.#racks) : like.#racks;
    this.#unused = isOwn ? [...(like === null ? [] : like.#unused)] : like.#unused;
    this.#ruleBook = isOwn ? new RuleBook(like === null ? null : like.#ruleBook) : like.#ruleBook;
    this.#groups = like?.groups ?? NO_GROUPS;
  }

  /** A model of nothing. */
  static empty(policy: EstatePolicy): Model {
    return new Model(policy, null);
  }

  /**
   * The same estate under another policy, with some hosts and VMs in place of their namesakes (a VM takes the same room
   * on the same hosts), without the VMs of hosts that are `lost`, and without VMs that are `absent`, whose room is
   * kept. It is valid until this model changes.
   */
  under(
    policy: EstatePolicy,
    {
      hosts,
      vms,
      lost,
      absent,
    }: {
      readonly hosts: readonly EstateHost[];
      readonly vms: readonly EstateVm[];
      readonly lost: Iterable<HostName>;
      readonly absent: Iterable<VmId>;
    },
  ): Model {
    const model = new Model(policy, this);
    for (const host of hosts) model.setHost(host);
    for (const vm of vms) model.vms[this.vm(vm.id)] = vm;
    for (const name of lost) {
      const host = this.host(name);
      for (const vm of this.residents[host] ?? []) {
        model.vms[vm] = null;
        model.atOf[vm] = -1;
      }
      if (host >= 0) model.residents[host] = new Set();
    }
    for (const id of absent) {
      const vm = this.vm(id);
      const host = this.atOf[vm] ?? -1;
      if (vm < 0 || model.vms[vm] === null) continue;
      model.vms[vm] = null;
      model.atOf[vm] = -1;
      if (host >= 0)
        model.residents[host] = new Set([...(model.residents[host] ?? [])].filter((other) => other !== vm));
    }
    return model;
  }

  /**
   * The same estate as a model of its own: good whatever becomes of this one, so that work on it may take many turns.
   * Takes some ms for 20,000 VMs.
   */
  copy(): Model {
    return new Model(this.policy, this, 'own');
  }

  /** Returns the index of a host, or -1. */
  host(name: HostName): number {
    return this.#hostIndex.get(name) ?? -1;
  }

  /** Returns the index of a VM, or -1. */
  vm(id: VmId): number {
    return this.#vmIndex.get(id) ?? -1;
  }

  get rules(): readonly EstateRule[] {
    return this.#ruleBook.rules;
  }

  get clusters(): readonly EstateGuestCluster[] {
    return this.#ruleBook.clusters;
  }

  /** The rule, or the guest cluster, of a name; null: there is none. */
  rule(name: string): EstateRule | null {
    return this.#ruleBook.rule(name);
  }

  cluster(name: string): EstateGuestCluster | null {
    return this.#ruleBook.cluster(name);
  }

  /** The VMs whose places depend on where this one is, beyond its own host (rule-book.ts). */
  dependentOn(id: VmId): ReadonlySet<VmId> {
    return this.#ruleBook.dependentOn(id);
  }

  /** The number of racks; a host without a rack is one of its own. */
  get racks(): number {
    return this.#racks.size;
  }

  /** Rules and guest clusters, as groups of VMs by index. */
  get groups(): Groups {
    this.#groups ??= groupsOf(this);
    return this.#groups;
  }

  /** Adds a host or replaces it by its newer self. */
  setHost(host: EstateHost): void {
    let index = this.host(host.name);
    const before = this.hosts[index];
    if (before === undefined) {
      index = this.hosts.length;
      this.#hostIndex.set(host.name, index);
      this.residents.push(new Set());
      this.arriving.push(new Set());
      this.freeMib.push(0);
      this.freeCpu.push(0);
    }
    const [mib, cpu] = before === undefined ? [0, 0] : this.#roomOf(before);
    const [newMib, newCpu] = this.#roomOf(host);
    this.freeMib[index] = (this.freeMib[index] ?? 0) + newMib - mib;
    this.freeCpu[index] = (this.freeCpu[index] ?? 0) + newCpu - cpu;
    this.hosts[index] = host;
    this.rackOf[index] = numberOf(this.#racks, host.rack === null ? `host ${host.name}` : `rack ${host.rack}`);
    this.kindOf[index] = this.kinds.host(host);
  }

  /**
   * Adds a VM or replaces it by its newer version. Its host must be known; an unknown destination counts as no
   * destination.
   */
  setVm(vm: EstateVm): void {
    const known = this.vm(vm.id);
    const index = known >= 0 ? known : (this.#unused.pop() ?? this.vms.length);
    if (known >= 0) this.#hold(this.vmAt(known), known, -1);
    this.#vmIndex.set(vm.id, index);
    this.vms[index] = vm;
    this.shapeOf[index] = this.kinds.vm(vm);
    this.atOf[index] = this.host(vm.host);
    this.mibOf[index] = vm.memoryMib;
    this.cpuOf[index] = vm.vcpus;
    this.#hold(vm, index, 1);
    // Groups name VMs by index; where a VM is matters to rules that keep VMs together alone.
    if (known >= 0 ? this.#ruleBook.isTogether(vm.id) : this.#ruleBook.names(vm.id)) this.#groups = null;
  }

  /** Forgets a VM: deleted, stopped, or gone with its host. */
  removeVm(id: VmId): void {
    const index = this.vm(id);
    if (index < 0) return;
    this.#hold(this.vmAt(index), index, -1);
    this.#vmIndex.delete(id);
    this.vms[index] = null;
    this.atOf[index] = -1;
    this.#unused.push(index);
    if (this.#ruleBook.names(id)) this.#groups = null;
  }

  /** Adds the rule of a name or replaces it; null: it is gone. */
  setRule(name: string, rule: EstateRule | null): void {
    this.#ruleBook.setRule(name, rule);
    this.#groups = null;
  }

  /** Adds the guest cluster of a name or replaces it; null: it is gone. */
  setCluster(name: string, cluster: EstateGuestCluster | null): void {
    this.#ruleBook.setCluster(name, cluster);
    this.#groups = null;
  }

  /**
   * Makes changes that are to be taken back: `change` makes them and returns what takes them back. Returns what takes
   * them back and restores the groups of before; nothing else may have changed the model by then.
   */
  trying(change: () => () => void): () => void {
    const groups = this.#groups;
    const takeBack = change();
    return () => {
      takeBack();
      this.#groups = groups;
    };
  }

  /** Does `work` with changes made that are taken back afterwards, as `trying`. */
  meanwhile<T>(change: () => () => void, work: () => T): T {
    const takeBack = this.trying(change);
    try {
      return work();
    } finally {
      takeBack();
    }
  }

  /** Returns the host that a VM is moving to, or -1. */
  destination(vm: EstateVm): number {
    return vm.movingTo === null ? -1 : this.host(vm.movingTo);
  }

  /** The VM at an index that is in use. */
  vmAt(index: number): EstateVm {
    const vm = this.vms[index];
    if (vm === undefined || vm === null) throw new Error(`No VM has index ${index}.`);
    return vm;
  }

  /** The host at an index. */
  hostAt(index: number): EstateHost {
    const host = this.hosts[index];
    if (host === undefined) throw new Error(`No host has index ${index}.`);
    return host;
  }

  /** The groups of VMs that must, or had better, be apart. */
  get apart(): readonly ApartGroup[] {
    return this.groups.apart;
  }

  #hold(vm: EstateVm, index: number, sign: 1 | -1): void {
    const host = this.host(vm.host);
    if (sign === 1) this.residents[host]?.add(index);
    else this.residents[host]?.delete(index);
    const to = this.destination(vm);
    if (sign === 1) this.arriving[to]?.add(index);
    else this.arriving[to]?.delete(index);
    for (const held of [host, to]) {
      if (held < 0) continue;
      this.freeMib[held] = (this.freeMib[held] ?? 0) - sign * vm.memoryMib;
      this.freeCpu[held] = (this.freeCpu[held] ?? 0) - sign * vm.vcpus;
    }
  }

  #roomOf({ memoryMib, claimedMib, vcpus }: EstateHost): [number, number] {
    return [memoryMib - claimedMib, vcpus === 0 ? UNCOUNTED : Math.floor(vcpus * this.policy.vcpuOvercommit)];
  }
}

/** The model of a whole snapshot. */
export function modelOf(estate: Estate): Model {
  const model = Model.empty(estate.policy);
  for (const host of estate.hosts) model.setHost(host);
  for (const vm of estate.vms) model.setVm(vm);
  for (const rule of estate.rules) model.setRule(rule.name, rule);
  for (const cluster of estate.guestClusters) model.setCluster(cluster.name, cluster);
  return model;
}

/** The number of a word: the next one where it is new. */
function numberOf(words: Map<string, number>, word: string): number {
  const known = words.get(word);
  if (known !== undefined) return known;
  words.set(word, words.size);
  return words.size - 1;
}
