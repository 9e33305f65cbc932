/** Reads Hyper-V without SCVMM: the output of Get-VM and related cmdlets, joined by VM ID, or by VM name and host. */
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import { type Disk, type Evidence, keyOf, type Nic, type Tie, type Vm } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import { type Fields, fieldsOf, flagOf, listOf, numberOf } from '../formats/values.ts';
import { Places } from './places.ts';
import { type HyperVRecord, type Kind, objectsIn, textIn } from './records.ts';
import { pathIdentity } from './scvmm.ts';

const PLATFORM = 'hyperv';
const GROUP = 'hyperv';
const FIX =
  'Export Get-VM, Get-VMHardDiskDrive, Get-VMDvdDrive, Get-VMNetworkAdapter, Get-VMSwitch and Get-VMHost of all hosts (docs/operating/audit.md).';
type At = (column: string, value: unknown) => Evidence;

/** Reads the records of Hyper-V's own cmdlets. */
export class CmdletReader {
  readonly #records: ReadonlyMap<Kind, readonly HyperVRecord[]>;
  readonly #into: EstateBuilder;
  readonly #places: Places;
  readonly #switches = new Map<string, Map<string, HyperVRecord>>();
  readonly #nodes = new Map<string, HyperVRecord>();
  readonly #owners = new Map<Kind, ReadonlyMap<string, readonly HyperVRecord[]>>();

  /** Names of the files in lower case: an empty file shows that its cmdlet returned nothing. */
  readonly #files: readonly string[];

  constructor(records: ReadonlyMap<Kind, readonly HyperVRecord[]>, files: readonly string[], into: EstateBuilder) {
    this.#records = records;
    this.#files = files.map((file) => file.toLowerCase());
    this.#into = into;
    this.#places = new Places(into);
  }

  read(): void {
    this.#tellFiles();
    for (const record of this.#of('node')) this.#nodes.set(short(textIn(record.fields, 'Name')), record);
    for (const record of this.#of('host')) this.#host(record);
    for (const record of this.#of('switch')) {
      const name = textIn(record.fields, 'Name');
      const hosts = this.#switches.get(name) ?? new Map<string, HyperVRecord>();
      this.#switches.set(name, hosts);
      hosts.set(hostKey(textIn(record.fields, 'ComputerName', 'PSComputerName')), record);
    }
    for (const record of this.#of('vm')) this.#vm(record);
  }

  #of(kind: Kind): readonly HyperVRecord[] {
    return this.#records.get(kind) ?? [];
  }

  #tellFiles(): void {
    const needed = [
      ['vm', 'vms', 'Get-VM'],
      ['host', 'hosts', 'Get-VMHost'],
      ['node', 'hosts', 'Get-ClusterNode'],
      ['switch', 'networks', 'Get-VMSwitch'],
      ['disk', 'disks', 'Get-VMHardDiskDrive'],
      ['dvd', 'devices', 'Get-VMDvdDrive'],
      ['adapter', 'networks', 'Get-VMNetworkAdapter'],
      ['cpu', 'cpu', 'Get-CimInstance Win32_Processor'],
      ['device', 'devices', 'Get-VMAssignableDevice'],
      ['gpu', 'devices', 'Get-VMGpuPartitionAdapter'],
    ] as const;
    for (const [kind, aspect, cmdlet] of needed) {
      const nested = NESTED[kind];
      const word = cmdlet.split(' ').at(-1)?.toLowerCase() ?? '';
      const isAsked = EMPTY_MEANS_NONE.has(kind) && this.#files.some((file) => file.includes(word));
      if (this.#of(kind).length > 0 || isAsked || (nested !== undefined && this.#hasNested(nested))) continue;
      const part = `the output of ${cmdlet}`;
      this.#into.gap({ platform: PLATFORM, group: GROUP, aspect, kind: 'file', file: '', part, fix: FIX });
    }
    const needsNumber = this.#of('disk').filter(({ fields }) => !('DiskNumber' in fields) && !('Disk' in fields));
    const [first] = needsNumber;
    if (first !== undefined)
      this.#into.gap({
        platform: PLATFORM,
        group: GROUP,
        aspect: 'disks',
        kind: 'column',
        file: first.file,
        part: 'Get-VMHardDiskDrive',
        column: 'DiskNumber',
        count: needsNumber.length,
        fix: FIX,
      });
  }

  #hasNested(field: string): boolean {
    return this.#of('vm').length > 0 && this.#of('vm').every(({ fields }) => field in fields);
  }

  #host({ fields, file }: HyperVRecord): void {
    const name = textIn(fields, 'ComputerName', 'Name', 'PSComputerName');
    const node = this.#nodes.get(short(name));
    const bytes = numberOf(fields['MemoryCapacity']);
    const cluster = node === undefined ? '' : textIn(node.fields, 'Cluster') || 'cluster';
    // A query for cluster nodes that returned no node shows that the host is standalone.
    const isKnown = this.#of('node').length > 0 || this.#files.some((one) => one.includes('get-clusternode'));
    const key = hostKey(name);
    const state = node === undefined ? '' : textIn(node.fields, 'State');
    const cpu = this.#of('cpu').find(
      (one) => short(textIn(one.fields, 'SystemName', 'PSComputerName')) === short(name),
    );
    const model = cpu === undefined ? '' : textIn(cpu.fields, 'Name');
    const clusterKey = keyOf(PLATFORM, 'cluster', cluster === '' ? key : cluster);
    if (isKnown) this.#into.cluster({ key: clusterKey, name: cluster || name, platform: PLATFORM, group: GROUP });
    this.#into.host(
      plainHost({
        key,
        name,
        platform: PLATFORM,
        group: GROUP,
        cluster: isKnown ? clusterKey : null,
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        state:
          node === undefined || /^(?:up|0)$/i.test(state) ? 'in service' : state === '' ? 'unknown' : 'out of service',
        cpu: model === '' ? null : model,
        cpuModel: model === '' ? null : model,
        evidence: evidence(file, 'Get-VMHost', name, 'MemoryCapacity', bytes),
      }),
    );
    const volumes = this.#of('volume').flatMap((volume) =>
      objectsIn(volume, 'SharedVolumeInfo').map((info) => textIn(info, 'FriendlyVolumeName')),
    );
    const isMember = node !== undefined && this.#of('volume').length > 0;
    this.#places.note(key, isMember ? new Set(volumes.map((path) => path.toLowerCase())) : null);
  }

  #vm(record: HyperVRecord): void {
    const { fields, file } = record;
    const name = textIn(fields, 'VMName', 'Name');
    const id = textIn(fields, 'VMId', 'Id');
    const at: At = (column, value) => evidence(file, 'Get-VM', name, column, value);
    const said = textIn(fields, 'ComputerName', 'PSComputerName');
    const host = this.#into.hosts.has(hostKey(said)) ? hostKey(said) : null;
    const power = powerOf(textIn(fields, 'State'));
    if ((power === 'running' || power === 'unknown') && host === null)
      this.#into.gap({
        platform: PLATFORM,
        group: GROUP,
        aspect: 'vms',
        kind: said === '' ? 'column' : 'join',
        file,
        part: 'Get-VM',
        column: 'ComputerName',
        count: 1,
        example: said,
        fix: FIX,
      });
    const parts = (kind: Kind, nested: string): readonly HyperVRecord[] =>
      this.#partsOf(record, id, name, kind, nested);
    const adapters = parts('adapter', 'NetworkAdapters');
    const home = textIn(fields, 'ConfigurationLocation', 'Path');
    const homeDisk = plainDisk({
      label: 'configuration',
      ...this.#places.of(home, host, at('ConfigurationLocation', home)),
      evidence: at('ConfigurationLocation', home),
    });
    const bytes = numberOf(fields['MemoryAssigned']) || numberOf(fields['MemoryStartup']);
    this.#into.vm(
      plainVm({
        key: keyOf(PLATFORM, id === '' ? `${said} ${name}` : id),
        uuid: id,
        name,
        platform: PLATFORM,
        group: GROUP,
        host,
        hostSaid: said,
        power,
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        cpus: numberOf(fields['ProcessorCount']),
        disks: [
          homeDisk,
          ...parts('disk', 'HardDrives').map((disk) => this.#disk(disk, name, host)),
          ...this.#media(parts('dvd', 'DVDDrives'), name, host),
        ],
        nics: adapters.map((adapter) => this.#nic(adapter, name, host)),
        ties: [
          ...this.#ties(record, id, name, at),
          ...diskTies(parts('disk', 'HardDrives'), name),
          ...driveTies(parts('dvd', 'DVDDrives'), name),
        ],
        notes: textIn(fields, 'Notes'),
        guest: '',
        evidence: at('Name', name),
      }),
    );
  }

  /** Returns the records of a cmdlet that belong to the VM, or those inside Get-VM's own record. */
  #partsOf(vm: HyperVRecord, id: string, name: string, kind: Kind, nested: string): readonly HyperVRecord[] {
    const all = this.#of(kind);
    if (all.length === 0) return objectsIn(vm, nested).map((fields) => ({ file: vm.file, fields }));
    const owners = this.#owners.get(kind) ?? Map.groupBy(all, ({ fields }) => ownerOf(fields));
    this.#owners.set(kind, owners);
    return [...(owners.get(`id ${id}`) ?? []), ...(owners.get(`name ${name}`) ?? [])];
  }

  #disk({ fields, file }: HyperVRecord, vm: string, host: string | null): Disk {
    const path = textIn(fields, 'Path');
    const place = evidence(file, 'Get-VMHardDiskDrive', vm, 'Path', path);
    const shares = flagOf(fields['SupportPersistentReservations']) === true;
    const permit: Disk['permit'] = shares
      ? {
          kind: 'reservation',
          evidence: evidence(file, 'Get-VMHardDiskDrive', vm, 'SupportPersistentReservations', true),
        }
      : /\.vhds$/i.test(path)
        ? { kind: 'shared disk set', evidence: place }
        : null;
    return plainDisk({
      label: `${textIn(fields, 'ControllerType')} ${textIn(fields, 'ControllerNumber')}:${textIn(fields, 'ControllerLocation')}`,
      identities: pathIdentity(path, host),
      permit,
      ...this.#places.of(path, host, place),
      evidence: place,
    });
  }

  #media(drives: readonly HyperVRecord[], vm: string, host: string | null): readonly Disk[] {
    return drives.flatMap(({ fields, file }) => {
      const path = textIn(fields, 'Path');
      const place = evidence(file, 'Get-VMDvdDrive', vm, 'Path', path);
      const isEmpty = /^(?:none|0)$/i.test(textIn(fields, 'DvdMediaType'));
      if (isHostDrive(fields) || (path === '' && isEmpty)) return [];
      if (path === '')
        return [
          plainDisk({ label: 'DVD', reach: { kind: 'unknown' }, isReadOnly: true, isMedia: true, evidence: place }),
        ];
      return [
        plainDisk({
          label: path,
          ...this.#places.of(path, host, place),
          isReadOnly: true,
          isMedia: true,
          evidence: place,
        }),
      ];
    });
  }

  #nic({ fields, file }: HyperVRecord, vm: string, host: string | null): Nic {
    const name = textIn(fields, 'SwitchName');
    const place = evidence(file, 'Get-VMNetworkAdapter', vm, 'SwitchName', name);
    const address = listOf(fields['IPAddresses']).map(String).join(' ');
    if (name === '' || host === null || this.#switches.size === 0) return { network: null, address, evidence: place };
    const hosts = this.#switches.get(name);
    const mine = hosts?.get(host);
    const type = mine === undefined ? '' : textIn(mine.fields, 'SwitchType');
    const isIsolated = /^(?:internal|private|0|1)$/i.test(type);
    const key = keyOf(PLATFORM, isIsolated ? host : '', name);
    this.#into.network({
      key,
      name,
      reach:
        hosts === undefined || mine === undefined || type === ''
          ? { kind: 'unknown' }
          : { kind: 'hosts', hosts: new Set(hosts.keys()) },
      isIsolated,
      evidence: mine === undefined ? place : evidence(mine.file, 'Get-VMSwitch', name, 'SwitchType', type),
    });
    return { network: key, address, evidence: place };
  }

  #ties({ fields }: HyperVRecord, id: string, name: string, at: At): readonly Tie[] {
    const ties: Tie[] = [];
    const owns = (record: HyperVRecord): boolean =>
      textIn(record.fields, 'VMId') === id || textIn(record.fields, 'VMName') === name;
    for (const [kind, tie, effect] of [
      ['device', 'host device', 'blocks'],
      ['gpu', 'gpu', 'blocks'],
      ['hba', 'virtual hba', 'warns'],
    ] as const)
      for (const record of this.#of(kind).filter(owns)) {
        const subject = textIn(record.fields, 'LocationPath', 'InstanceID', 'SanName');
        ties.push({ kind: tie, effect, subject, evidence: evidence(record.file, kind, name, 'VMName', name) });
      }
    if (this.#of('group').length > 0 && fields['IsClustered'] === false)
      ties.push({ kind: 'not highly available', effect: 'warns', subject: '', evidence: at('IsClustered', false) });
    return ties;
  }
}

const NESTED: Readonly<Partial<Record<Kind, string>>> = {
  disk: 'HardDrives',
  dvd: 'DVDDrives',
  adapter: 'NetworkAdapters',
};

/** Kinds that most estates lack: their cmdlets return nothing. */
const EMPTY_MEANS_NONE: ReadonlySet<Kind> = new Set(['device', 'gpu', 'dvd', 'disk', 'adapter', 'node']);

/** Returns the VM of a record: by ID, otherwise by name. */
function ownerOf(fields: Fields): string {
  const id = textIn(fields, 'VMId');
  return id === '' ? `name ${textIn(fields, 'VMName')}` : `id ${id}`;
}

function isHostDrive(fields: Fields): boolean {
  return /^(?:passthrough|2)$/i.test(textIn(fields, 'DvdMediaType'));
}

function diskTies(disks: readonly HyperVRecord[], vm: string): readonly Tie[] {
  return disks.flatMap(({ fields, file }): readonly Tie[] => {
    const number = fieldsOf(fields['Disk'])['Number'] ?? fields['DiskNumber'];
    const isRaw = numberOf(number) !== null || /^Disk \d+/i.test(textIn(fields, 'Path'));
    const place = evidence(file, 'Get-VMHardDiskDrive', vm, 'DiskNumber', number);
    return isRaw
      ? [{ kind: 'passthrough disk', effect: 'blocks', subject: `disk ${String(number)}`, evidence: place }]
      : [];
  });
}

function driveTies(drives: readonly HyperVRecord[], vm: string): readonly Tie[] {
  return drives.flatMap(({ fields, file }): readonly Tie[] =>
    isHostDrive(fields)
      ? [
          {
            kind: 'host drive',
            effect: 'blocks',
            subject: textIn(fields, 'Path'),
            evidence: evidence(file, 'Get-VMDvdDrive', vm, 'DvdMediaType', fields['DvdMediaType']),
          },
        ]
      : [],
  );
}

/** Returns a host's name in lower case without its domain: cmdlets write names with and without one. */
function short(name: string): string {
  return (name.split('.')[0] ?? name).toLowerCase();
}

function hostKey(name: string): string {
  return keyOf(PLATFORM, 'host', short(name));
}

function powerOf(text: string): Vm['power'] {
  if (/^(?:running|2)$/i.test(text)) return 'running';
  if (/^(?:off|3)$/i.test(text)) return 'stopped';
  return /^(?:saved|paused|6|9)$/i.test(text) ? 'suspended' : 'unknown';
}
