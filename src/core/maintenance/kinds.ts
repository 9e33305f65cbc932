/**
 * Equal hosts and equal requirements, as numbers. An estate has a thousand hosts of a few kinds and thousands of VMs of
 * a few shapes: which shape goes with which kind is decided once.
 */

import type { Constraint } from './constraint.ts';
import type { EstateHost, EstateVm } from './estate.ts';

/** What a VM needs of any host that it runs on: its shape. */
type Shape = Pick<EstateVm, 'cpuModel' | 'networks' | 'storage'>;
/** What a host offers: its kind. */
type Kind = Pick<EstateHost, 'accelerator' | 'cpuModels' | 'withoutNetworks' | 'withoutStorage' | 'release'>;

/** Why a host of one kind cannot take a VM: the constraint, and words for people. */
export interface Misfit {
  readonly constraint: Constraint;
  readonly words: string;
}

/** See the module's comment. */
export class Kinds {
  readonly #kinds: Kind[] = [];
  readonly #shapes: Shape[] = [];
  readonly #kindNumbers = new Map<string, number>();
  readonly #shapeNumbers = new Map<string, number>();
  /** Whether a host runs a VM, by shape, then kind; undefined: not worked out yet. */
  readonly #runs: (boolean | undefined)[][] = [];
  readonly #carries: (boolean | undefined)[][] = [];

  /** Returns the number of the host's kind. */
  host({ accelerator, cpuModels, withoutNetworks, withoutStorage, release }: EstateHost): number {
    const kind = { accelerator, cpuModels, withoutNetworks, withoutStorage, release };
    const lists = [cpuModels, withoutNetworks, withoutStorage].map((words) => words.toSorted().join(','));
    return numberOf(this.#kindNumbers, {
      list: this.#kinds,
      value: kind,
      key: [accelerator, release, ...lists].join(';'),
    });
  }

  /** Returns the number of the VM's shape. */
  vm({ cpuModel, networks, storage }: EstateVm): number {
    const key = `${cpuModel};${networks.join(',')};${storage.join(',')}`;
    return numberOf(this.#shapeNumbers, { list: this.#shapes, value: { cpuModel, networks, storage }, key });
  }

  /** Returns true if a VM of the shape can run on a host of the kind. */
  runs(shape: number, kind: number): boolean {
    const known = rowOf(this.#runs, shape);
    known[kind] ??= this.#cannotRun(shape, kind) === null;
    return known[kind];
  }

  /** Returns true if a running guest can go from a host of one kind to one of another. */
  carries(from: number, to: number): boolean {
    const known = rowOf(this.#carries, from);
    known[to] ??= this.#cannotGo(from, to) === null;
    return known[to];
  }

  /**
   * Returns why a VM of the shape cannot run on a host of the kind, or cannot go there from another; null if it can.
   */
  misfit(shape: number, { from, to }: { readonly from: number | null; readonly to: number }): Misfit | null {
    return this.#cannotRun(shape, to) ?? (from === null ? null : this.#cannotGo(from, to));
  }

  #cannotRun(shape: number, kind: number): Misfit | null {
    const vm = this.#shapes[shape];
    const host = this.#kinds[kind];
    if (vm === undefined || host === undefined) throw new Error(`No shape ${shape} or no kind ${kind}.`);
    if (vm.cpuModel !== 'baseline' && !host.cpuModels.includes(vm.cpuModel))
      return { constraint: { kind: 'cpu-model', name: vm.cpuModel }, words: `its CPUs cannot be ${vm.cpuModel}` };
    const network = vm.networks.find((name) => host.withoutNetworks.includes(name));
    if (network !== undefined)
      return { constraint: { kind: 'network', name: network }, words: `it does not reach network ${network}` };
    const storage = vm.storage.find((name) => host.withoutStorage.includes(name));
    if (storage !== undefined)
      return { constraint: { kind: 'storage', name: storage }, words: `it does not reach storage node ${storage}` };
    return null;
  }

  #cannotGo(from: number, to: number): Misfit | null {
    const source = this.#kinds[from];
    const host = this.#kinds[to];
    if (source === undefined || host === undefined) throw new Error(`No kind ${from} or no kind ${to}.`);
    if (source.accelerator !== host.accelerator) {
      const words = `its guests run under ${host.accelerator}, and this one under ${source.accelerator}`;
      return { constraint: { kind: 'accelerator', name: '' }, words };
    }
    if (host.release > 0 && host.release < source.release)
      return { constraint: { kind: 'release', name: '' }, words: 'its release is older than the one the VM runs on' };
    return null;
  }
}

function rowOf<T>(table: T[][], row: number): T[] {
  table[row] ??= [];
  return table[row];
}

function numberOf<T>(numbers: Map<string, number>, entry: { list: T[]; value: T; key: string }): number {
  const known = numbers.get(entry.key);
  if (known !== undefined) return known;
  numbers.set(entry.key, entry.list.length);
  entry.list.push(entry.value);
  return entry.list.length - 1;
}
