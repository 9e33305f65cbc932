/** Reads the managed objects of a vCenter into an estate. */
import { plainHost, plainVm } from '../../estate/defaults.ts';
import type { Evidence, FailoverReserve, Nic, Reach, Tie, Unknown, Vm } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { ExportSite } from '../export-site.ts';
import { flagOf, numberOf } from '../formats/values.ts';
import { devicesOf } from './devices.ts';
import { HELPER, helperTie } from './helpers.ts';
import { InventoryNetworks } from './inventory-networks.ts';
import { readRules } from './inventory-rules.ts';
import { type ManagedObject, type ManagedType, pick, pickList, pickText, refOf, refType } from './managed-objects.ts';

/** The remedy for everything that an export lacks. */
export const FIX =
  'Export with govc: vm.info -json, host.info -json, datastore.info -json, and collect -json of the clusters and port groups (docs/operating/audit.md).';

/** Reads all objects of a vCenter. */
export class InventoryReader {
  readonly #objects: ReadonlyMap<string, ManagedObject>;
  readonly #site: ExportSite<never, never>;
  readonly #into: EstateBuilder;
  readonly #networks: InventoryNetworks;
  /** Restrictions of VMs by rules. */
  readonly #limits: ReadonlyMap<string, readonly Tie[]>;

  constructor(objects: ReadonlyMap<string, ManagedObject>, site: ExportSite<never, never>) {
    this.#objects = objects;
    this.#site = site;
    this.#into = site.into;
    this.#networks = new InventoryNetworks(this.#of('HostSystem'), [...objects.values()], site);
    this.#limits = readRules(this.#of('ClusterComputeResource'), site);
  }

  read(): void {
    this.#tellFiles();
    for (const host of this.#of('HostSystem')) this.#host(host);
    for (const storage of this.#of('Datastore')) this.#datastore(storage);
    this.#networks.read();
    this.#reservedLuns();
    for (const vm of this.#of('VirtualMachine')) this.#vm(vm);
  }

  #of(type: ManagedType): readonly ManagedObject[] {
    return [...this.#objects.values()].filter((one) => one.type === type);
  }

  #tellFiles(): void {
    const needed = [
      ['VirtualMachine', 'vms'],
      ['HostSystem', 'hosts'],
      ['Datastore', 'storage'],
      ['ClusterComputeResource', 'rules'],
    ] as const;
    for (const [type, aspect] of needed)
      if (this.#of(type).length === 0) this.#site.gap(aspect, 'file', '', `the JSON of type ${type}`, '');
  }

  #gap(object: ManagedObject, aspect: 'hosts' | 'memory' | 'cpu' | 'vms', column: string): void {
    this.#site.gap(aspect, 'column', object.file, object.type, column);
  }

  #host(host: ManagedObject): void {
    const { fields, file, id } = host;
    const name = pickText(fields, 'name') || pickText(fields, 'summary', 'config', 'name') || id;
    const bytes = numberOf(pick(fields, 'summary', 'hardware', 'memorySize') ?? pick(fields, 'hardware', 'memorySize'));
    const maintenance = flagOf(
      pick(fields, 'runtime', 'inMaintenanceMode') ?? pick(fields, 'summary', 'runtime', 'inMaintenanceMode'),
    );
    const state =
      pickText(fields, 'runtime', 'connectionState') || pickText(fields, 'summary', 'runtime', 'connectionState');
    const model = pickText(fields, 'summary', 'hardware', 'cpuModel');
    const evc = pickText(fields, 'summary', 'currentEVCModeKey');
    if (bytes === null) this.#gap(host, 'memory', 'summary.hardware.memorySize');
    if (model === '' && evc === '') this.#gap(host, 'cpu', 'summary.hardware.cpuModel');
    if (maintenance === null) this.#gap(host, 'hosts', 'runtime.inMaintenanceMode');
    const isAway = maintenance === true || (state !== '' && !/^connected$|^0$/i.test(state));
    this.#into.host(
      plainHost({
        key: this.#site.key(id),
        name,
        ...this.#site.origin,
        cluster: this.#clusterOf(host, name),
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        state: isAway ? 'out of service' : maintenance === null ? 'unknown' : 'in service',
        cpu: evc === '' ? (model === '' ? null : model) : `EVC ${evc}`,
        cpuModel: model === '' ? null : model,
        evidence: evidence(file, 'HostSystem', name, 'name', name),
      }),
    );
  }

  #clusterOf(host: ManagedObject, hostName: string): string | null {
    const parent = pick(host.fields, 'parent');
    const id = refOf(parent);
    if (id === '') {
      this.#gap(host, 'hosts', 'parent');
      return null;
    }
    const isCluster = refType(parent) === 'ClusterComputeResource' || /^domain-c/.test(id);
    const name = isCluster ? pickText(this.#objects.get(id)?.fields, 'name') || id : hostName;
    return this.#into.cluster({
      ...this.#site.origin,
      key: this.#site.key(id),
      name,
      reserve: reserveOf(this.#objects.get(id), name),
    });
  }

  #datastore({ fields, file, id }: ManagedObject): void {
    const name = pickText(fields, 'name') || pickText(fields, 'summary', 'name') || id;
    const place = evidence(
      file,
      'Datastore',
      name,
      'summary.multipleHostAccess',
      pick(fields, 'summary', 'multipleHostAccess'),
    );
    this.#into.storage({ key: this.#site.key(id), name, reach: this.#storageReach(id, fields), evidence: place });
    this.#storageByName.set(name, this.#site.key(id));
  }

  /** Returns LUNs that hosts are configured to ignore: a guest cluster holds a reservation on them. */
  #reservedLuns(): void {
    const hosts = new Map<string, Set<string>>();
    const files = new Map<string, string>();
    for (const { fields, id, file } of this.#of('HostSystem'))
      for (const lun of pickList(fields, 'config', 'storageDevice', 'scsiLun')) {
        const name = pickText(lun, 'canonicalName');
        if (name === '' || flagOf(pick(lun, 'perenniallyReserved')) !== true) continue;
        hosts.set(name, (hosts.get(name) ?? new Set()).add(this.#site.key(id)));
        files.set(name, file);
      }
    for (const [name, all] of hosts) {
      const place = evidence(
        files.get(name) ?? '',
        'HostSystem',
        name,
        'config.storageDevice.scsiLun.perenniallyReserved',
        true,
      );
      this.#into.guestLun({ name, isReserved: true, hosts: all, evidence: place });
    }
  }

  readonly #storageByName = new Map<string, string>();

  #storageReach(id: string, fields: unknown): Reach {
    const mounts = pickList(fields, 'host').map((mount) => this.#site.key(refOf(pick(mount, 'key'))));
    if (mounts.length > 0) return { kind: 'hosts', hosts: new Set(mounts) };
    const hosts = this.#of('HostSystem');
    const says = hosts.filter((host) => pick(host.fields, 'datastore') !== undefined);
    const has = says.filter((host) => pickList(host.fields, 'datastore').some((one) => refOf(one) === id));
    if (says.length === hosts.length && has.length > 0)
      return { kind: 'hosts', hosts: new Set(has.map((host) => this.#site.key(host.id))) };
    return flagOf(pick(fields, 'summary', 'multipleHostAccess')) === false ? { kind: 'local' } : { kind: 'unknown' };
  }

  #storageOf(datastore: string, path: string): { storage: string | null; reach: Reach } {
    const name = /^\[([^\]]+)\]/.exec(path)?.[1] ?? '';
    const byId = this.#site.key(datastore);
    const key = datastore !== '' && this.#into.storages.has(byId) ? byId : this.#storageByName.get(name);
    return { storage: key ?? null, reach: { kind: 'unknown' } };
  }

  #vm(object: ManagedObject): void {
    const { fields, file, id } = object;
    const name =
      pickText(fields, 'name') ||
      pickText(fields, 'config', 'name') ||
      pickText(fields, 'summary', 'config', 'name') ||
      id;
    const config = pick(fields, 'config');
    const at = (column: string, value: unknown): Evidence => evidence(file, 'VirtualMachine', name, column, value);
    const isHelper = HELPER.test(name);
    const state = pick(fields, 'runtime', 'powerState') ?? pick(fields, 'summary', 'runtime', 'powerState');
    const power = isHelper ? 'stopped' : powerOf(state);
    const isTemplate = flagOf(pick(config, 'template') ?? pick(fields, 'summary', 'config', 'template')) === true;
    const hostRef = refOf(pick(fields, 'runtime', 'host') ?? pick(fields, 'summary', 'runtime', 'host'));
    const host = this.#into.hosts.has(this.#site.key(hostRef)) ? this.#site.key(hostRef) : null;
    const runs = !isTemplate && (power === 'running' || power === 'unknown');
    if (runs && host === null) this.#gapOfHost(object, hostRef);
    const version = numberOf(pickText(config, 'version').replace(/^vmx-/, '')) ?? 0;
    const devices = devicesOf(pickList(config, 'hardware', 'device'), {
      file,
      group: this.#site.origin.group,
      vm: name,
      version,
      storageOf: (datastore, path) => this.#storageOf(datastore, path),
    });
    const nics: readonly Nic[] = devices.nics.map((nic) =>
      this.#networks.nic(nic.device, host, this.#address(fields), nic.evidence),
    );
    const reserved =
      pick(config, 'memoryAllocation', 'reservation') ??
      pick(fields, 'resourceConfig', 'memoryAllocation', 'reservation');
    this.#into.vm(
      plainVm({
        key: this.#site.key(id),
        uuid: pickText(config, 'instanceUuid') || pickText(config, 'uuid'),
        name,
        ...this.#site.origin,
        host,
        hostSaid: hostRef,
        power,
        isTemplate,
        memoryMib: numberOf(pick(config, 'hardware', 'memoryMB') ?? pick(fields, 'summary', 'config', 'memorySizeMB')),
        reservedMib: numberOf(reserved) ?? 0,
        cpus: numberOf(pick(config, 'hardware', 'numCPU') ?? pick(fields, 'summary', 'config', 'numCpu')),
        disks: devices.disks,
        nics,
        ties: [
          ...devices.ties,
          ...configTies(fields, at),
          ...(this.#limits.get(id) ?? []),
          ...(isHelper ? [helperTie(at('name', name))] : []),
        ],
        unknowns: runs ? unknownsOf(config, at) : [],
        notes: pickText(config, 'annotation'),
        guest: pickText(config, 'guestFullName') || pickText(fields, 'summary', 'config', 'guestFullName'),
        evidence: at('name', name),
      }),
    );
  }

  #address(fields: unknown): string {
    return pickList(fields, 'guest', 'net')
      .flatMap((net) => pickList(net, 'ipAddress'))
      .filter((address) => typeof address === 'string')
      .join(' ');
  }

  #gapOfHost({ file }: ManagedObject, said: string): void {
    this.#site.gap('vms', said === '' ? 'column' : 'join', file, 'VirtualMachine', 'runtime.host', said);
  }
}

/** Returns the room that admission control keeps for lost hosts. */
function reserveOf(cluster: ManagedObject | undefined, name: string): FailoverReserve | undefined {
  const das =
    pick(cluster?.fields, 'configurationEx', 'dasConfig') ?? pick(cluster?.fields, 'configuration', 'dasConfig');
  const isOn = flagOf(pick(das, 'enabled')) === true && flagOf(pick(das, 'admissionControlEnabled')) === true;
  const level = pick(das, 'admissionControlPolicy', 'failoverLevel') ?? pick(das, 'failoverLevel');
  const hosts = numberOf(level) ?? 0;
  if (cluster === undefined || !isOn || hosts < 1) return undefined;
  return { hosts, evidence: evidence(cluster.file, cluster.type, name, 'dasConfig.failoverLevel', hosts) };
}

/** Fields that the API always writes; a VM without them was exported in part. */
function unknownsOf(config: unknown, at: (column: string, value: unknown) => Evidence): readonly Unknown[] {
  if (pick(config, 'hardware', 'device') === undefined)
    return [{ aspect: 'devices', evidence: at('config.hardware.device', ''), fix: FIX }];
  return [];
}

function configTies(fields: unknown, at: (column: string, value: unknown) => Evidence): readonly Tie[] {
  const config = pick(fields, 'config');
  const ties: Tie[] = [];
  const extra = new Map(pickList(config, 'extraConfig').map((one) => [pickText(one, 'key'), pickText(one, 'value')]));
  const pinned = extra.get('sched.cpu.affinity') ?? pickList(config, 'cpuAffinity', 'affinitySet').join(',');
  if (pinned !== '' && pinned !== 'all')
    ties.push({ kind: 'cpu pin', effect: 'blocks', subject: pinned, evidence: at('config.cpuAffinity', pinned) });
  const latency = pickText(config, 'latencySensitivity', 'level');
  if (latency === 'high')
    ties.push({
      kind: 'latency',
      effect: 'warns',
      subject: '',
      evidence: at('config.latencySensitivity.level', latency),
    });
  if (flagOf(pick(config, 'memoryReservationLockedToMax')) === true)
    ties.push({
      kind: 'locked memory',
      effect: 'warns',
      subject: '',
      evidence: at('config.memoryReservationLockedToMax', true),
    });
  const encryption = ['sevEnabled', 'tdxEnabled'].find((name) => flagOf(pick(config, name)) === true);
  const enclave = pick(config, 'sgxInfo', 'epcSize');
  if (encryption !== undefined || (numberOf(enclave) ?? 0) > 0) {
    const place = encryption === undefined ? at('config.sgxInfo.epcSize', enclave) : at(`config.${encryption}`, true);
    ties.push({ kind: 'encrypted memory', effect: 'blocks', subject: '', evidence: place });
  }
  const tolerance = pickText(fields, 'runtime', 'faultToleranceState');
  if (tolerance === 'running')
    ties.push({
      kind: 'fault tolerance',
      effect: 'warns',
      subject: '',
      evidence: at('runtime.faultToleranceState', tolerance),
    });
  const snapshot = pickText(pickList(fields, 'snapshot', 'rootSnapshotList')[0], 'name');
  if (snapshot !== '')
    ties.push({ kind: 'snapshot', effect: 'informs', subject: snapshot, evidence: at('snapshot', snapshot) });
  return ties;
}

function powerOf(value: unknown): Vm['power'] {
  if (value === 'poweredOn' || value === 1) return 'running';
  if (value === 'poweredOff' || value === 0) return 'stopped';
  return value === 'suspended' || value === 2 ? 'suspended' : 'unknown';
}
