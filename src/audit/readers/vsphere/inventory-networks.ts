/**
 * Networks of a vCenter: port groups of hosts with the adapters of their switches, and distributed port groups with
 * their uplinks.
 */

import type { Evidence, Nic, Reach } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { ExportSite } from '../export-site.ts';
import { type ManagedObject, pick, pickList, pickText, refOf } from './managed-objects.ts';

const FIX =
  'Export the hosts with their configuration: govc host.info -json, or govc collect -json HOST config.network.';

interface HostPort {
  readonly hasUplink: boolean;
  readonly switchName: string;
  readonly file: string;
}

/** The networks of one vCenter. */
export class InventoryNetworks {
  readonly #hosts: readonly ManagedObject[];
  readonly #objects: readonly ManagedObject[];
  readonly #site: ExportSite<never, never>;
  readonly #into: EstateBuilder;
  /** Port group -> key of a host -> its switch. */
  readonly #ports = new Map<string, Map<string, HostPort>>();
  readonly #hostsThatTell = new Set<string>();

  constructor(hosts: readonly ManagedObject[], objects: readonly ManagedObject[], site: ExportSite<never, never>) {
    this.#hosts = hosts;
    this.#objects = objects;
    this.#site = site;
    this.#into = site.into;
  }

  /** Reads hosts' switches and the distributed port groups. */
  read(): void {
    for (const host of this.#hosts) this.#readHost(host);
    for (const object of this.#objects) if (object.type === 'DistributedVirtualPortgroup') this.#readPortgroup(object);
  }

  #readHost({ fields, file, id }: ManagedObject): void {
    const network = pick(fields, 'config', 'network');
    if (network === undefined) {
      this.#into.gap({
        ...this.#site.origin,
        aspect: 'networks',
        kind: 'column',
        file,
        part: 'HostSystem',
        column: 'config.network',
        count: 1,
        fix: FIX,
        hosts: new Set([this.#site.key(id)]),
      });
      return;
    }
    this.#hostsThatTell.add(this.#site.key(id));
    const uplinks = new Map(
      pickList(network, 'vswitch').map((one) => [pickText(one, 'name'), pickList(one, 'pnic').length]),
    );
    for (const port of pickList(network, 'portgroup')) {
      const name = pickText(port, 'spec', 'name');
      const switchName = pickText(port, 'spec', 'vswitchName');
      const there = this.#ports.get(name) ?? new Map<string, HostPort>();
      this.#ports.set(name, there);
      there.set(this.#site.key(id), { hasUplink: (uplinks.get(switchName) ?? 0) > 0, switchName, file });
    }
  }

  #readPortgroup({ fields, file, id }: ManagedObject): void {
    const name = pickText(fields, 'name') || pickText(fields, 'config', 'name') || id;
    const order = pick(fields, 'config', 'defaultPortConfig', 'uplinkTeamingPolicy', 'uplinkPortOrder');
    const active = pickList(order, 'activeUplinkPort');
    const standby = pickList(order, 'standbyUplinkPort');
    const isIsolated = order !== undefined && active.length + standby.length === 0;
    const hosts = pickList(fields, 'host').map((one) => this.#site.key(refOf(one)));
    const reach: Reach = hosts.length === 0 ? this.#reachByHosts(id) : { kind: 'hosts', hosts: new Set(hosts) };
    const place = evidence(file, 'DistributedVirtualPortgroup', name, 'uplinkPortOrder', order);
    // Without the teaming settings, it is unknown whether the port group has an uplink.
    const known: Reach = order === undefined ? { kind: 'unknown' } : reach;
    this.#into.network({ key: this.#site.key(id), name, reach: known, isIsolated, evidence: place });
  }

  #reachByHosts(id: string): Reach {
    const says = this.#hosts.filter(({ fields }) => pick(fields, 'network') !== undefined);
    const has = says.filter(({ fields }) => pickList(fields, 'network').some((one) => refOf(one) === id));
    if (says.length < this.#hosts.length || has.length === 0) return { kind: 'unknown' };
    return { kind: 'hosts', hosts: new Set(has.map((host) => this.#site.key(host.id))) };
  }

  /**
   * Returns the adapter's network; a standard port group is a separate network on each host, since a standard switch
   * ends there.
   */
  nic(device: unknown, host: string | null, address: string, place: Evidence): Nic {
    const none: Nic = { network: null, address, evidence: place };
    if (pick(device, 'connectable', 'connected') === false) return none;
    const portgroup = pickText(device, 'backing', 'port', 'portgroupKey');
    if (portgroup !== '') {
      const key = this.#site.key(portgroup);
      if (!this.#into.networks.has(key))
        this.#into.network({ key, name: portgroup, reach: { kind: 'unknown' }, isIsolated: false, evidence: place });
      return { ...none, network: key };
    }
    const name = pickText(device, 'backing', 'deviceName');
    if (name === '' || host === null || !this.#hostsThatTell.has(host)) return none;
    const there = this.#ports.get(name);
    const mine = there?.get(host);
    const isIsolated = mine !== undefined && !mine.hasUplink;
    const reach: Reach =
      there === undefined || mine === undefined ? { kind: 'unknown' } : { kind: 'hosts', hosts: new Set(there.keys()) };
    const key = this.#site.key(isIsolated ? host : '', name);
    const at =
      mine === undefined
        ? place
        : evidence(mine.file, 'HostSystem', name, 'config.network.vswitch.pnic', mine.hasUplink ? 'present' : 'none');
    this.#into.network({ key, name, reach, isIsolated, evidence: at });
    return { ...none, network: key };
  }
}
