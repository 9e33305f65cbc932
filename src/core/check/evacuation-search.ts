/**
 * Looks for a way to empty a host, or to restart its VMs after its loss, by trying every order and every place: a second
 * opinion on the leader's "cannot". Written anew from docs/specs/maintenance-plan.md, it shares no line with the planner,
 * and is for small estates: it ends after so many attempts without an answer.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import type { EstateVm } from '../maintenance/estate.ts';
import type { MaintenanceWorld } from './maintenance-world.ts';

/** `open`: the attempts were used up first. */
export type Found = 'yes' | 'no' | 'open';

/** Attempts at a move or a restart before the search gives up. */
const ATTEMPTS_MAX = 3_000;
/** VMs that make room for others, in one plan. */
const MADE_ROOM_MAX = 2;

/** Whether moves, one after the other, can empty a host now. The world is as before afterwards. */
export function canBeEmptied(world: MaintenanceWorld, host: HostName): Found {
  return new Search(world, host, 'moves').run([...world.on(host)], MADE_ROOM_MAX);
}

/** Whether every VM of a host that no tie binds to it can restart elsewhere. The world is as before afterwards. */
export function canBeLost(world: MaintenanceWorld, host: HostName): Found {
  const there = [...world.on(host)].flatMap((id) => world.vms.get(id) ?? []);
  const left = there.filter(({ tie }) => tie === null || tie.hosts.some((name) => name !== host));
  return new Search(world, host, 'restarts').run(
    left.map(({ id }) => id),
    0,
  );
}

class Search {
  readonly #world: MaintenanceWorld;
  readonly #closed: HostName;
  readonly #by: 'moves' | 'restarts';
  #attempts = 0;

  constructor(world: MaintenanceWorld, closed: HostName, by: 'moves' | 'restarts') {
    this.#world = world;
    this.#closed = closed;
    this.#by = by;
  }

  run(vms: readonly VmId[], madeRoomMax: number): Found {
    const largestFirst = vms.toSorted((a, b) => (this.#vm(b)?.memoryMib ?? 0) - (this.#vm(a)?.memoryMib ?? 0));
    if (this.#place(largestFirst, madeRoomMax)) return 'yes';
    return this.#attempts >= ATTEMPTS_MAX ? 'open' : 'no';
  }

  #vm(id: VmId): EstateVm | undefined {
    return this.#world.vms.get(id);
  }

  /** Whether all these VMs find a place, while at most so many others make room. */
  #place(vms: readonly VmId[], madeRoomMax: number): boolean {
    const [first, ...others] = vms;
    if (first === undefined) return true;
    for (const to of this.#placesOf(first))
      if (this.#with(first, to, () => this.#place(others, madeRoomMax))) return true;
    return madeRoomMax > 0 && this.#makingRoom(vms, madeRoomMax);
  }

  /** Whether they find one after another VM has moved from a host that is not full of them. */
  #makingRoom(vms: readonly VmId[], madeRoomMax: number): boolean {
    for (const { name } of this.#world.hosts.values()) {
      if (name === this.#closed) continue;
      for (const other of [...this.#world.on(name)])
        for (const to of this.#placesOf(other))
          if (this.#with(other, to, () => this.#place(vms, madeRoomMax - 1))) return true;
    }
    return false;
  }

  /** Does `then` with a VM elsewhere. */
  #with(id: VmId, to: HostName, then: () => boolean): boolean {
    const from = this.#world.hostOf(id);
    if (from === undefined) return false;
    this.#world.arrive(id, to);
    try {
      return then();
    } finally {
      this.#world.arrive(id, from);
    }
  }

  /** The hosts that a VM can go to now; of hosts that differ in nothing that counts, all. */
  #placesOf(id: VmId): HostName[] {
    const vm = this.#vm(id);
    const from = this.#world.hostOf(id);
    if (vm === undefined || from === undefined || !this.#mayGo(vm)) return [];
    const places: HostName[] = [];
    for (const { name } of this.#world.hosts.values()) {
      if (name === from || name === this.#closed) continue;
      this.#attempts += 1;
      if (this.#attempts >= ATTEMPTS_MAX) return [];
      if (this.#fits(vm, name)) places.push(name);
    }
    return places;
  }

  /** Whether a VM may go anywhere: a restart asks nobody. */
  #mayGo({ id, unsettled, movingTo, pauseMs }: EstateVm): boolean {
    if (this.#by === 'restarts') return true;
    if (unsettled !== null || movingTo !== null) return false;
    const cluster = this.#world.clusterOf.get(id);
    if (cluster === undefined) return true;
    if (pauseMs > cluster.toleratesMs) return false;
    return cluster.disturbed.filter((other) => other !== id).length < cluster.maxDisturbed;
  }

  #fits(vm: EstateVm, to: HostName): boolean {
    const world = this.#world;
    const [there, here] = [world.host(to), world.host(world.hostOf(vm.id) ?? vm.host)];
    if (world.misfit(vm, there) !== null) return false;
    const free = world.free(to);
    if (free.mib < vm.memoryMib || free.cpu < vm.vcpus) return false;
    const isOlder = there.release !== 0 && there.release < here.release;
    if (this.#by === 'moves' && (there.accelerator !== here.accelerator || isOlder)) return false;
    return (world.apartOf.get(vm.id) ?? []).every((rule) => {
      const place = world.placeOf(to, rule.by);
      const isThere = world.hostsOf(vm.id).some((host) => world.placeOf(host, rule.by) === place);
      return world.count(rule, place) + (isThere ? 0 : 1) <= rule.most;
    });
  }
}
