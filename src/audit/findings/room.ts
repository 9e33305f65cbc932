/**
 * The memory of one cluster in the form that the planner needs: arrays are made once, and an assignment is computed per
 * host.
 */

import type { Host, Vm } from '../estate/estate.ts';
import type { EstateIndex } from './estate-index.ts';
import { type MemoryKind, memoryOf } from './memory.ts';
import { rankHosts, spread } from './spread.ts';
import { inCommon, unitsAmong } from './together.ts';

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

interface Memory {
  readonly vmMib: Float64Array;
  readonly freeMib: Float64Array;
  readonly ranked: Int32Array;
  /** Free memory of all hosts together, in MiB. */
  readonly totalMib: number;
}

/** The VMs to place, with those that stay together as one. */
interface Units {
  readonly vmMib: Float64Array;
  readonly toPlace: readonly number[];
  readonly apart: readonly { readonly vms: readonly number[]; readonly perHost: number }[];
  /** Key of the first VM of a unit -> all its VMs. */
  readonly members: ReadonlyMap<string, readonly Vm[]>;
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
  readonly #index: EstateIndex;
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
    this.#index = index;
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

  /** Returns the memory of all VMs of the cluster together. */
  usedMib(memory: MemoryKind): number {
    return this.#memory[memory].vmMib.reduce((sum, mib) => sum + mib, 0);
  }

  /** Finds hosts for the VMs of one host. VMs that a hard rule keeps together get one host. */
  ask({ from, vms, memory, targets: targetsOfOne, mayDisplace }: RoomQuestion): RoomAnswer {
    const { freeMib, ranked } = this.#memory[memory];
    const units = this.#units(vms, memory);
    const targets = (vm: Vm): ReadonlySet<string> | null =>
      inCommon((units.members.get(vm.key) ?? [vm]).map(targetsOfOne));
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
      vmMib: units.vmMib,
      allows: (number, host) => host !== own && (setOf(number)?.has(this.hosts[host]?.key ?? '') ?? true),
      choices: (number) => setOf(number)?.size ?? this.hosts.length - (own === -1 ? 0 : 1),
      toPlace: units.toPlace,
      apart: units.apart,
      at,
      isMovable: (number) => {
        const vm = this.#vms[number];
        return vm !== undefined && mayDisplace(vm) && !this.#isBound(vm);
      },
    });
    const missing = unplaced.flatMap((number) => this.#vms[number] ?? []);
    return { unplaced: missing.flatMap((vm) => units.members.get(vm.key) ?? [vm]), displaced: displaced.length };
  }

  /** A VM of another host that a rule keeps with others is not moved alone to make room. */
  #isBound({ key }: Vm): boolean {
    return (this.#index.rulesOf.get(key) ?? []).some(({ kind, isHard }) => kind === 'together' && isHard);
  }

  /** Replaces the VMs of each unit by its first VM, which then has the memory and the rules of all. */
  #units(vms: readonly Vm[], memory: MemoryKind): Units {
    const { vmMib } = this.#memory[memory];
    const found = unitsAmong(vms, this.#index);
    const numbers = (all: readonly Vm[]): readonly number[] => all.flatMap(({ key }) => this.#numberOf.get(key) ?? []);
    if (found.length === 0) return { vmMib, toPlace: numbers(vms), apart: this.#apart, members: new Map() };
    const sums = vmMib.slice();
    const firstOf = new Map<number, number>();
    const members = new Map<string, readonly Vm[]>();
    for (const { vms: all } of found) {
      const [first = -1, ...others] = numbers(all);
      for (const other of others) firstOf.set(other, first);
      sums[first] = all.reduce((sum, vm) => sum + memoryOf(vm, memory), 0);
      if (all[0] !== undefined) members.set(all[0].key, all);
    }
    return {
      vmMib: sums,
      toPlace: numbers(vms).filter((number) => !firstOf.has(number)),
      apart: this.#apart.map(({ vms: group, perHost }) => ({
        vms: [...new Set(group.map((number) => firstOf.get(number) ?? number))],
        perHost,
      })),
      members,
    };
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
