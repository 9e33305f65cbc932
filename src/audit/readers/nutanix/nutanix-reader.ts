/** Nutanix AHV: JSON of Prism, version 3 (`entities`) and version 4 (`data`). */
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import {
  type Aspect,
  type Disk,
  type Evidence,
  keyOf,
  type Nic,
  type Tie,
  type Unknown,
  type Vm,
} from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { type Fields, fieldsOf, flagOf, listOf, numberOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';

const PLATFORM = 'nutanix';
const GROUP = 'nutanix';
const FIX =
  'Export VMs, hosts, clusters and volume groups of Prism Central (docs/operating/audit.md); lists in full, without a filter.';
type Kind = 'vm' | 'host' | 'cluster' | 'volume group';

interface Found {
  readonly file: string;
  readonly kind: Kind;
  readonly isV4: boolean;
  readonly fields: Fields;
}

/** The reader of Nutanix. */
export const nutanixReader: Reader = {
  platform: PLATFORM,
  claims: (document) => document.kind === 'data' && document.values.some((value) => isPrism(value)),
  read: (documents, into) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    new PrismReader(documents, into).read();
  },
};

function isPrism(value: unknown): boolean {
  const entity = objectsAt(value, 'entities')[0];
  if (entity !== undefined)
    return textAtPath(value, 'metadata', 'kind') !== '' || textAtPath(entity, 'metadata', 'kind') !== '';
  const item = objectsAt(value, 'data')[0];
  return (
    item !== undefined &&
    (/^(?:vmm|clustermgmt|volumes|networking)\./.test(textAtPath(item, '$objectType')) || 'extId' in item)
  );
}

function kindOfV4(item: Fields): Kind | null {
  const type = textAtPath(item, '$objectType');
  if (/\.VolumeGroup$/.test(type) || 'sharingStatus' in item) return 'volume group';
  if (/\.Host$/.test(type) || 'hostName' in item || 'maintenanceState' in item) return 'host';
  if (/\.Vm$/.test(type) || 'powerState' in item) return 'vm';
  return /\.Cluster$/.test(type) ? 'cluster' : null;
}

class PrismReader {
  readonly #into: EstateBuilder;
  readonly #objects: readonly Found[];
  readonly #shared = new Map<string, { name: string; isShared: boolean | null; file: string }>();
  readonly #clusterNames = new Map<string, string>();

  constructor(documents: readonly Document[], into: EstateBuilder) {
    this.#into = into;
    this.#objects = documents.flatMap((document) => this.#objectsOf(document));
  }

  #objectsOf(document: Document): readonly Found[] {
    if (document.kind !== 'data') return [];
    return document.values.flatMap((value) => {
      const entities = objectsAt(value, 'entities').flatMap((fields): readonly Found[] => {
        const kind = textAtPath(fields, 'metadata', 'kind') || textAtPath(value, 'metadata', 'kind');
        const known = ({ vm: 'vm', host: 'host', cluster: 'cluster', volume_group: 'volume group' } as const)[
          kind as 'vm'
        ];
        return known === undefined ? [] : [{ file: document.file, kind: known, isV4: false, fields }];
      });
      const items = objectsAt(value, 'data').flatMap((fields): readonly Found[] => {
        const kind = kindOfV4(fields);
        return kind === null ? [] : [{ file: document.file, kind, isV4: true, fields }];
      });
      this.#checkPages(document.file, value, entities.length + items.length);
      return [...entities, ...items];
    });
  }

  /** Reports a list of which the export has only one page. */
  #checkPages(file: string, value: unknown, count: number): void {
    const total = numberOf(
      valueAt(value, 'metadata', 'total_matches') ?? valueAt(value, 'metadata', 'totalAvailableResults'),
    );
    if (count > 0 && total !== null && total > count)
      this.#gap('vms', 'value', file, 'the list', `only ${count} of ${total}`);
  }

  #of(kind: Kind): readonly Found[] {
    return this.#objects.filter((one) => one.kind === kind);
  }

  #gap(
    aspect: Aspect,
    kind: 'file' | 'column' | 'join' | 'value',
    file: string,
    part: string,
    column: string,
    example = '',
  ): void {
    const count = kind === 'file' ? 0 : 1;
    this.#into.gap({ platform: PLATFORM, group: GROUP, aspect, kind, file, part, column, count, example, fix: FIX });
  }

  read(): void {
    if (this.#of('vm').length === 0) this.#gap('vms', 'file', '', 'the list of VMs', '');
    if (this.#of('host').length === 0) this.#gap('hosts', 'file', '', 'the list of hosts', '');
    for (const { fields } of this.#of('cluster'))
      this.#clusterNames.set(
        textAtPath(fields, 'metadata', 'uuid') || textAtPath(fields, 'extId'),
        textAtPath(fields, 'spec', 'name') || textAtPath(fields, 'name'),
      );
    for (const { fields, file } of this.#of('volume group')) {
      const status = textAtPath(fields, 'sharingStatus');
      const isShared =
        status === ''
          ? flagOf(valueAt(fields, 'spec', 'resources', 'sharing_status') === 'SHARED' || undefined)
          : status === 'SHARED';
      this.#shared.set(textAtPath(fields, 'metadata', 'uuid') || textAtPath(fields, 'extId'), {
        name: textAtPath(fields, 'spec', 'name') || textAtPath(fields, 'name'),
        isShared,
        file,
      });
    }
    for (const host of this.#of('host'))
      if (host.isV4) this.#hostV4(host);
      else this.#hostV3(host);
    for (const vm of this.#of('vm'))
      if (vm.isV4) this.#vmV4(vm);
      else this.#vmV3(vm);
  }

  #cluster(id: string, name: string): string | null {
    if (id === '') return null;
    return this.#into.cluster({
      key: keyOf(PLATFORM, 'cluster', id),
      name: this.#clusterNames.get(id) ?? (name || id),
      platform: PLATFORM,
      group: GROUP,
    });
  }

  #hostV3({ fields, file }: Found): void {
    const id = textAtPath(fields, 'metadata', 'uuid');
    const name =
      textAtPath(fields, 'spec', 'name') ||
      textAtPath(fields, 'metadata', 'name') ||
      textAtPath(fields, 'status', 'name') ||
      id;
    const resources = valueAt(fields, 'status', 'resources');
    const reference =
      valueAt(resources, 'cluster_reference') ??
      valueAt(fields, 'spec', 'cluster_reference') ??
      valueAt(fields, 'status', 'cluster_reference');
    const memory = numberOf(valueAt(resources, 'memory_capacity_mib'));
    const state = textAtPath(resources, 'hypervisor', 'state');
    const running = numberOf(valueAt(resources, 'hypervisor', 'num_vms'));
    const hasController = valueAt(resources, 'controller_vm') !== undefined;
    const cluster = this.#cluster(textAtPath(reference, 'uuid'), textAtPath(reference, 'name'));
    if (memory === null) this.#gap('memory', 'column', file, 'host', 'memory_capacity_mib');
    if (cluster === null) this.#gap('hosts', 'column', file, 'host', 'cluster_reference');
    this.#into.host(
      plainHost({
        key: hostKey(id),
        name,
        platform: PLATFORM,
        group: GROUP,
        cluster,
        memoryMib: memory,
        state: state === '' || /normal/i.test(state) ? 'in service' : 'out of service',
        // AHV gives guests the features of the cluster's oldest processor.
        cpu: '',
        cpuModel: textAtPath(resources, 'cpu_model') || null,
        saysRunning: running === null ? null : running - (hasController ? 1 : 0),
        evidence: evidence(file, 'host', name, 'hypervisor.num_vms', running),
      }),
    );
  }

  #hostV4({ fields, file }: Found): void {
    const id = textAtPath(fields, 'extId');
    const name = textAtPath(fields, 'hostName') || textAtPath(fields, 'name') || id;
    const bytes = numberOf(valueAt(fields, 'memorySizeBytes'));
    const state = textAtPath(fields, 'maintenanceState');
    const cluster = this.#cluster(
      textAtPath(fields, 'cluster', 'uuid') || textAtPath(fields, 'cluster', 'extId'),
      textAtPath(fields, 'cluster', 'name'),
    );
    if (bytes === null) this.#gap('memory', 'column', file, 'host', 'memorySizeBytes');
    if (state === '') this.#gap('hosts', 'column', file, 'host', 'maintenanceState');
    if (cluster === null) this.#gap('hosts', 'column', file, 'host', 'cluster');
    const running = numberOf(valueAt(fields, 'hypervisor', 'numberOfVms'));
    this.#into.host(
      plainHost({
        key: hostKey(id),
        name,
        platform: PLATFORM,
        group: GROUP,
        cluster,
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        state: state === '' ? 'unknown' : /^(?:normal|null|none)$/i.test(state) ? 'in service' : 'out of service',
        cpu: '',
        cpuModel: textAtPath(fields, 'cpuModel') || null,
        saysRunning: running === null ? null : running - (valueAt(fields, 'controllerVm') === undefined ? 0 : 1),
        evidence: evidence(file, 'host', name, 'maintenanceState', state),
      }),
    );
  }

  #hostFor(file: string, said: string, power: Vm['power']): string | null {
    const key = hostKey(said);
    if (said !== '' && this.#into.hosts.has(key)) return key;
    if (power === 'running' || power === 'unknown')
      this.#gap('vms', said === '' ? 'column' : 'join', file, 'VM', 'host', said);
    return null;
  }

  #vmV3({ fields, file }: Found): void {
    const id = textAtPath(fields, 'metadata', 'uuid');
    const name =
      textAtPath(fields, 'spec', 'name') ||
      textAtPath(fields, 'metadata', 'name') ||
      textAtPath(fields, 'status', 'name') ||
      id;
    const at = (column: string, value: unknown): Evidence => evidence(file, 'VM', name, column, value);
    const both = {
      ...fieldsOf(valueAt(fields, 'status', 'resources')),
      ...fieldsOf(valueAt(fields, 'spec', 'resources')),
    };
    const power = powerOf(textAtPath(both, 'power_state'));
    const reference = valueAt(fields, 'status', 'resources', 'host_reference') ?? valueAt(both, 'host_reference');
    const sockets = numberOf(both['num_sockets']);
    this.#into.vm(
      plainVm({
        key: keyOf(PLATFORM, 'vm', id),
        uuid: id,
        name,
        platform: PLATFORM,
        group: GROUP,
        host: this.#hostFor(file, textAtPath(reference, 'uuid'), power),
        hostSaid: textAtPath(reference, 'name') || textAtPath(reference, 'uuid'),
        power,
        memoryMib: numberOf(both['memory_size_mib']),
        cpus: sockets === null ? null : sockets * (numberOf(both['num_vcpus_per_socket']) ?? 1),
        disks: objectsAt(both, 'disk_list').flatMap((disk) => this.#diskV3(disk, at)),
        nics: objectsAt(both, 'nic_list').map((nic) =>
          this.#nic(textAtPath(nic, 'subnet_reference', 'uuid'), textAtPath(nic, 'subnet_reference', 'name'), at),
        ),
        ties: tiesOf(
          {
            agent: ['is_agent_vm', both['is_agent_vm']],
            pinned: ['is_vcpu_hard_pinned', both['is_vcpu_hard_pinned']],
            passthrough: ['enable_cpu_passthrough', both['enable_cpu_passthrough']],
            capable: ['', undefined],
            gpus: ['gpu_list', listOf(both['gpu_list'])],
            direct: objectsAt(both, 'nic_list').filter((nic) => textAtPath(nic, 'nic_type') === 'DIRECT_NIC').length,
          },
          at,
        ),
        // Version 3 writes the list even if it is empty.
        unknowns:
          'gpu_list' in both || power === 'stopped'
            ? []
            : [{ aspect: 'devices', evidence: at('gpu_list', ''), fix: FIX }],
        notes: textAtPath(fields, 'spec', 'description'),
        evidence: at('name', name),
      }),
    );
  }

  #diskV3(disk: Fields, at: (column: string, value: unknown) => Evidence): readonly Disk[] {
    // Images are on the cluster's storage, so that a CD ties no VM.
    if (textAtPath(disk, 'device_properties', 'device_type') === 'CDROM') return [];
    const group = textAtPath(disk, 'volume_group_reference', 'uuid');
    const bytes = numberOf(disk['disk_size_bytes']);
    return [this.#disk(group, textAtPath(disk, 'uuid'), bytes, at('disk_list.volume_group_reference', group))];
  }

  #disk(group: string, label: string, bytes: number | null, place: Evidence): Disk {
    const known = this.#shared.get(group);
    const permit: Disk['permit'] =
      known?.isShared === true
        ? {
            kind: 'shared volume group',
            evidence: evidence(known.file, 'volume group', known.name, 'sharingStatus', 'SHARED'),
          }
        : null;
    const name = known?.name || group;
    return plainDisk({
      label,
      identities: group === '' ? [] : [{ key: keyOf('volume group', group), kind: 'volume group', name }],
      permit,
      sizeGib: bytes === null ? null : bytes / 2 ** 30,
      evidence: place,
    });
  }

  #nic(id: string, name: string, at: (column: string, value: unknown) => Evidence): Nic {
    const place = at('subnet', name || id);
    if (id === '') return { network: null, address: '', evidence: place };
    // A subnet is a network of the whole cluster.
    const key = keyOf(PLATFORM, 'subnet', id);
    this.#into.network({ key, name: name || id, reach: { kind: 'every' }, isIsolated: false, evidence: place });
    return { network: key, address: '', evidence: place };
  }

  #vmV4({ fields, file }: Found): void {
    const id = textAtPath(fields, 'extId');
    const name = textAtPath(fields, 'name') || id;
    const at = (column: string, value: unknown): Evidence => evidence(file, 'VM', name, column, value);
    const power = powerOf(textAtPath(fields, 'powerState'));
    const said = textAtPath(fields, 'host', 'extId');
    const bytes = numberOf(fields['memorySizeBytes']);
    const sockets = numberOf(fields['numSockets']);
    const nics = objectsAt(fields, 'nics');
    const unknowns: Unknown[] =
      'isLiveMigrateCapable' in fields || power === 'stopped'
        ? []
        : [{ aspect: 'devices', evidence: at('isLiveMigrateCapable', ''), fix: FIX }];
    this.#into.vm(
      plainVm({
        key: keyOf(PLATFORM, 'vm', id),
        uuid: id,
        name,
        platform: PLATFORM,
        group: GROUP,
        host: this.#hostFor(file, said, power),
        hostSaid: said,
        power,
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        cpus: sockets === null ? null : sockets * (numberOf(fields['numCoresPerSocket']) ?? 1),
        disks: objectsAt(fields, 'disks').map((disk) => {
          const backing = valueAt(disk, 'backingInfo');
          const group = textAtPath(backing, 'volumeGroupExtId');
          return this.#disk(
            group,
            textAtPath(disk, 'extId'),
            numberOf(valueAt(backing, 'diskSizeBytes')),
            at('disks.backingInfo', group),
          );
        }),
        nics: nics.map((nic) =>
          this.#nic(textAtPath(networkOf(nic), 'subnet', 'extId'), textAtPath(networkOf(nic), 'subnet', 'name'), at),
        ),
        ties: tiesOf(
          {
            agent: ['isAgentVm', fields['isAgentVm']],
            pinned: ['isVcpuHardPinningEnabled', fields['isVcpuHardPinningEnabled']],
            passthrough: ['isCpuPassthroughEnabled', fields['isCpuPassthroughEnabled']],
            capable: ['isLiveMigrateCapable', fields['isLiveMigrateCapable']],
            gpus: ['gpus', listOf(fields['gpus'])],
            direct: nics.filter((nic) => textAtPath(networkOf(nic), 'nicType') === 'DIRECT_NIC').length,
          },
          at,
        ),
        unknowns,
        notes: textAtPath(fields, 'description'),
        evidence: at('name', name),
      }),
    );
  }
}

function networkOf(nic: Fields): unknown {
  return valueAt(nic, 'networkInfo') ?? valueAt(nic, 'nicNetworkInfo');
}

interface Signals {
  readonly agent: readonly [string, unknown];
  readonly pinned: readonly [string, unknown];
  readonly passthrough: readonly [string, unknown];
  readonly capable: readonly [string, unknown];
  readonly gpus: readonly [string, readonly unknown[]];
  readonly direct: number;
}

function tiesOf(signals: Signals, at: (column: string, value: unknown) => Evidence): readonly Tie[] {
  const ties: Tie[] = [];
  const [capable, isCapable] = signals.capable;
  if (isCapable === false)
    ties.push({ kind: 'platform verdict', effect: 'blocks', subject: capable, evidence: at(capable, false) });
  const [agent, isAgent] = signals.agent;
  if (isAgent === true) ties.push({ kind: 'agent vm', effect: 'blocks', subject: '', evidence: at(agent, true) });
  const [gpus, list] = signals.gpus;
  for (const gpu of list)
    ties.push({
      kind: 'gpu',
      effect: 'blocks',
      subject: textAtPath(gpu, 'name') || textAtPath(gpu, 'mode'),
      evidence: at(gpus, textAtPath(gpu, 'mode')),
    });
  if (signals.direct > 0)
    ties.push({ kind: 'sr-iov', effect: 'blocks', subject: 'DIRECT_NIC', evidence: at('nic type', 'DIRECT_NIC') });
  const [pinned, isPinned] = signals.pinned;
  if (isPinned === true) ties.push({ kind: 'cpu pin', effect: 'warns', subject: '', evidence: at(pinned, true) });
  const [passthrough, isPassthrough] = signals.passthrough;
  if (isPassthrough === true)
    ties.push({ kind: 'cpu passthrough', effect: 'warns', subject: '', evidence: at(passthrough, true) });
  return ties;
}

function hostKey(id: string): string {
  return keyOf(PLATFORM, 'host', id);
}

function powerOf(text: string): Vm['power'] {
  if (/^on$/i.test(text)) return 'running';
  if (/^off$/i.test(text)) return 'stopped';
  return /^(?:suspended|paused)$/i.test(text) ? 'suspended' : 'unknown';
}
