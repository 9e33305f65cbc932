/** OpenStack: JSON of Nova, Cinder and Neutron as the API answers it, and of the `openstack` command. */
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import type { Disk, Evidence, Tie, Unknown, Vm } from '../../estate/estate.ts';
import { evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { ExportSite, sitesOf } from '../export-site.ts';
import { type Fields, fieldsOf, flagOf, listOf, numberOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';

const PLATFORM = 'openstack';
const FIX =
  'Export as an administrator servers/detail?all_tenants=1, os-hypervisors/detail (microversion 2.87), os-aggregates, os-server-groups and volumes/detail (docs/operating/audit.md).';
const LISTS = [
  'servers',
  'hypervisors',
  'server_groups',
  'aggregates',
  'volumes',
  'volumeAttachments',
  'ports',
] as const;
type List = (typeof LISTS)[number];

interface Found {
  readonly file: string;
  readonly fields: Fields;
}

/** The reader of OpenStack. */
export const openstackReader: Reader = {
  platform: PLATFORM,
  claims: (document) =>
    document.kind === 'data' && document.values.some((value) => LISTS.some((list) => isList(value, list))),
  read: (documents, into) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    const hasHosts = (document: Document): boolean =>
      document.kind === 'data' && document.values.some((value) => isList(value, 'hypervisors'));
    for (const site of sitesOf(documents, [hasHosts]))
      new CloudReader(new ExportSite(PLATFORM, FIX, into, site.directory), site.documents).read();
  },
};

function isList(value: unknown, list: List): boolean {
  const items = fieldsOf(value)[list];
  if (!Array.isArray(items)) return false;
  const first = fieldsOf(items[0]);
  const fits: Readonly<Record<List, boolean>> = {
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

class CloudReader {
  readonly #site: ExportSite<List, Found>;
  readonly #zones = new Map<string, string>();
  readonly #serverHosts = new Map<string, string>();
  readonly #volumes = new Map<string, Found>();
  readonly #attached = new Map<string, Set<string>>();

  constructor(site: ExportSite<List, Found>, documents: readonly Document[]) {
    this.#site = site;
    for (const document of documents) {
      if (document.kind !== 'data') continue;
      for (const value of document.values)
        for (const list of LISTS) {
          if (!isList(value, list)) continue;
          site.add(
            list,
            objectsAt(value, list).map((fields) => ({ file: document.file, fields })),
          );
          // A list with a further page has a link to it.
          if (listOf(fieldsOf(value)[`${list}_links`]).length > 0)
            this.#site.gap('vms', 'value', document.file, `the list of ${list}`, 'only its first page');
        }
    }
  }

  read(): void {
    const part = (list: List): string => `the list of ${list}`;
    this.#site.need([
      ['servers', 'vms', part('servers')],
      ['hypervisors', 'hosts', part('hypervisors')],
      ['aggregates', 'hosts', part('aggregates')],
      ['server_groups', 'rules', part('server_groups')],
      ['volumes', 'disks', part('volumes')],
      ['ports', 'devices', part('ports')],
    ]);
    for (const { fields } of this.#site.of('aggregates')) {
      const zone = textAtPath(fields, 'availability_zone') || textAtPath(fields, 'metadata', 'availability_zone');
      if (zone !== '') for (const host of listOfTexts(fields['hosts'])) this.#zones.set(host, zone);
    }
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
    const state = `${textAtPath(fields, 'state')} ${textAtPath(fields, 'status')}`;
    const memory = numberOf(fields['memory_mb']);
    const info = typeof fields['cpu_info'] === 'string' ? parsed(fields['cpu_info']) : fields['cpu_info'];
    const model = textAtPath(info, 'model');
    const servers = objectsAt(fields, 'servers');
    if (memory === null) this.#site.gap('memory', 'column', file, 'hypervisor', 'memory_mb');
    if (model === '') this.#site.gap('cpu', 'column', file, 'hypervisor', 'cpu_info');
    for (const server of servers) this.#serverHosts.set(textAtPath(server, 'uuid'), name);
    const zone = this.#zones.get(service) ?? this.#zones.get(name) ?? 'nova';
    const cluster = this.#site.has('aggregates')
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
    const flavor = valueAt(fields, 'flavor');
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

  #group({ fields, file }: Found): void {
    const policy = textAtPath(fields, 'policy') || String(listOfTexts(fields['policies'])[0] ?? '');
    const name = textAtPath(fields, 'name');
    const vms = listOfTexts(fields['members']).map((id) => this.#site.key('server', id));
    if (vms.length < 2 || policy === '') return;
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
