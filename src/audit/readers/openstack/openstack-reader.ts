/** OpenStack: JSON of Nova, Cinder and Neutron as the API answers it, and of the `openstack` command. */
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import type { Disk, Evidence, Tie, Unknown, Vm } from '../../estate/estate.ts';
import { evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { ExportSite, sitesOf } from '../export-site.ts';
import { type Fields, fieldsOf, flagOf, listOf, numberOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';
import { cliList } from './cli-lists.ts';
import { LISTS, type List } from './lists.ts';

const PLATFORM = 'openstack';
const FIX =
  'Export as an administrator servers/detail?all_tenants=1, os-hypervisors/detail (microversion 2.87), os-aggregates, os-server-groups and volumes/detail (docs/operating/audit.md).';

interface Found {
  readonly file: string;
  readonly fields: Fields;
}

/** The reader of OpenStack. */
export const openstackReader: Reader = {
  platform: PLATFORM,
  claims: (document) =>
    document.kind === 'data' && document.values.some((value) => listsIn(document.file, value).length > 0),
  read: (documents, into) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    const hasHosts = (document: Document): boolean =>
      document.kind === 'data' &&
      document.values.some((value) => listsIn(document.file, value).some(({ list }) => list === 'hypervisors'));
    for (const site of sitesOf(documents, [hasHosts]))
      new CloudReader(new ExportSite(PLATFORM, FIX, into, site.directory), site.documents).read();
  },
};

function isList(value: unknown, list: List): boolean {
  const items = fieldsOf(value)[list];
  if (!Array.isArray(items)) return false;
  const first = fieldsOf(items[0]);
  const fits: Readonly<Record<List, boolean>> = {
    flavors: 'vcpus' in first,
    services: 'binary' in first,
    servers: 'flavor' in first || 'links' in first || 'OS-EXT-STS:power_state' in first,
    hypervisors: 'hypervisor_hostname' in first,
    server_groups: 'members' in first || 'policy' in first || 'policies' in first,
    aggregates: 'availability_zone' in first,
    volumes: 'attachments' in first || 'multiattach' in first,
    volumeAttachments: 'volumeId' in first,
    ports: 'device_id' in first,
  };
  return items.length === 0 || fits[list];
}

/** Returns the lists in a value: answers of the API, or what the `openstack` command prints. */
function listsIn(file: string, value: unknown): readonly { readonly list: List; readonly items: readonly Fields[] }[] {
  const printed = cliList(file, value);
  if (printed !== null) return [printed];
  return LISTS.filter((list) => isList(value, list)).map((list) => ({ list, items: objectsAt(value, list) }));
}

class CloudReader {
  readonly #site: ExportSite<List, Found>;
  readonly #zones = new Map<string, string>();
  /** Host -> state and status of its compute service. */
  readonly #states = new Map<string, string>();
  readonly #flavors = new Map<string, Fields>();
  readonly #serverHosts = new Map<string, string>();
  readonly #volumes = new Map<string, Found>();
  readonly #attached = new Map<string, Set<string>>();

  constructor(site: ExportSite<List, Found>, documents: readonly Document[]) {
    this.#site = site;
    for (const document of documents) {
      if (document.kind !== 'data') continue;
      for (const value of document.values)
        for (const { list, items } of listsIn(document.file, value)) {
          site.add(
            list,
            items.map((fields) => ({ file: document.file, fields })),
          );
          // A list with a further page has a link to it.
          if (listOf(fieldsOf(value)[`${list}_links`]).length > 0)
            this.#site.gap('vms', 'column', document.file, `the list of ${list}`, 'a further page');
        }
    }
  }

  read(): void {
    const part = (list: List): string => `the list of ${list}`;
    // Either of them says to which zone a host belongs.
    if (!this.#site.has('services')) this.#site.need([['aggregates', 'hosts', part('aggregates')]]);
    this.#site.need([
      ['servers', 'vms', part('servers')],
      ['hypervisors', 'hosts', part('hypervisors')],
      ['server_groups', 'rules', part('server_groups')],
      ['volumes', 'disks', part('volumes')],
      ['ports', 'devices', part('ports')],
    ]);
    for (const { fields } of this.#site.of('aggregates')) {
      const zone = textAtPath(fields, 'availability_zone') || textAtPath(fields, 'metadata', 'availability_zone');
      if (zone !== '') for (const host of listOfTexts(fields['hosts'])) this.#zones.set(host, zone);
    }
    for (const { fields } of this.#site.of('services')) {
      if (textAtPath(fields, 'binary') !== 'nova-compute') continue;
      const host = textAtPath(fields, 'host');
      this.#states.set(host, `${textAtPath(fields, 'state')} ${textAtPath(fields, 'status')}`);
      if (textAtPath(fields, 'zone') !== '') this.#zones.set(host, textAtPath(fields, 'zone'));
    }
    for (const { fields } of this.#site.of('flavors'))
      for (const key of [textAtPath(fields, 'id'), textAtPath(fields, 'name')]) this.#flavors.set(key, fields);
    for (const hypervisor of this.#site.of('hypervisors')) this.#host(hypervisor);
    for (const volume of this.#site.of('volumes')) {
      this.#volumes.set(textAtPath(volume.fields, 'id'), volume);
      for (const one of objectsAt(volume.fields, 'attachments'))
        this.#attach(textAtPath(one, 'server_id'), textAtPath(volume.fields, 'id'));
    }
    for (const { fields } of this.#site.of('volumeAttachments'))
      this.#attach(textAtPath(fields, 'serverId'), textAtPath(fields, 'volumeId'));
    for (const server of this.#site.of('servers')) this.#server(server);
    for (const group of this.#site.of('server_groups')) this.#group(group);
  }

  #attach(server: string, volume: string): void {
    if (server !== '' && volume !== '')
      this.#attached.set(server, (this.#attached.get(server) ?? new Set()).add(volume));
  }

  #host({ fields, file }: Found): void {
    const service = textAtPath(fields, 'service', 'host');
    const name = textAtPath(fields, 'hypervisor_hostname') || service;
    const own = `${textAtPath(fields, 'state')} ${textAtPath(fields, 'status')}`;
    const state = textAtPath(fields, 'status') === '' ? (this.#states.get(service || name) ?? '') : own;
    const memory = numberOf(fields['memory_mb']);
    const info = typeof fields['cpu_info'] === 'string' ? parsed(fields['cpu_info']) : fields['cpu_info'];
    const model = textAtPath(info, 'model');
    const servers = objectsAt(fields, 'servers');
    if (memory === null) this.#site.gap('memory', 'column', file, 'hypervisor', 'memory_mb');
    if (model === '') this.#site.gap('cpu', 'column', file, 'hypervisor', 'cpu_info');
    for (const server of servers) this.#serverHosts.set(textAtPath(server, 'uuid'), name);
    const zone = this.#zones.get(service) ?? this.#zones.get(name) ?? 'nova';
    const cluster =
      this.#site.has('aggregates') || this.#site.has('services')
        ? this.#site.into.cluster({ key: this.#site.key('zone', zone), name: zone, ...this.#site.origin })
        : null;
    const running = numberOf(fields['running_vms']);
    this.#site.into.host(
      plainHost({
        key: this.#hostKey(name),
        name,
        ...this.#site.origin,
        cluster,
        memoryMib: memory,
        state: state === 'up enabled' ? 'in service' : state.trim() === '' ? 'unknown' : 'out of service',
        cpu: model === '' ? null : model,
        cpuModel: model === '' ? null : model,
        saysRunning: running ?? (servers.length > 0 ? servers.length : null),
        evidence: evidence(file, 'hypervisor', name, 'status', state.trim()),
      }),
    );
    if (service !== '') this.#services.set(service, name);
  }

  readonly #services = new Map<string, string>();

  #hostKey(name: string): string {
    return this.#site.key('host', name);
  }

  #hostFor(file: string, id: string, fields: Fields, power: Vm['power']): { host: string | null; said: string } {
    const said =
      textAtPath(fields, 'OS-EXT-SRV-ATTR:hypervisor_hostname') ||
      textAtPath(fields, 'OS-EXT-SRV-ATTR:host') ||
      (this.#serverHosts.get(id) ?? '');
    const name = this.#services.get(said) ?? said;
    if (said !== '' && this.#site.into.hosts.has(this.#hostKey(name))) return { host: this.#hostKey(name), said: name };
    if (power === 'running' || power === 'unknown')
      this.#site.gap('vms', said === '' ? 'column' : 'join', file, 'server', 'OS-EXT-SRV-ATTR:host', said);
    return { host: null, said };
  }

  #server({ fields, file }: Found): void {
    const id = textAtPath(fields, 'id');
    const name = textAtPath(fields, 'name') || id;
    const at: At = (column, value) => evidence(file, 'server', name, column, value);
    const power = powerOf(textAtPath(fields, 'status'), numberOf(fields['OS-EXT-STS:power_state']));
    const { host, said } = this.#hostFor(file, id, fields, power);
    const flavor = this.#flavorOf(fields);
    const volumes = new Set([
      ...objectsAt(fields, 'os-extended-volumes:volumes_attached').map((one) => textAtPath(one, 'id')),
      ...(this.#attached.get(id) ?? []),
    ]);
    const unknowns: Unknown[] = [];
    if (power !== 'stopped' && valueAt(flavor, 'extra_specs') === undefined)
      unknowns.push({ aspect: 'devices', evidence: at('flavor.extra_specs', ''), fix: FIX });
    if (power !== 'stopped' && !('os-extended-volumes:volumes_attached' in fields))
      unknowns.push({ aspect: 'disks', evidence: at('os-extended-volumes:volumes_attached', ''), fix: FIX });
    this.#site.into.vm(
      plainVm({
        key: this.#site.key('server', id),
        uuid: id,
        name,
        ...this.#site.origin,
        host,
        hostSaid: said,
        power,
        memoryMib: numberOf(valueAt(flavor, 'ram')),
        cpus: numberOf(valueAt(flavor, 'vcpus')),
        disks: [...volumes].map((volume) => this.#disk(volume, at)),
        nics: addressesOf(fields, at),
        ties: [...flavorTies(flavor, at), ...this.#portTies(id, name)],
        unknowns,
        owner: textAtPath(fields, 'user_id'),
        notes: [textAtPath(fields, 'description'), ...Object.values(fieldsOf(fields['metadata'])).map(String)]
          .join(' ')
          .trim(),
        evidence: at('name', name),
      }),
    );
  }

  /** Returns the flavor: newer APIs write it into the server, others have a list of flavors. */
  #flavorOf(fields: Fields): Fields {
    const inside = fieldsOf(fields['flavor']);
    const listed =
      this.#flavors.get(textAtPath(inside, 'id')) ?? this.#flavors.get(textAtPath(inside, 'original_name'));
    return { ...listed, ...inside };
  }

  #disk(id: string, at: At): Disk {
    const known = this.#volumes.get(id);
    const name = textAtPath(known?.fields, 'name') || id;
    const isShared = flagOf(valueAt(known?.fields, 'multiattach')) === true;
    return plainDisk({
      label: name,
      identities: [{ key: this.#site.key('volume', id), kind: 'volume', name }],
      permit:
        isShared && known !== undefined
          ? { kind: 'multi-attach', evidence: evidence(known.file, 'volume', name, 'multiattach', true) }
          : null,
      sizeGib: numberOf(valueAt(known?.fields, 'size')),
      evidence: at('os-extended-volumes:volumes_attached', id),
    });
  }

  #ports: ReadonlyMap<string, readonly Found[]> | null = null;

  #portTies(server: string, name: string): readonly Tie[] {
    this.#ports ??= Map.groupBy(this.#site.of('ports'), ({ fields }) => textAtPath(fields, 'device_id'));
    return (this.#ports.get(server) ?? []).flatMap(({ fields, file }): readonly Tie[] => {
      const type = textAtPath(fields, 'binding:vnic_type');
      const isDirect = /^(?:direct|direct-physical|macvtap)$/.test(type);
      const effect = type === 'direct-physical' ? 'blocks' : 'warns';
      return isDirect
        ? [
            {
              kind: 'sr-iov',
              effect,
              subject: type,
              evidence: evidence(file, 'port', name, 'binding:vnic_type', type),
            },
          ]
        : [];
    });
  }

  /**
   * Nova's scheduler lets a VM of an affinity group go only to hosts of the other VMs, and never to its own host: while
   * two of them are on one host, neither can be moved live.
   */
  #tieGroup(keys: readonly string[], name: string, place: Evidence): void {
    const vms = keys.flatMap((key) => this.#site.into.vms.get(key) ?? []);
    for (const vm of vms) {
      if (vm.host === null || vms.filter(({ host }) => host === vm.host).length < 2) continue;
      const tie: Tie = { kind: 'affinity group', effect: 'blocks', subject: name, evidence: place };
      this.#site.into.vms.set(vm.key, { ...vm, ties: [...vm.ties, tie] });
    }
  }

  #group({ fields, file }: Found): void {
    const policy = textAtPath(fields, 'policy') || String(listOfTexts(fields['policies'])[0] ?? '');
    const name = textAtPath(fields, 'name');
    const vms = listOfTexts(fields['members']).map((id) => this.#site.key('server', id));
    if (vms.length < 2 || policy === '') return;
    if (policy === 'affinity') this.#tieGroup(vms, name, evidence(file, 'server group', name, 'policy', policy));
    this.#site.into.rule({
      key: this.#site.key('group', textAtPath(fields, 'id')),
      name,
      kind: /anti/.test(policy) ? 'apart' : 'together',
      isHard: !policy.startsWith('soft'),
      vms,
      perHost: numberOf(valueAt(fields, 'rules', 'max_server_per_host')) ?? 1,
      evidence: evidence(file, 'server group', name, 'policy', policy),
    });
  }
}

type At = (column: string, value: unknown) => Evidence;

function listOfTexts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function flavorTies(flavor: unknown, at: At): readonly Tie[] {
  const specs = fieldsOf(valueAt(flavor, 'extra_specs'));
  const ties: Tie[] = [];
  for (const [name, value] of Object.entries(specs)) {
    const place = at(`flavor.extra_specs ${name}`, value);
    if (name === 'pci_passthrough:alias')
      ties.push({ kind: 'host device', effect: 'blocks', subject: String(value), evidence: place });
    if (/^resources\d*:(?:VGPU|PGPU)$/.test(name))
      ties.push({ kind: 'gpu', effect: 'blocks', subject: String(value), evidence: place });
    // Without a secret that the cloud keeps, Nova does not move the state of a virtual TPM.
    const isKept = /^(?:host|deployment)$/.test(textAtPath(specs, 'hw:tpm_secret_security'));
    if (name === 'hw:tpm_version')
      ties.push({
        kind: isKept ? 'soft tpm' : 'platform verdict',
        effect: isKept ? 'informs' : 'blocks',
        subject: name,
        evidence: place,
      });
    if (name === 'hw:mem_encryption' && flagOf(value) === true)
      ties.push({ kind: 'encrypted memory', effect: 'blocks', subject: name, evidence: place });
    if (name === 'hw:cpu_policy' && value === 'dedicated')
      ties.push({ kind: 'dedicated cpu', effect: 'warns', subject: '', evidence: place });
  }
  return ties;
}

function addressesOf(fields: Fields, at: At) {
  return Object.entries(fieldsOf(fields['addresses'])).flatMap(([network, list]) =>
    objectsAt(list).map((one) => ({
      network: null,
      address: textAtPath(one, 'addr'),
      evidence: at('addresses', network),
    })),
  );
}

function powerOf(status: string, state: number | null): Vm['power'] {
  if (state === 1 || state === 3) return 'running';
  if (state === 4 || /^(?:SHUTOFF|SHELVED|SHELVED_OFFLOADED|DELETED|SOFT_DELETED|ERROR)$/.test(status))
    return 'stopped';
  if (state === 7 || status === 'SUSPENDED') return 'suspended';
  return /^(?:ACTIVE|PAUSED|REBOOT|MIGRATING|RESIZE|VERIFY_RESIZE)$/.test(status) ? 'running' : 'unknown';
}
