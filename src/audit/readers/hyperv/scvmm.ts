/** Reads SCVMM's inventory: VMs, hosts, networks and clusters as its cmdlets return them. */
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import { type Disk, type Evidence, type Identity, keyOf, type Nic, type Tie, type Vm } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import { type Fields, fieldsOf, flagOf, listOf, numberOf } from '../formats/values.ts';
import { Places } from './places.ts';
import { type HyperVRecord, type Kind, objectsIn, textIn } from './records.ts';

const PLATFORM = 'hyperv';
const GROUP = 'scvmm';
const FIX =
  'Export Get-SCVirtualMachine, Get-SCVMHost, Get-SCVMHostCluster and Get-SCVirtualNetwork with `ConvertTo-Json -Depth 6`.';

/** Reads the records of SCVMM. Throws `Unreadable` for truncated objects. */
export class ScvmmReader {
  readonly #records: ReadonlyMap<Kind, readonly HyperVRecord[]>;
  readonly #into: EstateBuilder;
  readonly #places: Places;
  /** Host name in lower case -> the cluster's name and the node's own fields. */
  readonly #nodes = new Map<string, { cluster: string; fields: Fields }>();
  readonly #switchHosts = new Map<string, Set<string>>();
  readonly #isolated = new Map<string, boolean>();

  constructor(records: ReadonlyMap<Kind, readonly HyperVRecord[]>, into: EstateBuilder) {
    this.#records = records;
    this.#into = into;
    this.#places = new Places(into);
  }

  read(): void {
    this.#tellFiles();
    this.#readNodes();
    for (const record of this.#of('scvmm host')) this.#host(record);
    for (const record of this.#of('scvmm network')) this.#readSwitch(record);
    for (const record of this.#of('scvmm network')) this.#network(record);
    for (const record of this.#of('scvmm vm')) this.#vm(record);
  }

  #of(kind: Kind): readonly HyperVRecord[] {
    return this.#records.get(kind) ?? [];
  }

  #tellFiles(): void {
    const needed = [
      ['scvmm vm', 'vms', 'the list of VMs (Get-SCVirtualMachine)'],
      ['scvmm host', 'hosts', 'the list of hosts (Get-SCVMHost)'],
      ['scvmm cluster', 'hosts', 'the list of clusters (Get-SCVMHostCluster)'],
      ['scvmm network', 'networks', 'the list of switches (Get-SCVirtualNetwork)'],
    ] as const;
    for (const [kind, aspect, part] of needed)
      if (this.#of(kind).length === 0)
        this.#into.gap({ platform: PLATFORM, group: GROUP, aspect, kind: 'file', file: '', part, fix: FIX });
  }

  #gap(
    record: HyperVRecord,
    aspect: 'hosts' | 'vms' | 'disks' | 'devices' | 'networks' | 'memory' | 'storage' | 'cpu',
    column: string,
  ): void {
    const part = 'VMHost' in record.fields || 'HostName' in record.fields ? 'VM' : 'host';
    this.#into.gap({
      platform: PLATFORM,
      group: GROUP,
      aspect,
      kind: 'column',
      file: record.file,
      part,
      column,
      count: 1,
      fix: FIX,
    });
  }

  #readNodes(): void {
    for (const record of this.#of('scvmm cluster'))
      for (const fields of objectsIn(record, 'Nodes'))
        this.#nodes.set(hostWord(textIn(fields, 'Name', 'FullyQualifiedDomainName')), {
          cluster: textIn(record.fields, 'ClusterName', 'Name'),
          fields,
        });
  }

  #host(record: HyperVRecord): void {
    const { fields, file } = record;
    const name = textIn(fields, 'Name', 'FullyQualifiedDomainName', 'ComputerName');
    const key = hostKey(name);
    const node = this.#nodes.get(hostWord(name));
    const bytes = numberOf(fields['TotalMemory']);
    const answers = textIn(fields, 'CommunicationStateString', 'CommunicationState');
    const isAway = flagOf(fields['MaintenanceHost'] ?? node?.fields['MaintenanceHost']) === true;
    const model = [
      textIn(fields, 'ProcessorManufacturer'),
      textIn(fields, 'ProcessorModel'),
      textIn(fields, 'ProcessorFamily'),
    ]
      .join(' ')
      .trim();
    const cluster = node?.cluster ?? (textIn(fields, 'HostCluster').split('.')[0] || '');
    const isKnown = this.#of('scvmm cluster').length > 0 || 'HostCluster' in fields;
    if (isKnown)
      this.#into.cluster({
        key: keyOf(PLATFORM, cluster || key),
        name: cluster || name,
        platform: PLATFORM,
        group: GROUP,
      });
    if (!('TotalMemory' in fields)) this.#gap(record, 'memory', 'TotalMemory');
    if (!('ProcessorModel' in fields)) this.#gap(record, 'cpu', 'ProcessorModel');
    if (answers === '') this.#gap(record, 'hosts', 'CommunicationStateString');
    const isUp = /^(?:responding|0)$/i.test(answers);
    this.#into.host(
      plainHost({
        key,
        name,
        platform: PLATFORM,
        group: GROUP,
        cluster: isKnown ? keyOf(PLATFORM, cluster || key) : null,
        memoryMib: bytes === null || bytes === 0 ? null : bytes / 2 ** 20,
        state: isAway ? 'out of service' : isUp ? 'in service' : 'unknown',
        cpu: model === '' ? null : model,
        cpuModel: model === '' ? null : model,
        evidence: evidence(file, 'host', name, 'CommunicationStateString', answers),
      }),
    );
    if (node !== undefined && !('MaintenanceHost' in node.fields) && !('MaintenanceHost' in fields))
      this.#gap(record, 'hosts', 'MaintenanceHost');
    this.#volumes(record, key, isUp);
  }

  #volumes(record: HyperVRecord, key: string, isUp: boolean): void {
    if (!('DiskVolumes' in record.fields)) {
      if (isUp) this.#gap(record, 'storage', 'DiskVolumes');
      return;
    }
    const volumes = objectsIn(record, 'DiskVolumes').filter(
      (volume) => flagOf(volume['IsClusterSharedVolume']) === true,
    );
    const points = volumes.flatMap((volume) => [
      textIn(volume, 'Name'),
      ...textIn(volume, 'MountPoints').split(/ (?=[A-Za-z]:\\)/),
    ]);
    this.#places.note(key, new Set(points.map((point) => point.toLowerCase().replace(/\\$/, ''))));
  }

  #readSwitch({ fields }: HyperVRecord): void {
    const name = textIn(fields, 'Name');
    const host = hostKey(textIn(fields, 'VMHostName', 'VMHost'));
    this.#switchHosts.set(name, (this.#switchHosts.get(name) ?? new Set()).add(host));
    const adapters = fields['VMHostNetworkAdapters'];
    this.#isolated.set(
      keyOf(host, name),
      adapters === null || adapters === '' || listOf(adapters).length === 0
        ? typeof adapters !== 'string' || adapters === ''
        : false,
    );
  }

  #network({ fields, file }: HyperVRecord): void {
    const name = textIn(fields, 'Name');
    const said = textIn(fields, 'VMHostName', 'VMHost');
    const host = hostKey(said);
    this.#into.network({
      key: keyOf(PLATFORM, host, name),
      name,
      reach: { kind: 'hosts', hosts: this.#switchHosts.get(name) ?? new Set() },
      isIsolated: this.#isolated.get(keyOf(host, name)) ?? false,
      evidence: evidence(file, 'virtual network', name, 'VMHostNetworkAdapters', said === '' ? '' : 'none'),
    });
  }

  #vm(record: HyperVRecord): void {
    const { fields, file } = record;
    const name = textIn(fields, 'Name');
    const at = (column: string, value: unknown): Evidence => evidence(file, 'VM', name, column, value);
    const said = textIn(fields, 'HostName', 'VMHost');
    const host = this.#into.hosts.has(hostKey(said)) ? hostKey(said) : null;
    const power = powerOf(textIn(fields, 'VirtualMachineStateString', 'VirtualMachineState', 'Status', 'StatusString'));
    const runs = power === 'running' || power === 'unknown';
    if (runs && host === null) this.#gapOfHost(file, said);
    if (runs) this.#needFields(record);
    const adapters = objectsIn(record, 'VirtualNetworkAdapters');
    const home = textIn(fields, 'VMCPath');
    const homeDisk = plainDisk({
      label: 'configuration',
      ...this.#places.of(home, host, at('VMCPath', home)),
      evidence: at('VMCPath', home),
    });
    this.#into.vm(
      plainVm({
        key: keyOf(PLATFORM, textIn(fields, 'ID', 'VMId') || name),
        uuid: textIn(fields, 'ID'),
        name,
        platform: PLATFORM,
        group: GROUP,
        host,
        hostSaid: said,
        power,
        memoryMib: numberOf(fields['Memory']),
        cpus: numberOf(fields['CPUCount']),
        disks: [homeDisk, ...this.#disks(record, host, at), ...this.#media(record, host, at)],
        nics: adapters.map((adapter) => this.#nic(adapter, host, at)),
        ties: [
          ...driveTies(record, at),
          ...adapterTies(adapters, at),
          ...flagTies(fields, at),
          ...this.#owners(fields, at),
        ],
        owner: textIn(fields, 'Owner'),
        notes: textIn(fields, 'Description'),
        guest: textIn(fields, 'OperatingSystem'),
        evidence: at('Name', name),
      }),
    );
  }

  /** Fields that SCVMM always writes; if one is missing, the export may hide information. */
  #needFields(record: HyperVRecord): void {
    const needed = [
      ['VirtualHardDisks', 'disks'],
      ['VirtualDVDDrives', 'devices'],
      ['VirtualNetworkAdapters', 'networks'],
      ['VMCPath', 'storage'],
      ['Memory', 'memory'],
      ['HasPassthroughDisk', 'devices'],
    ] as const;
    for (const [column, aspect] of needed) if (!(column in record.fields)) this.#gap(record, aspect, column);
    const inner = [
      ['VirtualHardDisks', 'SharePath', 'disks'],
      ['VirtualDVDDrives', 'ISO', 'devices'],
      ['VirtualDVDDrives', 'HostDrive', 'devices'],
      ['VirtualNetworkAdapters', 'VirtualNetwork', 'networks'],
    ] as const;
    for (const [list, column, aspect] of inner)
      if (objectsIn(record, list).some((one) => !(column in one))) this.#gap(record, aspect, `${list}.${column}`);
  }

  #gapOfHost(file: string, example: string): void {
    const kind = example === '' ? 'column' : 'join';
    this.#into.gap({
      platform: PLATFORM,
      group: GROUP,
      aspect: 'vms',
      kind,
      file,
      part: 'VM',
      column: 'HostName',
      count: 1,
      example,
      fix: FIX,
    });
  }

  #disks(record: HyperVRecord, host: string | null, at: (column: string, value: unknown) => Evidence): readonly Disk[] {
    return objectsIn(record, 'VirtualHardDisks').map((fields) => {
      const path = textIn(fields, 'SharePath', 'Location');
      const place = at('VirtualHardDisks.SharePath', path);
      const bytes = numberOf(fields['Size'] ?? fields['MaximumSize']);
      const isSet = /\.vhds$/i.test(path);
      const permit: Disk['permit'] = isSet ? { kind: 'shared disk set', evidence: place } : null;
      return plainDisk({
        label: textIn(fields, 'Name'),
        identities: pathIdentity(path, host),
        permit,
        ...this.#places.of(path, host, place),
        sizeGib: bytes === null ? null : bytes / 2 ** 30,
        evidence: place,
      });
    });
  }

  #media(record: HyperVRecord, host: string | null, at: (column: string, value: unknown) => Evidence): readonly Disk[] {
    const paths = new Map(
      listOf(record.fields['DVDISO']).map((iso) => [textIn(fieldsOf(iso), 'Name'), textIn(fieldsOf(iso), 'SharePath')]),
    );
    return objectsIn(record, 'VirtualDVDDrives').flatMap((drive) => {
      const iso = textIn(drive, 'ISO');
      if (iso === '') return [];
      const path = textIn(fieldsOf(drive['ISO']), 'SharePath') || (paths.get(iso) ?? '');
      const place = at('VirtualDVDDrives.ISO', path === '' ? iso : path);
      const where =
        path === '' ? { storage: null, reach: { kind: 'unknown' } as const } : this.#places.of(path, host, place);
      return [
        plainDisk({ label: path === '' ? iso : path, ...where, isReadOnly: true, isMedia: true, evidence: place }),
      ];
    });
  }

  /** Nodes that may never own the VM are no targets. */
  #owners(fields: Fields, at: (column: string, value: unknown) => Evidence): readonly Tie[] {
    const listed = fields['ClusterNonPossibleOwner'];
    const never = (Array.isArray(listed) ? listed : []).map((one) =>
      typeof one === 'string' ? one : textIn(fieldsOf(one), 'Name'),
    );
    if (never.length === 0) return [];
    const isNever = (name: string): boolean =>
      never.some((one) => hostWord(one).split('.')[0] === hostWord(name).split('.')[0]);
    const hosts = [...this.#into.hosts.values()].filter(({ name }) => !isNever(name)).map(({ key }) => key);
    const place = at('ClusterNonPossibleOwner', never);
    return [{ kind: 'pinned', effect: 'limits', subject: never.join(', '), hosts: new Set(hosts), evidence: place }];
  }

  #nic(adapter: Fields, host: string | null, at: (column: string, value: unknown) => Evidence): Nic {
    const name = textIn(adapter, 'VirtualNetwork');
    const place = at('VirtualNetworkAdapters.VirtualNetwork', name);
    const address = [adapter['IPv4Addresses'], adapter['IPv6Addresses']]
      .flat()
      .filter((one) => typeof one === 'string')
      .join(' ');
    if (name === '' || host === null || this.#of('scvmm network').length === 0)
      return { network: null, address, evidence: place };
    const network = keyOf(PLATFORM, host, name);
    this.#into.network({ key: network, name, reach: { kind: 'unknown' }, isIsolated: false, evidence: place });
    return { network, address, evidence: place };
  }
}

function hostWord(name: string): string {
  return name.toLowerCase();
}

function hostKey(name: string): string {
  return keyOf(PLATFORM, hostWord(name));
}

/** Identifies a disk by path: a local path is a disk of one host only. */
export function pathIdentity(path: string, host: string | null): readonly Identity[] {
  if (path === '') return [];
  const isShared = path.startsWith('\\\\') || /^[A-Za-z]:\\ClusterStorage\\/i.test(path);
  const key = keyOf('path', PLATFORM, isShared ? '' : (host ?? ''), path.toLowerCase());
  return [{ key, kind: 'path', name: path }];
}

function driveTies(record: HyperVRecord, at: (column: string, value: unknown) => Evidence): readonly Tie[] {
  return objectsIn(record, 'VirtualDVDDrives').flatMap((drive): readonly Tie[] => {
    const subject = textIn(drive, 'HostDrive');
    return subject === ''
      ? []
      : [{ kind: 'host drive', effect: 'blocks', subject, evidence: at('VirtualDVDDrives.HostDrive', subject) }];
  });
}

function adapterTies(adapters: readonly Fields[], at: (column: string, value: unknown) => Evidence): readonly Tie[] {
  return adapters.flatMap((adapter): readonly Tie[] =>
    // Hyper-V falls back to the ordinary path during a live migration.
    flagOf(adapter['UsesSriov']) === true
      ? [{ kind: 'sr-iov', effect: 'warns', subject: '', evidence: at('VirtualNetworkAdapters.UsesSriov', true) }]
      : [],
  );
}

function flagTies(fields: Fields, at: (column: string, value: unknown) => Evidence): readonly Tie[] {
  const ties: Tie[] = [];
  const isOn = (name: string): boolean => flagOf(fields[name]) === true;
  if (isOn('HasPassthroughDisk'))
    ties.push({ kind: 'passthrough disk', effect: 'blocks', subject: '', evidence: at('HasPassthroughDisk', true) });
  if (isOn('HasVirtualFibreChannelAdapters'))
    ties.push({
      kind: 'virtual hba',
      effect: 'warns',
      subject: '',
      evidence: at('HasVirtualFibreChannelAdapters', true),
    });
  if (isOn('LimitCPUForMigration'))
    ties.push({ kind: 'cpu limit', effect: 'informs', subject: '', evidence: at('LimitCPUForMigration', true) });
  if (isOn('ShareSCSIBus'))
    ties.push({ kind: 'shared bus', effect: 'blocks', subject: '', evidence: at('ShareSCSIBus', true) });
  if (fields['IsHighlyAvailable'] === false)
    ties.push({
      kind: 'not highly available',
      effect: 'informs',
      subject: '',
      evidence: at('IsHighlyAvailable', false),
    });
  return ties;
}

function powerOf(text: string): Vm['power'] {
  if (/^(?:running|0)$/i.test(text)) return 'running';
  if (/^(?:poweroff|poweredoff|off|stored|1)$/i.test(text)) return 'stopped';
  return /^(?:saved|paused|2)$/i.test(text) ? 'suspended' : 'unknown';
}
