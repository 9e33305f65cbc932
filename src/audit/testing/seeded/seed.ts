/**
 * Generates estates from a seed, independent of platforms: hosts, VMs, hidden guest clusters and ties. Equal seeds give
 * equal estates.
 */

export interface SeedVm {
  readonly number: number;
  readonly name: string;
  /** Index of its host. */
  readonly host: number;
  readonly memoryMib: number;
  readonly cpus: number;
  readonly diskGib: number;
  /** Index of its guest cluster; null: none. */
  readonly cluster: number | null;
  readonly tie: 'device' | 'media' | null;
}

export interface Seed {
  readonly hosts: readonly string[];
  readonly hostMemoryMib: number;
  readonly vms: readonly SeedVm[];
  /**
   * `identity`: members of a guest cluster share a disk. `signs`: only rule, names, shape and network show the cluster.
   */
  readonly clusters: 'identity' | 'signs';
}

export interface SeedOptions {
  readonly seed: number;
  readonly hosts: number;
  readonly vmsPerHost: number;
  readonly guestClusters: number;
  readonly clusters?: Seed['clusters'];
  /** True if members of a guest cluster are on one host, because their network ends there. */
  readonly onOneHost?: boolean;
  /** Ties on the first hosts, one per host. */
  readonly ties?: number;
}

/** Returns numbers from 0 to 1, determined by the seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const WORDS = ['app', 'mail', 'wiki', 'build', 'proxy', 'shop', 'crm', 'git', 'dns', 'erp', 'print', 'files'];

/**
 * Generates an estate. By default, members of a guest cluster are on different hosts; their names differ in their last
 * digit.
 */
export function makeSeed(options: SeedOptions): Seed {
  const random = randomOf(options.seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] ?? (items[0] as T);
  const vms: SeedVm[] = [];
  const add = (vm: Omit<SeedVm, 'number'>): void => {
    vms.push({ ...vm, number: vms.length });
  };
  for (let cluster = 0; cluster < options.guestClusters; cluster += 1) {
    const size = 2 + Math.floor(random() * 2);
    const first = Math.floor(random() * options.hosts);
    const shape = { memoryMib: pick([4096, 8192, 16_384]), cpus: pick([2, 4, 8]), diskGib: pick([40, 80, 120]) };
    for (let member = 0; member < size; member += 1) {
      const name = `sql${String.fromCharCode(97 + (cluster % 26))}${Math.floor(cluster / 26)}x-${member + 1}`;
      add({
        name,
        host: options.onOneHost === true ? first : (first + member) % options.hosts,
        ...shape,
        cluster,
        tie: null,
      });
    }
  }
  for (let host = 0; host < options.hosts; host += 1)
    for (let number = 0; number < options.vmsPerHost; number += 1) {
      const shape = {
        memoryMib: pick([1024, 2048, 4096]),
        cpus: pick([1, 2]),
        diskGib: 10 + Math.floor(random() * 90),
      };
      const tie = host < (options.ties ?? 0) && number === 0 ? (host % 2 === 0 ? 'device' : 'media') : null;
      add({ name: `${pick(WORDS)}${host}-${number}${pick(['', 'p', 't'])}`, host, ...shape, cluster: null, tie });
    }
  const hosts = Array.from({ length: options.hosts }, (_, host) => `node${String(host).padStart(3, '0')}`);
  return { hosts, hostMemoryMib: 262_144, vms, clusters: options.clusters ?? 'identity' };
}

/** Returns the guest clusters of an estate as the names of their members. */
export function clustersOf({ vms }: Seed): readonly (readonly string[])[] {
  const clusters = new Map<number, string[]>();
  for (const { cluster, name } of vms)
    if (cluster !== null) clusters.set(cluster, [...(clusters.get(cluster) ?? []), name]);
  return [...clusters.values()].map((names) => names.toSorted());
}

/** Returns the members of each guest cluster. */
export function membersOf({ vms }: Seed): ReadonlyMap<number, readonly SeedVm[]> {
  const clusters = new Map<number, SeedVm[]>();
  for (const vm of vms) if (vm.cluster !== null) clusters.set(vm.cluster, [...(clusters.get(vm.cluster) ?? []), vm]);
  return clusters;
}

/** Returns an ID in the form of a UUID. */
export function uuidOf(kind: number, number: number): string {
  return `${kind.toString(16).padStart(8, '0')}-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;
}
