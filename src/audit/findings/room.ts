/**
 * The memory of one cluster in the form that the planner needs: arrays are made once, and an assignment is computed per
 * host.
 */
import { rankHosts, spread } from '../../core/plan/placement/spread-placement.ts';
import type { Host, Vm } from '../estate/estate.ts';
import type { EstateIndex } from './estate-index.ts';

/**
 * `configured`: the memory that VMs are given. `reserved`: the memory that an overcommitting platform reserves for
 * them.
 */
export type MemoryKind = 'configured' | 'reserved';

export interface RoomQuestion {
  /** The host that is to be drained. */
  readonly from: Host;
  readonly vms: readonly Vm[];
  readonly memory: MemoryKind;
  /** Hosts to which a VM may go; null: all. */
  readonly targets: (vm: Vm) => ReadonlySet<string> | null;
  /** Returns true if a VM of another host may be displaced. */
  readonly mayDisplace: (vm: Vm) => boolean;
}

export interface RoomAnswer {
  readonly unplaced: readonly Vm[];
  /** Moves of VMs that are on other hosts. */
  readonly displaced: number;
}

/** Returns a VM's memory in MiB. */
export function memoryOf(vm: Vm, memory: MemoryKind): number {
  return memory === 'configured' ? (vm.memoryMib ?? 0) : (vm.reservedMib ?? vm.memoryMib ?? 0);
}

interface Memory {
  readonly vmMib: Float64Array;
  readonly freeMib: Float64Array;
  readonly ranked: Int32Array;
  /** Free memory of all hosts together, in MiB. */
  readonly totalMib: number;
}

/** The rooms of all clusters, each made once. */
export class Rooms {
  readonly #index: EstateIndex;
  readonly #rooms = new Map<string, Room>();

  constructor(index: EstateIndex) {
    this.#index = index;
  }

  /** Returns the room of a cluster. */
  of(cluster: string): Room {
    const room = this.#rooms.get(cluster) ?? new Room(cluster, this.#index);
    this.#rooms.set(cluster, room);
    return room;
  }
}

/** The room of one cluster. */
export class Room {
  readonly hosts: readonly Host[];
  readonly #vms: readonly Vm[];
  readonly #numberOf: ReadonlyMap<string, number>;
  readonly #hostNumberOf: ReadonlyMap<string, number>;
  readonly #at: Int32Array;
  readonly #residentsOf: ReadonlyMap<string, readonly number[]>;
  readonly #apart: readonly { readonly vms: readonly number[]; readonly perHost: number }[];
  readonly #memory: Readonly<Record<MemoryKind, Memory>>;
  /**
   * Returns a VM of the cluster with unknown memory, because of which the free memory is unknown; undefined if there is
   * none.
   */
  readonly vmWithoutMemory: Vm | undefined;

  constructor(cluster: string, index: EstateIndex) {
    this.hosts = index.inService(cluster);
    const residents = (index.hostsOf.get(cluster) ?? []).flatMap(({ key }) => index.toMove(key));
    this.#vms = residents;
    this.#numberOf = new Map(residents.map(({ key }, number) => [key, number]));
    this.#hostNumberOf = new Map(this.hosts.map(({ key }, number) => [key, number]));
    this.#at = Int32Array.from(residents, ({ host }) => this.#hostNumberOf.get(host ?? '') ?? -1);
    this.vmWithoutMemory = residents.find(({ memoryMib }) => memoryMib === null);
    const residentsOf = new Map<string, number[]>();
    for (const [number, { host }] of residents.entries()) {
      const there = residentsOf.get(host ?? '') ?? [];
      residentsOf.set(host ?? '', there);
      there.push(number);
    }
    this.#residentsOf = residentsOf;
    const rules = new Set(residents.flatMap(({ key }) => index.rulesOf.get(key) ?? []));
    this.#apart = [...rules]
      .filter(({ kind, isHard }) => kind === 'apart' && isHard)
      .map(({ vms, perHost }) => ({ vms: vms.flatMap((key) => this.#numberOf.get(key) ?? []), perHost }));
    this.#memory = { configured: this.#arrays('configured'), reserved: this.#arrays('reserved') };
  }

  /** Returns the free memory of the other hosts together. */
  freeMib(from: Host, memory: MemoryKind): number {
    const { freeMib, totalMib } = this.#memory[memory];
    const own = this.#hostNumberOf.get(from.key);
    return totalMib - (own === undefined ? 0 : Math.max(0, freeMib[own] ?? 0));
  }

  /** Finds hosts for the VMs of one host. */
  ask({ from, vms, memory, targets, mayDisplace }: RoomQuestion): RoomAnswer {
    const { vmMib, freeMib, ranked } = this.#memory[memory];
    const at = this.#at.slice();
    const own = this.#hostNumberOf.get(from.key) ?? -1;
    for (const number of this.#residentsOf.get(from.key) ?? []) at[number] = -1;
    const sets = new Map<number, ReadonlySet<string> | null>();
    const setOf = (number: number): ReadonlySet<string> | null => {
      const before = sets.get(number);
      if (before !== undefined) return before;
      const vm = this.#vms[number];
      const set = vm === undefined ? null : targets(vm);
      sets.set(number, set);
      return set;
    };
    const { unplaced, displaced } = spread({
      freeMib,
      ranked,
      vmMib,
      allows: (number, host) => host !== own && (setOf(number)?.has(this.hosts[host]?.key ?? '') ?? true),
      choices: (number) => setOf(number)?.size ?? this.hosts.length - (own === -1 ? 0 : 1),
      toPlace: vms.flatMap(({ key }) => this.#numberOf.get(key) ?? []),
      apart: this.#apart,
      at,
      isMovable: (number) => {
        const vm = this.#vms[number];
        return vm !== undefined && mayDisplace(vm);
      },
    });
    return { unplaced: unplaced.flatMap((number) => this.#vms[number] ?? []), displaced: displaced.length };
  }

  #arrays(memory: MemoryKind): Memory {
    const vmMib = Float64Array.from(this.#vms, (vm) => memoryOf(vm, memory));
    const freeMib = Float64Array.from(this.hosts, ({ memoryMib }) => memoryMib ?? 0);
    for (const [number, host] of this.#at.entries())
      if (host >= 0) freeMib[host] = (freeMib[host] ?? 0) - (vmMib[number] ?? 0);
    return {
      vmMib,
      freeMib,
      ranked: rankHosts(freeMib),
      totalMib: freeMib.reduce((sum, mib) => sum + Math.max(0, mib), 0),
    };
  }
}
