/**
 * A checker's view of the estate between two waves of a maintenance plan. Written anew from
 * docs/specs/maintenance-plan.md.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import type { Estate, EstateGuestCluster, EstateHost, EstateRule, EstateVm } from '../maintenance/estate.ts';

/** A rule that keeps VMs apart, guest clusters' included. */
export interface Apart {
  readonly name: string;
  readonly vms: ReadonlySet<VmId>;
  readonly by: 'host' | 'rack';
  readonly most: number;
}

/** VMs that are put on their hosts as one piece. */
const PUT_AT_ONCE = 500;

/**
 * See the module's comment. A wave looks only at the hosts and VMs that it touches: a roll has hundreds of waves over
 * the same estate.
 */
export class MaintenanceWorld {
  readonly estate: Estate;
  readonly hosts: Map<HostName, EstateHost>;
  readonly vms: ReadonlyMap<VmId, EstateVm>;
  /** For each VM: the hard rules that keep it apart, those that keep it together, its guest cluster. */
  readonly apartOf: ReadonlyMap<VmId, readonly Apart[]>;
  readonly togetherOf: ReadonlyMap<VmId, readonly EstateRule[]>;
  readonly clusterOf: ReadonlyMap<VmId, EstateGuestCluster>;
  /** VMs whose move was under way in the snapshot. */
  readonly moving: readonly EstateVm[];
  readonly #at = new Map<VmId, HostName>();
  /** For each VM that counts as having arrived: the host that it comes from, where it still holds its room. */
  readonly #comesFrom = new Map<VmId, HostName>();
  readonly #arrived = new Set<VmId>();
  readonly #there = new Map<HostName, Set<VmId>>();
  /** Memory of the VMs on a host. */
  readonly #guestsMib = new Map<HostName, number>();
  /** The room that VMs hold on a host, including VMs that are moving to it. */
  readonly #held = new Map<HostName, { mib: number; cpu: number }>();

  private constructor(estate: Estate) {
    this.estate = estate;
    this.hosts = new Map(estate.hosts.map((host) => [host.name, host]));
    this.vms = new Map(estate.vms.map((vm) => [vm.id, vm]));
    const rules = estate.rules.filter(({ kind, hard }) => kind === 'apart' && hard);
    const clusters = estate.guestClusters.filter(({ sharesHosts }) => !sharesHosts);
    const apart: Apart[] = [
      ...rules.map(({ name, vms, by, most }) => ({ name: `rule ${name}`, vms: new Set(vms), by, most })),
      ...clusters.map(({ name, members }) => ({
        name: `guest cluster ${name}`,
        vms: new Set(members),
        by: 'host' as const,
        most: 1,
      })),
    ];
    this.apartOf = byVm(apart);
    this.togetherOf = byVm(estate.rules.filter(({ kind, hard }) => kind === 'together' && hard));
    this.clusterOf = new Map(estate.guestClusters.flatMap((one) => one.members.map((vm) => [vm, one])));
    this.moving = estate.vms.filter(({ movingTo }) => movingTo !== null);
  }

  /** Makes the world before any wave; in pieces. */
  static *of(estate: Estate): Generator<void, MaintenanceWorld> {
    const world = new MaintenanceWorld(estate);
    for (const [number, { id, host }] of estate.vms.entries()) {
      if (number % PUT_AT_ONCE === 0) yield;
      world.#put(id, host);
    }
    return world;
  }

  /** The host of a VM; undefined: there is no such VM. */
  hostOf(id: VmId): HostName | undefined {
    return this.#at.get(id);
  }

  /** The VMs on a host, not those that are only moving to it. */
  on(host: HostName): ReadonlySet<VmId> {
    return this.#there.get(host) ?? new Set();
  }

  /** Memory of the VMs on a host, in MiB. */
  guestsMib(host: HostName): number {
    return this.#guestsMib.get(host) ?? 0;
  }

  /** Returns true if the VM is on its way, and its planned move begins when it has arrived. */
  countsAsArrived(id: VmId): boolean {
    return this.#comesFrom.has(id) || this.#arrived.has(id);
  }

  /** The wave is over, and so are all moves to one of its hosts: the room held at their sources is given back. */
  endArrivals(): void {
    for (const [id, from] of this.#comesFrom) {
      this.#holdOn(from, id, -1);
      this.#arrived.add(id);
    }
    this.#comesFrom.clear();
  }

  /** Treats VMs that are on their way to one of these hosts as arrived: both ends hold their room. */
  awaitArrivals(hosts: ReadonlySet<HostName>, begun: ReadonlySet<VmId>): void {
    for (const { id, movingTo } of this.moving) {
      if (movingTo === null || !hosts.has(movingTo) || begun.has(id) || this.countsAsArrived(id)) continue;
      const from = this.#at.get(id);
      if (from === undefined) continue;
      this.arrive(id, movingTo);
      this.#comesFrom.set(id, from);
      this.#holdOn(from, id, 1);
    }
  }

  /** A move, or a restart, that has ended. */
  arrive(id: VmId, to: HostName): void {
    this.#hold(id, -1);
    const from = this.#at.get(id) ?? to;
    this.#there.get(from)?.delete(id);
    this.#guestsMib.set(from, this.guestsMib(from) - (this.vms.get(id)?.memoryMib ?? 0));
    this.#put(id, to);
  }

  host(name: HostName): EstateHost {
    const host = this.hosts.get(name);
    if (host === undefined) throw new Error(`No host ${name} is in the snapshot.`);
    return host;
  }

  /** The place (host or rack) in which a rule counts a VM that is on the host. */
  placeOf(host: HostName, by: EstateRule['by']): string {
    const { rack } = this.host(host);
    return by === 'host' || rack === null ? `host ${host}` : `rack ${rack}`;
  }

  /** VMs of a rule in a place, those that are moving there included. */
  count({ vms, by }: Apart, place: string): number {
    let count = 0;
    for (const id of vms) {
      const places = this.hostsOf(id).map((host) => this.placeOf(host, by));
      if (places.includes(place)) count += 1;
    }
    return count;
  }

  /** The hosts that hold memory of a VM: its own, and the other end of a move that was under way. */
  hostsOf(id: VmId): HostName[] {
    const host = this.#at.get(id);
    if (host === undefined) return [];
    const from = this.#comesFrom.get(id);
    if (from !== undefined) return [host, from];
    const to = this.#arrived.has(id) ? null : (this.vms.get(id)?.movingTo ?? null);
    return to === null || to === host ? [host] : [host, to];
  }

  /** Memory and vCPUs that are free on a host. */
  free(name: HostName): { mib: number; cpu: number } {
    const { memoryMib, claimedMib, vcpus } = this.host(name);
    const held = this.#held.get(name) ?? { mib: 0, cpu: 0 };
    const cpu = vcpus === 0 ? Number.POSITIVE_INFINITY : Math.floor(vcpus * this.estate.policy.vcpuOvercommit);
    return { mib: memoryMib - claimedMib - held.mib, cpu: cpu - held.cpu };
  }

  /** Hard rules that name one of the VMs and whose VMs are all in one place now. */
  together(vms: Iterable<VmId>): EstateRule[] {
    const rules = new Set([...vms].flatMap((id) => this.togetherOf.get(id) ?? []));
    return [...rules].filter((rule) => this.isTogether(rule));
  }

  /** Returns true if the VMs of a rule are in one place. */
  isTogether({ vms, by }: EstateRule): boolean {
    const places = vms.flatMap((id) => {
      const host = this.#at.get(id);
      return host === undefined ? [] : [this.placeOf(host, by)];
    });
    return new Set(places).size <= 1;
  }

  /** Why a VM cannot run on a host at all; null: it can. */
  misfit(vm: EstateVm, host: EstateHost): string | null {
    if (host.state !== 'in-service') return `${host.name} is ${host.state}`;
    if (vm.tie !== null && !vm.tie.hosts.includes(host.name))
      return `tie ${vm.tie.name} keeps ${vm.name} from ${host.name}`;
    if (vm.cpuModel !== 'baseline' && !host.cpuModels.includes(vm.cpuModel))
      return `${host.name} has no ${vm.cpuModel}`;
    for (const network of vm.networks)
      if (host.withoutNetworks.includes(network)) return `${host.name} does not reach network ${network}`;
    for (const node of vm.storage)
      if (host.withoutStorage.includes(node)) return `${host.name} does not reach storage node ${node}`;
    return null;
  }

  #put(id: VmId, host: HostName): void {
    this.#at.set(id, host);
    const there = this.#there.get(host) ?? new Set();
    this.#there.set(host, there.add(id));
    this.#guestsMib.set(host, this.guestsMib(host) + (this.vms.get(id)?.memoryMib ?? 0));
    this.#hold(id, 1);
  }

  #hold(id: VmId, sign: 1 | -1): void {
    for (const host of this.hostsOf(id)) this.#holdOn(host, id, sign);
  }

  #holdOn(host: HostName, id: VmId, sign: 1 | -1): void {
    const { memoryMib = 0, vcpus = 0 } = this.vms.get(id) ?? {};
    const held = this.#held.get(host) ?? { mib: 0, cpu: 0 };
    this.#held.set(host, { mib: held.mib + sign * memoryMib, cpu: held.cpu + sign * vcpus });
  }
}

function byVm<T extends { readonly vms: Iterable<VmId> }>(rules: readonly T[]): Map<VmId, T[]> {
  const found = new Map<VmId, T[]>();
  for (const rule of rules) {
    for (const vm of rule.vms) {
      const known = found.get(vm);
      if (known === undefined) found.set(vm, [rule]);
      else known.push(rule);
    }
  }
  return found;
}
