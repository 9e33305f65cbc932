/** oVirt and RHV: XML or JSON of the REST API, one file per collection. */
import { own } from '../../../base/own.ts';
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import {
  type Aspect,
  type Disk,
  type Evidence,
  keyOf,
  type Nic,
  type Reach,
  type Tie,
  type Unknown,
  type Vm,
} from '../../estate/estate.ts';
import { evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader, Xml } from '../document.ts';
import { ExportSite } from '../export-site.ts';
import { type Fields, fieldsOf, flagOf, numberOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';

const PLATFORM = 'ovirt';
const FIX =
  'Export with `curl … /ovirt-engine/api/vms?follow=disk_attachments.disk,nics,host_devices`, and hosts, clusters, disks, storagedomains, affinity groups (docs/operating/audit.md).';
const KINDS = [
  'vm',
  'host',
  'cluster',
  'disk',
  'storage_domain',
  'network',
  'vnic_profile',
  'affinity_group',
  'disk_attachment',
] as const;
type Kind = (typeof KINDS)[number];

interface Found {
  readonly file: string;
  readonly fields: Fields;
}

/** The reader of oVirt. */
export const ovirtReader: Reader = {
  platform: PLATFORM,
  claims: (document) => kindOf(document) !== null,
  read: (documents, into) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    new RestReader(new ExportSite(PLATFORM, FIX, into), documents).read();
  },
};

/** Returns the collection of a document: `<vms><vm href=…>`, or `{"vm": […]}`. */
function kindOf(document: Document): Kind | null {
  if (document.kind === 'xml') {
    const one = KINDS.find((kind) => document.root.name === kind);
    if (one !== undefined && /\/api\//.test(document.root.attributes['href'] ?? '')) return one;
    const name = KINDS.find((kind) => document.root.name === `${kind}s`) ?? null;
    const first = document.root.children[0];
    // libvirt has elements with the same names; oVirt's have an href.
    return first === undefined || 'href' in first.attributes || 'id' in first.attributes ? name : null;
  }
  if (document.kind !== 'data') return null;
  const fields = fieldsOf(document.values[0]);
  return (
    KINDS.find(
      (kind) => Array.isArray(own(fields, kind)) && /\/api\//.test(textAtPath(objectsAt(fields, kind)[0], 'href')),
    ) ?? null
  );
}

/** Converts an element to the JSON form of the same API. */
function fieldsOfXml(element: Xml): Fields {
  const fields = new Map<string, unknown>(Object.entries(element.attributes));
  for (const child of element.children) {
    const isText = child.children.length === 0 && Object.keys(child.attributes).length === 0;
    const value = isText ? child.text : fieldsOfXml(child);
    const before = fields.get(child.name);
    fields.set(child.name, before === undefined ? value : [...(Array.isArray(before) ? before : [before]), value]);
  }
  return Object.fromEntries(fields);
}

/** Returns the objects of a document in the form of the API's JSON. */
function fieldsIn(document: Document, kind: Kind): readonly Fields[] {
  if (document.kind === 'xml')
    return (document.root.name === kind ? [document.root] : document.root.children).map(fieldsOfXml);
  return document.kind === 'data' ? document.values.flatMap((value) => objectsAt(value, kind)) : [];
}

class RestReader {
  readonly #site: ExportSite<Kind, Found>;
  readonly #disks = new Map<string, Found>();
  /** Profile of a virtual network card -> the network of its ID. */
  readonly #networkOf = new Map<string, string>();

  constructor(site: ExportSite<Kind, Found>, documents: readonly Document[]) {
    this.#site = site;
    for (const document of documents) {
      const kind = kindOf(document);
      if (kind === null) continue;
      site.add(
        kind,
        fieldsIn(document, kind).map((fields) => ({ file: document.file, fields })),
      );
    }
  }

  read(): void {
    const part = (kind: Kind): string => `the collection of ${kind}s`;
    this.#site.need([
      ['vm', 'vms', part('vm')],
      ['host', 'hosts', part('host')],
      ['cluster', 'hosts', part('cluster')],
      ['disk', 'disks', part('disk')],
      ['storage_domain', 'storage', part('storage_domain')],
      ['affinity_group', 'rules', part('affinity_group')],
    ]);
    for (const { fields } of this.#site.of('cluster'))
      this.#site.into.cluster({
        key: this.#clusterKey(textAtPath(fields, 'id')),
        name: textAtPath(fields, 'name'),
        ...this.#site.origin,
      });
    for (const host of this.#site.of('host')) this.#host(host);
    for (const storage of this.#site.of('storage_domain')) this.#storage(storage);
    this.#networks();
    for (const disk of this.#site.of('disk')) this.#disks.set(textAtPath(disk.fields, 'id'), disk);
    for (const vm of this.#site.of('vm')) this.#vm(vm);
    for (const group of this.#site.of('affinity_group')) this.#rule(group);
  }

  #hostKey(id: string): string {
    return this.#site.key('host', id);
  }

  #vmKey(id: string): string {
    return this.#site.key('vm', id);
  }

  #clusterKey(id: string): string {
    return this.#site.key('cluster', id);
  }

  #storageKey(id: string): string {
    return this.#site.key('storage', id);
  }

  #host({ fields, file }: Found): void {
    const id = textAtPath(fields, 'id');
    const name = textAtPath(fields, 'name') || id;
    const bytes = numberOf(valueAt(fields, 'memory'));
    const status = textAtPath(fields, 'status') || textAtPath(fields, 'status', 'state');
    const cluster = textAtPath(fields, 'cluster', 'id');
    if (bytes === null) this.#site.gap('memory', 'column', file, 'host', 'memory');
    if (cluster === '') this.#site.gap('hosts', 'column', file, 'host', 'cluster');
    this.#site.into.host(
      plainHost({
        key: this.#hostKey(id),
        name,
        ...this.#site.origin,
        cluster:
          cluster === ''
            ? null
            : this.#site.into.cluster({ key: this.#clusterKey(cluster), name: cluster, ...this.#site.origin }),
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        state: status === 'up' ? 'in service' : status === '' ? 'unknown' : 'out of service',
        // The cluster's CPU type applies to all guests.
        cpu: '',
        cpuModel: textAtPath(fields, 'cpu', 'name') || null,
        saysRunning: numberOf(valueAt(fields, 'summary', 'active')),
        evidence: evidence(file, 'host', name, 'status', status),
      }),
    );
  }

  #storage({ fields, file }: Found): void {
    const name = textAtPath(fields, 'name');
    const type = textAtPath(fields, 'storage', 'type');
    // The engine takes a host out of service that does not see a storage domain of its data center.
    const reach: Reach = type === '' ? { kind: 'unknown' } : type === 'localfs' ? { kind: 'local' } : { kind: 'every' };
    this.#site.into.storage({
      key: this.#storageKey(textAtPath(fields, 'id')),
      name,
      reach,
      evidence: evidence(file, 'storage_domain', name, 'storage.type', type),
    });
  }

  /**
   * Adds networks, if hosts are exported with their attachments: a network that no cluster requires may be missing on
   * some hosts, and the engine keeps these in service.
   */
  #networks(): void {
    const attached = new Map<string, Set<string>>();
    for (const { fields } of this.#site.of('host'))
      for (const attachment of objectsAt(fields, 'network_attachments', 'network_attachment')) {
        const network = textAtPath(attachment, 'network', 'id');
        const hosts = attached.get(network) ?? new Set<string>();
        attached.set(network, hosts.add(this.#hostKey(textAtPath(fields, 'id'))));
      }
    if (attached.size === 0) return;
    for (const { fields, file } of this.#site.of('network')) {
      const id = textAtPath(fields, 'id');
      const name = textAtPath(fields, 'name') || id;
      // A network of an external provider, such as OVN, is attached to no card of a host.
      const isExternal = textAtPath(fields, 'external_provider', 'id') !== '';
      const hosts = attached.get(id) ?? new Set<string>();
      this.#site.into.network({
        key: this.#site.key('network', id),
        name,
        reach: isExternal ? { kind: 'every' } : { kind: 'hosts', hosts },
        isIsolated: false,
        evidence: evidence(file, 'network', name, 'network_attachments of hosts', hosts.size),
      });
    }
    for (const { fields } of this.#site.of('vnic_profile'))
      this.#networkOf.set(textAtPath(fields, 'id'), this.#site.key('network', textAtPath(fields, 'network', 'id')));
  }

  #vm({ fields, file }: Found): void {
    const id = textAtPath(fields, 'id');
    const name = textAtPath(fields, 'name') || id;
    const at: At = (column, value) => evidence(file, 'vm', name, column, value);
    const power = powerOf(textAtPath(fields, 'status') || textAtPath(fields, 'status', 'state'));
    const runs = power === 'running' || power === 'unknown';
    const said = textAtPath(fields, 'host', 'id');
    const host = said !== '' && this.#site.into.hosts.has(this.#hostKey(said)) ? this.#hostKey(said) : null;
    if (runs && host === null) this.#site.gap('vms', said === '' ? 'column' : 'join', file, 'vm', 'host', said);
    const bytes = numberOf(valueAt(fields, 'memory'));
    const topology = valueAt(fields, 'cpu', 'topology');
    const cpus = ['cores', 'sockets', 'threads'].reduce(
      (product, field) => product * (numberOf(valueAt(topology, field)) ?? 1),
      1,
    );
    this.#site.into.vm(
      plainVm({
        key: this.#vmKey(id),
        uuid: id,
        name,
        ...this.#site.origin,
        host,
        hostSaid: this.#site.into.hosts.get(this.#hostKey(said))?.name ?? said,
        power,
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        cpus: topology === undefined ? null : cpus,
        disks: this.#attachments(id, fields).map((one) => this.#disk(one, at)),
        nics: this.#nics(fields, at),
        ties: [...tiesOf(fields, at), ...this.#preferred(fields, at)],
        unknowns: runs ? this.#unknowns(id, fields, at) : [],
        notes: [textAtPath(fields, 'description'), textAtPath(fields, 'comment')].join(' ').trim(),
        guest: textAtPath(fields, 'os', 'type'),
        evidence: at('name', name),
      }),
    );
  }

  #attached: ReadonlyMap<string, readonly Fields[]> | null = null;

  /** Returns disk attachments: inside the VM (followed links), or from separate files. */
  #attachments(vm: string, fields: Fields): readonly Fields[] {
    const inside = objectsAt(fields, 'disk_attachments', 'disk_attachment');
    this.#attached ??= Map.groupBy(
      this.#site.of('disk_attachment').map((one) => one.fields),
      (one) => textAtPath(one, 'vm', 'id'),
    );
    const apart = this.#attached.get(vm) ?? [];
    return inside.length > 0 ? inside : apart;
  }

  #unknowns(id: string, fields: Fields, at: At): readonly Unknown[] {
    const unknown = (aspect: Aspect, column: string): Unknown => ({ aspect, evidence: at(column, ''), fix: FIX });
    const hasDisks = 'disk_attachments' in fields || this.#attachments(id, fields).length > 0;
    return [
      ...(hasDisks ? [] : [unknown('disks', 'disk_attachments')]),
      ...('host_devices' in fields ? [] : [unknown('devices', 'host_devices')]),
      ...('nics' in fields ? [] : [unknown('networks', 'nics')]),
      ...(textAtPath(fields, 'placement_policy', 'affinity') === ''
        ? [unknown('rules', 'placement_policy.affinity')]
        : []),
    ];
  }

  #disk(attachment: Fields, at: At): Disk {
    const inner = fieldsOf(attachment['disk']);
    const id = textAtPath(inner, 'id') || textAtPath(attachment, 'id');
    const known = this.#disks.get(id);
    const fields: Fields = { ...inner, ...known?.fields };
    const name = textAtPath(fields, 'alias') || textAtPath(fields, 'name') || id;
    const place = known === undefined ? at('disk_attachments.disk', id) : evidence(known.file, 'disk', name, 'id', id);
    const said = (column: string): Evidence => evidence(known?.file ?? place.file, 'disk', name, column, true);
    const isOvfStore = textAtPath(fields, 'content_type') === 'ovf_store';
    const permit: Disk['permit'] =
      flagOf(attachment['uses_scsi_reservation']) === true
        ? { kind: 'reservation', evidence: at('disk_attachments.uses_scsi_reservation', true) }
        : flagOf(fields['shareable']) === true && !isOvfStore
          ? { kind: 'shareable', evidence: said('shareable') }
          : null;
    const domain = textAtPath(objectsAt(fields, 'storage_domains', 'storage_domain')[0], 'id');
    const lun = textAtPath(objectsAt(fields, 'lun_storage', 'logical_units', 'logical_unit')[0], 'id');
    const bytes = numberOf(fields['provisioned_size']);
    return plainDisk({
      label: name,
      identities: [
        { key: this.#site.key('disk', id), kind: 'disk', name },
        ...(lun === '' ? [] : [{ key: keyOf('lun', lun.toLowerCase()), kind: 'LUN' as const, name: lun }]),
      ],
      permit,
      storage: domain === '' ? null : this.#storageKey(domain),
      reach: domain === '' && lun === '' ? { kind: 'unknown' } : { kind: 'every' },
      sizeGib: bytes === null ? null : bytes / 2 ** 30,
      isReadOnly: isOvfStore || flagOf(attachment['read_only']) === true,
      evidence: place,
    });
  }

  #nics(fields: Fields, at: At): readonly Nic[] {
    return objectsAt(fields, 'nics', 'nic').map((nic) => {
      const id = textAtPath(nic, 'vnic_profile', 'id');
      const place = at('nics.vnic_profile', id);
      const network = this.#networkOf.get(id) ?? '';
      return { network: this.#site.into.networks.has(network) ? network : null, address: '', evidence: place };
    });
  }

  /** Returns the hosts that a VM which may move prefers; those of a pinned VM are part of its tie. */
  #preferred(fields: Fields, at: At): readonly Tie[] {
    if (textAtPath(fields, 'placement_policy', 'affinity') === 'pinned') return [];
    const named = objectsAt(fields, 'placement_policy', 'hosts', 'host').map((host) => textAtPath(host, 'id'));
    if (named.length === 0) return [];
    const names = named.map((id) => this.#site.into.hosts.get(this.#hostKey(id))?.name ?? id).join(', ');
    const place = at('placement_policy.hosts', names);
    return [{ kind: 'preferred host', effect: 'informs', subject: names, evidence: place }];
  }

  #rule({ fields, file }: Found): void {
    const name = textAtPath(fields, 'name');
    const vms = objectsAt(fields, 'vms', 'vm').map((vm) => this.#vmKey(textAtPath(vm, 'id')));
    const rule = valueAt(fields, 'vms_rule');
    const isOn = flagOf(valueAt(rule, 'enabled')) !== false;
    const positive = flagOf(valueAt(rule, 'positive') ?? fields['positive']);
    const enforcing = flagOf(valueAt(rule, 'enforcing') ?? fields['enforcing']) === true;
    const place = evidence(file, 'affinity_group', name, 'vms_rule.positive', positive);
    if (isOn && positive !== null && vms.length > 1)
      this.#site.into.rule({
        key: this.#site.key('rule', textAtPath(fields, 'id')),
        name,
        kind: positive ? 'together' : 'apart',
        isHard: enforcing,
        vms,
        perHost: 1,
        evidence: place,
      });
    const hostsRule = valueAt(fields, 'hosts_rule');
    const named = new Set(objectsAt(fields, 'hosts', 'host').map((host) => this.#hostKey(textAtPath(host, 'id'))));
    if (
      named.size === 0 ||
      flagOf(valueAt(hostsRule, 'enabled')) === false ||
      flagOf(valueAt(hostsRule, 'enforcing')) !== true
    )
      return;
    const isPositive = flagOf(valueAt(hostsRule, 'positive')) !== false;
    const hosts = isPositive ? named : new Set([...this.#site.into.hosts.keys()].filter((key) => !named.has(key)));
    const tie: Tie = { kind: 'pinned', effect: 'limits', subject: name, hosts, evidence: place };
    for (const key of vms) {
      const vm = this.#site.into.vms.get(key);
      if (vm !== undefined) this.#site.into.vms.set(key, { ...vm, ties: [...vm.ties, tie] });
    }
  }
}

type At = (column: string, value: unknown) => Evidence;

function tiesOf(fields: Fields, at: At): readonly Tie[] {
  const ties: Tie[] = [];
  const affinity = textAtPath(fields, 'placement_policy', 'affinity');
  if (affinity === 'pinned')
    ties.push({
      kind: 'pinned',
      effect: 'blocks',
      subject: affinity,
      evidence: at('placement_policy.affinity', affinity),
    });
  // The engine does not migrate the VM when its host goes into maintenance; a person can.
  if (affinity === 'user_migratable')
    ties.push({
      kind: 'pinned',
      effect: 'warns',
      subject: affinity,
      evidence: at('placement_policy.affinity', affinity),
    });
  for (const device of objectsAt(fields, 'host_devices', 'host_device')) {
    const subject = textAtPath(device, 'name') || textAtPath(device, 'id');
    ties.push({ kind: 'host device', effect: 'blocks', subject, evidence: at('host_devices', subject) });
  }
  for (const property of objectsAt(fields, 'custom_properties', 'custom_property'))
    if (textAtPath(property, 'name') === 'mdev_type')
      ties.push({
        kind: 'gpu',
        effect: 'blocks',
        subject: textAtPath(property, 'value'),
        evidence: at('custom_properties.mdev_type', textAtPath(property, 'value')),
      });
  for (const nic of objectsAt(fields, 'nics', 'nic'))
    if (textAtPath(nic, 'interface') === 'pci_passthrough')
      ties.push({
        kind: 'sr-iov',
        effect: 'blocks',
        subject: textAtPath(nic, 'name'),
        evidence: at('nics.interface', 'pci_passthrough'),
      });
  for (const attachment of objectsAt(fields, 'disk_attachments', 'disk_attachment'))
    if (flagOf(attachment['uses_scsi_reservation']) === true)
      ties.push({
        kind: 'scsi reservation',
        effect: 'blocks',
        subject: '',
        evidence: at('disk_attachments.uses_scsi_reservation', true),
      });
  if (textAtPath(fields, 'cpu', 'mode') === 'host_passthrough')
    ties.push({ kind: 'cpu passthrough', effect: 'warns', subject: '', evidence: at('cpu.mode', 'host_passthrough') });
  if (objectsAt(fields, 'cpu', 'cpu_tune', 'vcpu_pins', 'vcpu_pin').length > 0)
    ties.push({ kind: 'cpu pin', effect: 'warns', subject: '', evidence: at('cpu.cpu_tune', 'vcpu_pins') });
  if (flagOf(valueAt(fields, 'tpm_enabled')) === true)
    ties.push({ kind: 'soft tpm', effect: 'informs', subject: '', evidence: at('tpm_enabled', true) });
  return ties;
}

function powerOf(text: string): Vm['power'] {
  if (text === '' || text === 'unknown') return 'unknown';
  if (text === 'down' || text === 'image_locked') return 'stopped';
  return text === 'suspended' ? 'suspended' : 'running';
}
