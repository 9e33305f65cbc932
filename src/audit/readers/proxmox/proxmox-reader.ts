/** Proxmox VE: a copy of `/etc/pve`, and JSON of `pvesh get … --output-format json`. */
import { dirname } from 'node:path/posix';
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import type { Disk, Evidence, Nic, Reach, Tie, Vm } from '../../estate/estate.ts';
import { evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { ExportSite, sitesOf } from '../export-site.ts';
import { type Fields, flagOf, numberOf, textAtPath } from '../formats/values.ts';
import { hasRole, itemsOf, type Role, roleOf } from './roles.ts';
import { optionsOf, type Section, sectionsOf, settingsOf } from './sections.ts';
import { configTies } from './vm-ties.ts';

const PLATFORM = 'proxmox';
const FIX =
  'Copy /etc/pve whole, and add `pvesh get /cluster/resources --output-format json` and `pvesh get /nodes/NODE/network` (docs/operating/audit.md).';
const LOCAL_TYPES = new Set(['dir', 'lvm', 'lvmthin', 'zfspool', 'btrfs']);
const DISK = /^(?:scsi|virtio|sata|ide|efidisk|tpmstate)\d+$/;
type At = (column: string, value: unknown) => Evidence;

interface VmFile {
  readonly file: string;
  readonly id: string;
  readonly node: string;
  readonly settings: ReadonlyMap<string, string>;
}

/** The reader of Proxmox VE. */
export const proxmoxReader: Reader = {
  platform: PLATFORM,
  claims: (document) => roleOf(document) !== null,
  read: (documents, into) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    for (const site of sitesOf(documents, [hasRole('storage'), hasRole('resources')]))
      new PveReader(new ExportSite(PLATFORM, FIX, into, site.directory), site.documents).read();
  },
};

class PveReader {
  readonly #site: ExportSite<'vm', VmFile>;
  readonly #documents: readonly Document[];
  readonly #storages = new Map<string, { section: Section; file: string }>();
  readonly #states = new Map<string, Fields>();
  readonly #bridges = new Map<string, Map<string, boolean>>();
  readonly #networkFiles = new Map<string, string>();
  /** Virtual network -> the nodes of its zone; no node stands for all. */
  readonly #virtual = new Map<string, { readonly nodes: readonly string[]; readonly file: string }>();

  constructor(site: ExportSite<'vm', VmFile>, documents: readonly Document[]) {
    this.#site = site;
    this.#documents = documents;
  }

  #hostKey(name: string): string {
    return this.#site.key('host', name);
  }

  #vmKey(id: string): string {
    return this.#site.key('vm', id);
  }

  #text(role: Role): readonly { readonly file: string; readonly text: string }[] {
    return this.#documents.flatMap((one) => (one.kind === 'text' && roleOf(one) === role ? [one] : []));
  }

  read(): void {
    for (const { file, text } of this.#text('vm')) {
      const id = /([^/]+)\.conf$/.exec(file)?.[1] ?? '';
      const node = /(?:^|\/)nodes\/([^/]+)\//.exec(file)?.[1] ?? '';
      this.#site.add('vm', [{ file, id, node, settings: settingsOf(text) }]);
    }
    for (const { file, text } of this.#text('storage'))
      for (const section of sectionsOf(text)) this.#storages.set(section.name, { section, file });
    const nodes = this.#readResources();
    this.#readNetworks();
    this.#readVirtualNetworks();
    this.#tellFiles(nodes.size);
    for (const node of new Set([...nodes.keys(), ...this.#site.of('vm').map(({ node: name }) => name)]))
      if (node !== '') this.#host(node, nodes.get(node));
    this.#tellStorages();
    const pins = this.#readHa();
    const mapped = new Set(
      this.#text('pci mapping').flatMap(({ text }) =>
        sectionsOf(text)
          .filter(({ values }) => flagOf(values.get('live-migration-capable')) === true)
          .map(({ name, type }) => name || type),
      ),
    );
    for (const vm of this.#site.of('vm')) this.#vm(vm, pins.get(vm.id) ?? [], mapped);
  }

  #readResources(): ReadonlyMap<string, { fields: Fields; file: string }> {
    const nodes = new Map<string, { fields: Fields; file: string }>();
    const ids = new Set(this.#site.of('vm').map((vm) => vm.id));
    for (const document of this.#documents) {
      if (document.kind !== 'data' || roleOf(document) !== 'resources') continue;
      for (const fields of itemsOf(document.values)) {
        const type = textAtPath(fields, 'type');
        if (type === 'node') nodes.set(textAtPath(fields, 'node'), { fields, file: document.file });
        if (type !== 'qemu') continue;
        const id = textAtPath(fields, 'vmid');
        this.#states.set(id, fields);
        // A VM without a file in the export runs with unknown settings.
        if (!ids.has(id))
          this.#site.gap('vms', 'join', document.file, 'cluster/resources', 'a VM without qemu-server/VMID.conf', id);
      }
    }
    return nodes;
  }

  #readNetworks(): void {
    for (const document of this.#documents) {
      if (document.kind !== 'data' || roleOf(document) !== 'network') continue;
      const node = this.#nodeOf(document.file, 'network');
      const bridges = new Map<string, boolean>();
      for (const one of itemsOf(document.values)) {
        if (!/bridge/i.test(textAtPath(one, 'type'))) continue;
        bridges.set(
          textAtPath(one, 'iface'),
          (textAtPath(one, 'bridge_ports') || textAtPath(one, 'ovs_ports')).trim() !== '',
        );
      }
      this.#bridges.set(node, bridges);
      this.#networkFiles.set(node, document.file);
    }
  }

  /** Returns the node of a file such as `networks/NODE.json` or `NODE/network.json`. */
  #nodeOf(file: string, what: string): string {
    const plain = file.endsWith(`/${what}.json`) || file.endsWith(`/${what}`) ? `${dirname(file)}.json` : file;
    return new RegExp(`([^/]+?)(?:[-_.]?${what})?\\.\\w+$`).exec(plain)?.[1] ?? '';
  }

  /** Networks that Proxmox VE itself makes on the nodes of their zone. */
  #readVirtualNetworks(): void {
    const zones = new Map(
      this.#text('sdn zones').flatMap(({ text }) => sectionsOf(text).map((zone) => [zone.name, zone] as const)),
    );
    for (const { text, file } of this.#text('sdn vnets'))
      for (const { name, values } of sectionsOf(text)) {
        const zone = zones.get(values.get('zone') ?? '');
        if (zone === undefined) continue;
        const nodes = (zone.values.get('nodes') ?? '').split(/[\s,]+/).filter((node) => node !== '');
        this.#virtual.set(name, { nodes, file });
      }
  }

  #tellFiles(nodes: number): void {
    if (this.#site.of('vm').length === 0)
      this.#site.gap('vms', 'file', '', 'the files of VMs (/etc/pve/nodes/NODE/qemu-server)', '');
    if (nodes === 0)
      this.#site.gap('hosts', 'file', '', 'the state of nodes and VMs (pvesh get /cluster/resources)', '');
    if (this.#storages.size === 0) this.#site.gap('storage', 'file', '', '/etc/pve/storage.cfg', '');
    if (this.#bridges.size === 0)
      this.#site.gap('networks', 'file', '', 'the networks of nodes (pvesh get /nodes/NODE/network)', '');
    // Rules apply only to VMs under high availability, whose state names them.
    const isManaged = [...this.#states.values()].some((one) => textAtPath(one, 'hastate') !== '');
    if (isManaged && !this.#documents.some((one) => roleOf(one)?.startsWith('ha '))) {
      const part = '/etc/pve/ha (rules that bind VMs to nodes)';
      this.#site.gap('rules', 'file', '', part, '');
    }
  }

  #host(name: string, known: { fields: Fields; file: string } | undefined): void {
    const bytes = numberOf(known?.fields['maxmem']);
    const status = textAtPath(known?.fields, 'status');
    const hostState = textAtPath(known?.fields, 'hastate');
    const cluster = this.#site.into.cluster({
      key: this.#site.key('cluster'),
      name: this.#site.named('the cluster'),
      ...this.#site.origin,
    });
    const vms = [...this.#states.values()].filter(
      (one) => textAtPath(one, 'node') === name && textAtPath(one, 'status') === 'running',
    ).length;
    this.#site.into.host(
      plainHost({
        key: this.#hostKey(name),
        name,
        ...this.#site.origin,
        cluster,
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        state:
          status === 'online' && hostState !== 'maintenance'
            ? 'in service'
            : status === ''
              ? 'unknown'
              : 'out of service',
        // QEMU's default CPU models run on every host; `cpu: host` is a tie of the VM.
        cpu: '',
        cpuModel: this.#models().get(name) ?? null,
        saysRunning: known === undefined ? null : vms,
        evidence: evidence(known?.file ?? '', 'cluster/resources', name, 'status', status),
      }),
    );
  }

  #known: ReadonlyMap<string, string> | null = null;

  /** Returns the processors of nodes, as `pvesh get /nodes/NODE/status` says them. */
  #models(): ReadonlyMap<string, string> {
    this.#known ??= new Map(
      this.#documents.flatMap((document) => {
        if (document.kind !== 'data' || roleOf(document) !== 'status') return [];
        const model = textAtPath(document.values[0], 'cpuinfo', 'model');
        return model === '' ? [] : [[this.#nodeOf(document.file, 'status'), model] as const];
      }),
    );
    return this.#known;
  }

  #tellStorages(): void {
    for (const [name, { section, file }] of this.#storages) {
      const nodes = (section.values.get('nodes') ?? '').split(/[\s,]+/).filter((one) => one !== '');
      const isLocal = LOCAL_TYPES.has(section.type) && flagOf(section.values.get('shared')) !== true;
      const reach: Reach = isLocal
        ? { kind: 'local' }
        : nodes.length === 0
          ? { kind: 'every' }
          : { kind: 'hosts', hosts: new Set(nodes.map((node) => this.#hostKey(node))) };
      this.#site.into.storage({
        key: this.#site.key('storage', name),
        name,
        reach,
        evidence: evidence(file, 'storage.cfg', name, section.type, isLocal ? 'local' : 'shared'),
      });
    }
  }

  /** Returns restrictions by VM ID; adds rules that keep VMs apart to the estate. */
  #readHa(): ReadonlyMap<string, readonly Tie[]> {
    const pins = new Map<string, Tie[]>();
    const pin = (id: string, nodes: string, name: string, isStrict: boolean, place: Evidence): void => {
      const hosts = new Set(nodes.split(/[\s,]+/).map((one) => this.#hostKey(one.split(':')[0] ?? '')));
      const tie: Tie = isStrict
        ? { kind: 'pinned', effect: 'limits', subject: name, hosts, evidence: place }
        : { kind: 'pinned', effect: 'informs', subject: name, evidence: place };
      pins.set(id, [...(pins.get(id) ?? []), tie]);
    };
    const groups = new Map(
      this.#text('ha groups')
        .flatMap(({ text }) => sectionsOf(text))
        .map((section) => [section.name, section]),
    );
    for (const { text, file } of this.#text('ha resources'))
      for (const section of sectionsOf(text)) {
        const group = groups.get(section.values.get('group') ?? '');
        if (group === undefined || section.type !== 'vm') continue;
        const place = evidence(file, 'ha/resources.cfg', `vm:${section.name}`, 'group', group.name);
        pin(
          section.name,
          group.values.get('nodes') ?? '',
          group.name,
          flagOf(group.values.get('restricted')) === true,
          place,
        );
      }
    for (const { text, file } of this.#text('ha rules'))
      for (const section of sectionsOf(text)) {
        if (flagOf(section.values.get('disable')) === true) continue;
        const ids = (section.values.get('resources') ?? '')
          .split(/[\s,]+/)
          .flatMap((one) => /^vm:(\d+)$/.exec(one)?.[1] ?? []);
        const place = evidence(file, 'ha/rules.cfg', section.name, section.type, section.values.get('resources'));
        if (section.type === 'node-affinity')
          for (const id of ids)
            pin(
              id,
              section.values.get('nodes') ?? '',
              section.name,
              flagOf(section.values.get('strict')) === true,
              place,
            );
        if (section.type !== 'resource-affinity' || ids.length < 2) continue;
        const isApart = section.values.get('affinity') === 'negative';
        this.#site.into.rule({
          key: this.#site.key('rule', section.name),
          name: section.name,
          kind: isApart ? 'apart' : 'together',
          isHard: true,
          vms: ids.map((id) => this.#vmKey(id)),
          perHost: 1,
          evidence: place,
        });
      }
    return pins;
  }

  #vm({ file, id, node, settings }: VmFile, pins: readonly Tie[], mapped: ReadonlySet<string>): void {
    const state = this.#states.get(id);
    const name = settings.get('name') ?? (textAtPath(state, 'name') || id);
    const at: At = (column, value) => evidence(file, 'qemu-server', id, column, value);
    const said = textAtPath(state, 'node') || node;
    const host = said !== '' && this.#site.into.hosts.has(this.#hostKey(said)) ? this.#hostKey(said) : null;
    const status = textAtPath(state, 'status');
    const power: Vm['power'] =
      status === 'running' || status === 'paused' ? 'running' : status === 'stopped' ? 'stopped' : 'unknown';
    const isTemplate = flagOf(settings.get('template')) === true;
    if (host === null && power !== 'stopped' && !isTemplate)
      this.#site.gap('vms', said === '' ? 'column' : 'join', file, 'VM', 'node', said);
    const memory =
      numberOf(optionsOf(settings.get('memory') ?? '512').first) ??
      numberOf(optionsOf(settings.get('memory') ?? '').options.get('current'));
    this.#site.into.vm(
      plainVm({
        key: this.#vmKey(id),
        uuid: /uuid=([\w-]+)/.exec(settings.get('smbios1') ?? '')?.[1] ?? '',
        name,
        ...this.#site.origin,
        host,
        hostSaid: said,
        power,
        isTemplate,
        memoryMib: memory,
        cpus: (numberOf(settings.get('cores')) ?? 1) * (numberOf(settings.get('sockets')) ?? 1),
        disks: [...settings].flatMap(([key, value]) => (DISK.test(key) ? this.#disk(key, value, host, at) : [])),
        nics: [...settings].flatMap(([key, value]) => (/^net\d+$/.test(key) ? [this.#nic(key, value, said, at)] : [])),
        ties: [...configTies(settings, mapped, at), ...pins],
        owner: settings.get('tags') ?? '',
        notes: settings.get('description') ?? '',
        guest: settings.get('ostype') ?? '',
        evidence: at('name', name),
      }),
    );
  }

  #disk(key: string, value: string, host: string | null, at: At): readonly Disk[] {
    const { first, options } = optionsOf(value);
    const isMedia = options.get('media') === 'cdrom';
    if (first === '' || first === 'none' || first === 'cdrom') return [];
    const place = at(key, value);
    const size = /^(\d+(?:\.\d+)?)([KMGT])/.exec(options.get('size') ?? '');
    const gib =
      size === null ? null : Number(size[1]) * ({ K: 2 ** -20, M: 2 ** -10, G: 1, T: 1024 }[size[2] ?? 'G'] ?? 1);
    const isPath = first.startsWith('/');
    const storage = isPath ? '' : first.slice(0, first.indexOf(':'));
    const known = this.#storages.get(storage);
    const isLocal =
      known !== undefined && LOCAL_TYPES.has(known.section.type) && flagOf(known.section.values.get('shared')) !== true;
    const isShared = flagOf(options.get('shared')) === true;
    // A device path of a node means the same on another node only if it identifies a LUN.
    const isNamed = /\/(?:by-id|mapper)\//.test(first);
    const scope = isPath ? (isNamed ? '' : (host ?? '')) : isLocal ? (host ?? '') : '';
    const reach: Reach = isPath ? (isShared || isNamed ? { kind: 'unknown' } : { kind: 'local' }) : { kind: 'unknown' };
    return [
      plainDisk({
        label: first,
        identities: [{ key: this.#site.key('volume', scope, first), kind: isPath ? 'LUN' : 'volume', name: first }],
        permit: isShared && !isMedia ? { kind: 'shareable', evidence: place } : null,
        storage: known === undefined ? null : this.#site.key('storage', storage),
        reach,
        sizeGib: gib,
        isReadOnly: isMedia,
        isMedia,
        evidence: place,
      }),
    ];
  }

  #virtualNic(name: string, { nodes, file }: { nodes: readonly string[]; file: string }, place: Evidence): Nic {
    const network = this.#site.key('vnet', name);
    const hosts = new Set(nodes.map((node) => this.#hostKey(node)));
    const reach: Reach = nodes.length === 0 ? { kind: 'every' } : { kind: 'hosts', hosts };
    const at = evidence(file, 'sdn/vnets.cfg', name, 'zone', nodes.join(' '));
    this.#site.into.network({ key: network, name, reach, isIsolated: false, evidence: at });
    return { network, address: '', evidence: place };
  }

  #nic(key: string, value: string, node: string, at: At): Nic {
    const name = optionsOf(value).options.get('bridge') ?? '';
    const place = at(key, name);
    if (name === '' || this.#bridges.size === 0) return { network: null, address: '', evidence: place };
    const virtual = this.#virtual.get(name);
    if (virtual !== undefined) return this.#virtualNic(name, virtual, place);
    const hasPort = this.#bridges.get(node)?.get(name);
    const hosts = [...this.#bridges].filter(([, bridges]) => bridges.has(name)).map(([one]) => this.#hostKey(one));
    const isIsolated = hasPort === false;
    const network = this.#site.key('bridge', isIsolated ? node : '', name);
    const reach: Reach = hasPort === undefined ? { kind: 'unknown' } : { kind: 'hosts', hosts: new Set(hosts) };
    this.#site.into.network({
      key: network,
      name,
      reach,
      isIsolated,
      evidence: evidence(this.#networkFiles.get(node) ?? '', 'network', name, 'bridge_ports', isIsolated ? 'none' : ''),
    });
    return { network, address: '', evidence: place };
  }
}
