/**
 * An estate that changes as live ones do: VMs come, go, grow, shrink and move, hosts are cordoned and come back.
 * Seeded.
 */
import type { HostName, VmId } from '../../../base/ids.ts';
import type { Estate, EstateHost, EstateVm } from '../estate.ts';
import type { EstateChange } from '../estate-change.ts';
import { randomOf } from './seeded-estate.ts';

/** See the module's comment. */
export class LiveEstate {
  readonly #estate: Estate;
  readonly #hosts: Map<HostName, EstateHost>;
  readonly #vms: Map<VmId, EstateVm>;
  readonly #free = new Map<HostName, number>();
  readonly #random: () => number;
  #made = 0;

  constructor(estate: Estate, seed: number) {
    this.#estate = estate;
    this.#hosts = new Map(estate.hosts.map((host) => [host.name, host]));
    this.#vms = new Map(estate.vms.map((vm) => [vm.id, vm]));
    this.#random = randomOf(seed);
    for (const { name, memoryMib } of estate.hosts) this.#free.set(name, memoryMib);
    for (const { host, memoryMib } of estate.vms) this.#take(host, memoryMib);
  }

  /** The estate as it is now. */
  get estate(): Estate {
    return { ...this.#estate, hosts: [...this.#hosts.values()], vms: [...this.#vms.values()] };
  }

  /** Makes one change: mostly of VMs, where there is room for them. */
  next(): EstateChange {
    const chance = this.#random();
    if (chance < 0.04) return this.#cordon();
    const vm = this.#pick([...this.#vms.values()]);
    if (chance < 0.24)
      return this.#put({ ...vm, id: this.#newId(), name: `n${this.#made}`, host: this.#roomy(vm.memoryMib) });
    if (chance < 0.44) return this.#remove(vm);
    if (chance < 0.64) return this.#resize(vm);
    return this.#put({ ...vm, host: vm.tie === null ? this.#roomy(vm.memoryMib) : vm.host });
  }

  /** Changes that a lost rack brings: its hosts are quarantined, and its VMs restart elsewhere. */
  loseRack(rack: string): EstateChange[] {
    const lost = [...this.#hosts.values()].filter((host) => host.rack === rack);
    const states = lost.map((host) => this.#set({ ...host, state: 'quarantined' }));
    const names = new Set(lost.map(({ name }) => name));
    const vms = [...this.#vms.values()].filter(({ host, tie }) => names.has(host) && tie === null);
    return [...states, ...vms.map((vm) => this.#put({ ...vm, host: this.#roomy(vm.memoryMib) }))];
  }

  #cordon(): EstateChange {
    const host = this.#pick([...this.#hosts.values()]);
    return this.#set({ ...host, state: host.state === 'cordoned' ? 'in-service' : 'cordoned' });
  }

  #resize(vm: EstateVm): EstateChange {
    const wanted = Math.max(256, Math.round(vm.memoryMib * (this.#random() < 0.5 ? 0.5 : 1.5)));
    return this.#put({ ...vm, memoryMib: Math.min(wanted, vm.memoryMib + Math.max(0, this.#free.get(vm.host) ?? 0)) });
  }

  #set(host: EstateHost): EstateChange {
    this.#hosts.set(host.name, host);
    return { kind: 'host', host };
  }

  #put(vm: EstateVm): EstateChange {
    const before = this.#vms.get(vm.id);
    if (before !== undefined) this.#take(before.host, -before.memoryMib);
    this.#take(vm.host, vm.memoryMib);
    this.#vms.set(vm.id, vm);
    return { kind: 'vm', vm };
  }

  #remove(vm: EstateVm): EstateChange {
    this.#take(vm.host, -vm.memoryMib);
    this.#vms.delete(vm.id);
    return { kind: 'vm-gone', vm: vm.id };
  }

  #take(host: HostName, mib: number): void {
    this.#free.set(host, (this.#free.get(host) ?? 0) - mib);
  }

  #newId(): VmId {
    this.#made += 1;
    return `vm-f${this.#made.toString(16).padStart(11, '0')}` as VmId;
  }

  /** The roomiest of a few hosts that take VMs. */
  #roomy(mib: number): HostName {
    const open = [...this.#hosts.values()].filter(({ state }) => state === 'in-service');
    const few = Array.from({ length: 12 }, () => this.#pick(open).name);
    const free = (name: HostName): number => this.#free.get(name) ?? 0;
    const best = few.reduce((a, b) => (free(b) > free(a) ? b : a));
    return free(best) >= mib ? best : open.reduce((a, { name }) => (free(name) > free(a) ? name : a), best);
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.#random() * items.length)];
    if (item === undefined) throw new Error('Nothing to pick from.');
    return item;
  }
}
