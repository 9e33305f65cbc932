/**
 * Estates from a seed: hosts of several CPU classes in racks, VMs of common sizes up to a fill, guest clusters, rules
 * and ties. Equal options give equal estates. VMs are put on hosts that every hard rule allows, so that hosts are about
 * equally full: large VMs find room nowhere at a high fill, unless others are displaced.
 */
import type { HostName, VmId } from '../../../base/ids.ts';
import type { Estate, EstateGuestCluster, EstateHost, EstatePolicy, EstateRule, EstateVm } from '../estate.ts';

/** The size and content of the estate. */
export interface SeededOptions {
  readonly seed: number;
  readonly hosts: number;
  /** Most VMs; fewer where the fill is reached before. */
  readonly vms: number;
  /** Share of all hosts' memory that VMs take, 0 to 1. */
  readonly fill: number;
  readonly hostsPerRack?: number;
  /** Guest clusters of 2 to 5 members. */
  readonly guestClusters?: number;
  /** Share of the VMs in some rule beside guest clusters, 0 to 1. */
  readonly ruled?: number;
  /** VMs tied to their host. */
  readonly ties?: number;
  readonly policy?: Partial<EstatePolicy>;
}

/** The policy of seeded estates unless a test sets another. */
export const SEEDED_POLICY: EstatePolicy = {
  vcpuOvercommit: 8,
  keepRoomForLoss: true,
  movesPerHost: 2,
  hostMibPerSecond: 1_000,
  moveOverheadMs: 500,
  links: [],
};

/** Returns numbers from 0 to 1, determined by the seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const SIZES_GIB: readonly number[] = [1, 2, 2, 4, 4, 4, 8, 8, 8, 16, 16, 32];
const GIB = 1024;
/** The memory of a VM of average size, in GiB: the mean of SIZES_GIB. */
const MEAN_GIB = SIZES_GIB.reduce((sum, size) => sum + size, 0) / SIZES_GIB.length;

/** Hosts that are looked at for a VM, which goes to the one with most free memory: hosts are about equally full. */
const TRIES = 40;

/** Makes an estate. */
export function seededEstate(options: SeededOptions): Estate {
  return new Maker(options).estate();
}

class Maker {
  readonly #options: SeededOptions;
  readonly #random: () => number;
  readonly #hosts: EstateHost[];
  readonly #vms: EstateVm[] = [];
  readonly #free: number[];
  readonly #rules: EstateRule[] = [];
  readonly #clusters: EstateGuestCluster[] = [];
  readonly #policy: EstatePolicy;

  constructor(options: SeededOptions) {
    this.#options = options;
    this.#random = randomOf(options.seed);
    this.#policy = { ...SEEDED_POLICY, ...options.policy };
    this.#hosts = Array.from({ length: options.hosts }, (_, number) => this.#host(number));
    this.#free = this.#hosts.map(({ memoryMib }) => memoryMib);
  }

  estate(): Estate {
    const { guestClusters = 0, ruled = 0, ties = 0, vms, hosts, fill } = this.#options;
    const room = this.#hosts.reduce((sum, { memoryMib }) => sum + memoryMib, 0);
    const isFull = (): boolean => this.#vms.length >= vms || this.#free.reduce((a, b) => a + b, 0) <= room * (1 - fill);
    for (let number = 0; number < guestClusters && !isFull(); number += 1) this.#cluster(number);
    const inRules = Math.min(vms, Math.round(vms * ruled)) - this.#vms.length;
    for (let left = inRules, number = 0; left > 0 && !isFull(); number += 1) left -= this.#rule(number);
    for (let misses = 0; misses < hosts * 4 && !isFull(); ) if (this.#vm(() => true) === null) misses += 1;
    for (let number = 0; number < ties; number += 1) this.#tie();
    return {
      hosts: this.#hosts,
      vms: this.#vms,
      rules: this.#rules,
      guestClusters: this.#clusters,
      policy: this.#policy,
    };
  }

  #below(end: number): number {
    return Math.floor(this.#random() * end);
  }

  #host(number: number): EstateHost {
    const { hosts, vms, fill, hostsPerRack = 20 } = this.#options;
    // As much memory as the VMs need at this fill, so that both their number and the fill are met.
    const memoryMib = Math.ceil(((vms / hosts) * MEAN_GIB) / fill) * GIB;
    const models = number % 10 < 6 ? ['Skylake-Server', 'Cascadelake-Server'] : ['Skylake-Server'];
    return {
      name: `h${number + 1}` as HostName,
      rack: `r${Math.floor(number / hostsPerRack) + 1}`,
      state: 'in-service',
      memoryMib,
      claimedMib: 0,
      vcpus: Math.ceil(memoryMib / GIB / 4),
      accelerator: 'kvm',
      cpuModels: models,
      withoutNetworks: [],
      withoutStorage: [],
      release: 1,
      link: null,
    };
  }

  /** Puts one more VM on some host that `allows` it; null if none of a few attempts found room. */
  #vm(allows: (host: number) => boolean): EstateVm | null {
    const memoryMib = (SIZES_GIB[this.#below(SIZES_GIB.length)] ?? 1) * GIB;
    const chance = this.#random();
    const cpuModel = chance < 0.7 ? 'baseline' : chance < 0.9 ? 'Skylake-Server' : 'Cascadelake-Server';
    let best = -1;
    for (let tries = 0; tries < TRIES; tries += 1) {
      const host = this.#below(this.#hosts.length);
      const models = this.#hosts[host]?.cpuModels ?? [];
      const fits = (this.#free[host] ?? 0) >= memoryMib && (cpuModel === 'baseline' || models.includes(cpuModel));
      if (fits && allows(host) && (this.#free[host] ?? 0) > (this.#free[best] ?? -1)) best = host;
    }
    const record = this.#hosts[best];
    if (record === undefined) return null;
    this.#free[best] = (this.#free[best] ?? 0) - memoryMib;
    const number = this.#vms.length + 1;
    const vm: EstateVm = {
      id: `vm-${number.toString(16).padStart(12, '0')}` as VmId,
      name: `v${number}`,
      host: record.name,
      movingTo: null,
      memoryMib,
      vcpus: Math.max(1, memoryMib / GIB / 4),
      cpuModel,
      networks: [],
      storage: [],
      tie: null,
      unsettled: null,
      pauseMs: 400,
      dirtyMibPerSecond: this.#below(4) === 0 ? this.#below(300) : null,
    };
    this.#vms.push(vm);
    return vm;
  }

  /** VMs of which no two share what `placeOf` says. */
  #apart(count: number, placeOf: (host: number) => string): EstateVm[] {
    const taken = new Set<string>();
    const found: EstateVm[] = [];
    for (let number = 0; number < count; number += 1) {
      const vm = this.#vm((host) => !taken.has(placeOf(host)));
      if (vm === null) continue;
      taken.add(placeOf(this.#hosts.findIndex(({ name }) => name === vm.host)));
      found.push(vm);
    }
    return found;
  }

  #cluster(number: number): void {
    const members = this.#apart(2 + this.#below(4), (host) => String(host)).map(({ id }) => id);
    this.#clusters.push({
      name: `gc${number + 1}`,
      members,
      maxDisturbed: 1,
      toleratesMs: 2_000,
      sharesHosts: false,
      disturbed: [],
    });
  }

  /** Returns how many VMs the rule has. */
  #rule(number: number): number {
    const chance = this.#random();
    const racks = new Set(this.#hosts.map(({ rack }) => rack)).size;
    const [kind, by] =
      chance < 0.55
        ? (['apart', 'host'] as const)
        : chance < 0.75
          ? (['apart', 'rack'] as const)
          : (['together', chance < 0.9 ? 'host' : 'rack'] as const);
    const rack = (host: number): string => this.#hosts[host]?.rack ?? String(host);
    const count = 2 + this.#below(kind === 'apart' && by === 'rack' ? Math.max(1, Math.min(3, racks - 1)) : 3);
    let vms: EstateVm[] = [];
    if (kind === 'apart') vms = this.#apart(count, by === 'rack' ? rack : String);
    else {
      const first = this.#vm(() => true);
      const home = this.#hosts.findIndex(({ name }) => name === first?.host);
      const others = Array.from({ length: first === null ? 0 : Math.min(2, count) - 1 }, () =>
        this.#vm((host) => (by === 'host' ? host === home : rack(host) === rack(home))),
      );
      vms = [first, ...others].filter((vm) => vm !== null);
    }
    const rule = { name: `rule${number + 1}`, kind, by, hard: this.#random() < 0.7, vms: vms.map(({ id }) => id) };
    this.#rules.push({ ...rule, most: 1 });
    return Math.max(1, vms.length);
  }

  #tie(): void {
    const index = this.#below(this.#vms.length);
    const vm = this.#vms[index];
    if (vm === undefined) return;
    this.#vms[index] = { ...vm, tie: { name: `pin-${vm.name}`, what: 'pinned', hosts: [vm.host] } };
  }
}
