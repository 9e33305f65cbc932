/**
 * What a checker of maintenance plans knows of the estate between two waves. Written anew from
 * docs/specs/maintenance-plan.md.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import type { Estate, EstateHost, EstateRule, EstateVm } from '../maintenance/estate.ts';

/** A rule that keeps VMs apart, guest clusters' included. */
export interface Apart {
  readonly name: string;
  readonly vms: ReadonlySet<VmId>;
  readonly by: 'host' | 'rack';
  readonly most: number;
}

/** See the module. */
export class MaintenanceWorld {
  readonly estate: Estate;
  readonly hosts: Map<HostName, EstateHost>;
  readonly vms: ReadonlyMap<VmId, EstateVm>;
  /** The host of every VM. */
  readonly at: Map<VmId, HostName>;
  readonly apart: readonly Apart[];

  constructor(estate: Estate) {
    this.estate = estate;
    this.hosts = new Map(estate.hosts.map((host) => [host.name, host]));
    this.vms = new Map(estate.vms.map((vm) => [vm.id, vm]));
    this.at = new Map(estate.vms.map(({ id, host }) => [id, host]));
    const rules = estate.rules.filter(({ kind, hard }) => kind === 'apart' && hard);
    const clusters = estate.guestClusters.filter(({ sharesHosts }) => !sharesHosts);
    this.apart = [
      ...rules.map(({ name, vms, by, most }) => ({ name: `rule ${name}`, vms: new Set(vms), by, most })),
      ...clusters.map(({ name, members }) => ({
        name: `guest cluster ${name}`,
        vms: new Set(members),
        by: 'host' as const,
        most: 1,
      })),
    ];
  }

  host(name: HostName): EstateHost {
    const host = this.hosts.get(name);
    if (host === undefined) throw new Error(`No host ${name} is in the snapshot.`);
    return host;
  }

  /** Where a rule counts a VM that is on the host. */
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

  /** The hosts that hold memory of a VM: its own, and the destination of a move that was under way. */
  hostsOf(id: VmId): HostName[] {
    const host = this.at.get(id);
    const to = this.vms.get(id)?.movingTo ?? null;
    return host === undefined ? [] : to === null || to === host ? [host] : [host, to];
  }

  /** Memory and vCPUs that are free on every host. */
  free(): Map<HostName, { mib: number; cpu: number }> {
    const { vcpuOvercommit } = this.estate.policy;
    const free = new Map(
      [...this.hosts.values()].map((host) => {
        const cpu = host.vcpus === 0 ? Number.POSITIVE_INFINITY : Math.floor(host.vcpus * vcpuOvercommit);
        return [host.name, { mib: host.memoryMib - host.claimedMib, cpu }];
      }),
    );
    for (const vm of this.vms.values()) {
      for (const host of this.hostsOf(vm.id)) {
        const room = free.get(host);
        if (room === undefined) continue;
        room.mib -= vm.memoryMib;
        room.cpu -= vm.vcpus;
      }
    }
    return free;
  }

  /** Hard rules whose VMs are all in one place now. */
  together(): EstateRule[] {
    return this.estate.rules.filter((rule) => rule.kind === 'together' && rule.hard && this.isTogether(rule));
  }

  /** Returns true if the VMs of a rule are in one place. */
  isTogether({ vms, by }: EstateRule): boolean {
    const places = vms.flatMap((id) => {
      const host = this.at.get(id);
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
}
