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
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader, Xml } from '../document.ts';
import { type Fields, fieldsOf, flagOf, numberOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';

const PLATFORM = 'ovirt';
const GROUP = 'ovirt';
const FIX =
  'Export with `curl … /ovirt-engine/api/vms?follow=disk_attachments.disk,nics,host_devices`, and hosts, clusters, disks, storagedomains, affinity groups (docs/operating/audit.md).';
const KINDS = [
  'vm',
  'host',
  'cluster',
  'disk',
  'storage_domain',
  'network',
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
    new RestReader(documents, into).read();
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

class RestReader {
  readonly #into: EstateBuilder;
  readonly #objects = new Map<Kind, Found[]>();
  readonly #disks = new Map<string, Found>();

  constructor(documents: readonly Document[], into: EstateBuilder) {
    this.#into = into;
    for (const document of documents) {
      const kind = kindOf(document);
      if (kind === null) continue;
      const all = this.#objects.get(kind) ?? [];
      this.#objects.set(kind, all);
      if (document.kind === 'xml')
        for (const child of document.root.name === kind ? [document.root] : document.root.children)
          all.push({ file: document.file, fields: fieldsOfXml(child) });
      if (document.kind === 'data')
        for (const value of document.values)
          for (const fields of objectsAt(value, kind)) all.push({ file: document.file, fields });
    }
  }

  #of(kind: Kind): readonly Found[] {
    return this.#objects.get(kind) ?? [];
  }

  #gap(
    aspect: Aspect,
    kind: 'file' | 'column' | 'join',
    file: string,
    part: string,
    column: string,
    example = '',
  ): void {
    const count = kind === 'file' ? 0 : 1;
    this.#into.gap({ platform: PLATFORM, group: GROUP, aspect, kind, file, part, column, count, example, fix: FIX });
  }

  read(): void {
    const needed = [
      ['vm', 'vms'],
      ['host', 'hosts'],
      ['cluster', 'hosts'],
      ['disk', 'disks'],
      ['storage_domain', 'storage'],
      ['affinity_group', 'rules'],
    ] as const;
    for (const [kind, aspect] of needed)
      if (!this.#objects.has(kind)) this.#gap(aspect, 'file', '', `the collection of ${kind}s`, '');
    for (const { fields } of this.#of('cluster'))
      this.#into.cluster({
        key: clusterKey(textAtPath(fields, 'id')),
        name: textAtPath(fields, 'name'),
        platform: PLATFORM,
        group: GROUP,
      });
    for (const host of this.#of('host')) this.#host(host);
    for (const storage of this.#of('storage_domain')) this.#storage(storage);
    for (const disk of this.#of('disk')) this.#disks.set(textAtPath(disk.fields, 'id'), disk);
    for (const vm of this.#of('vm')) this.#vm(vm);
    for (const group of this.#of('affinity_group')) this.#rule(group);
  }

  #host({ fields, file }: Found): void {
    const id = textAtPath(fields, 'id');
    const name = textAtPath(fields, 'name') || id;
    const bytes = numberOf(valueAt(fields, 'memory'));
    const status = textAtPath(fields, 'status') || textAtPath(fields, 'status', 'state');
    const cluster = textAtPath(fields, 'cluster', 'id');
    if (bytes === null) this.#gap('memory', 'column', file, 'host', 'memory');
    if (cluster === '') this.#gap('hosts', 'column', file, 'host', 'cluster');
    this.#into.host(
      plainHost({
        key: hostKey(id),
        name,
        platform: PLATFORM,
        group: GROUP,
        cluster:
          cluster === ''
            ? null
            : this.#into.cluster({ key: clusterKey(cluster), name: cluster, platform: PLATFORM, group: GROUP }),
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
    this.#into.storage({
      key: storageKey(textAtPath(fields, 'id')),
      name,
      reach,
      evidence: evidence(file, 'storage_domain', name, 'storage.type', type),
    });
  }

  #vm({ fields, file }: Found): void {
    const id = textAtPath(fields, 'id');
    const name = textAtPath(fields, 'name') || id;
    const at: At = (column, value) => evidence(file, 'vm', name, column, value);
    const power = powerOf(textAtPath(fields, 'status') || textAtPath(fields, 'status', 'state'));
    const runs = power === 'running' || power === 'unknown';
    const said = textAtPath(fields, 'host', 'id');
    const host = said !== '' && this.#into.hosts.has(hostKey(said)) ? hostKey(said) : null;
    if (runs && host === null) this.#gap('vms', said === '' ? 'column' : 'join', file, 'vm', 'host', said);
    const bytes = numberOf(valueAt(fields, 'memory'));
    const topology = valueAt(fields, 'cpu', 'topology');
    const cpus = ['cores', 'sockets', 'threads'].reduce(
      (product, field) => product * (numberOf(valueAt(topology, field)) ?? 1),
      1,
    );
    this.#into.vm(
      plainVm({
        key: vmKey(id),
        uuid: id,
        name,
        platform: PLATFORM,
        group: GROUP,
        host,
        hostSaid: this.#into.hosts.get(hostKey(said))?.name ?? said,
        power,
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        cpus: topology === undefined ? null : cpus,
        disks: this.#attachments(id, fields).map((one) => this.#disk(one, at)),
        nics: this.#nics(fields, at),
        ties: tiesOf(fields, at),
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
      this.#of('disk_attachment').map((one) => one.fields),
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
        { key: keyOf('disk', PLATFORM, id), kind: 'disk', name },
        ...(lun === '' ? [] : [{ key: keyOf('lun', lun.toLowerCase()), kind: 'LUN' as const, name: lun }]),
      ],
      permit,
      storage: domain === '' ? null : storageKey(domain),
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
      return { network: null, address: '', evidence: place };
    });
  }

  #rule({ fields, file }: Found): void {
    const name = textAtPath(fields, 'name');
    const vms = objectsAt(fields, 'vms', 'vm').map((vm) => vmKey(textAtPath(vm, 'id')));
    const rule = valueAt(fields, 'vms_rule');
    const isOn = flagOf(valueAt(rule, 'enabled')) !== false;
    const positive = flagOf(valueAt(rule, 'positive') ?? fields['positive']);
    const enforcing = flagOf(valueAt(rule, 'enforcing') ?? fields['enforcing']) === true;
    const place = evidence(file, 'affinity_group', name, 'vms_rule.positive', positive);
    if (isOn && positive !== null && vms.length > 1)
      this.#into.rule({
        key: keyOf(PLATFORM, 'rule', textAtPath(fields, 'id')),
        name,
        kind: positive ? 'together' : 'apart',
        isHard: enforcing,
        vms,
        perHost: 1,
        evidence: place,
      });
    const hostsRule = valueAt(fields, 'hosts_rule');
    const named = new Set(objectsAt(fields, 'hosts', 'host').map((host) => hostKey(textAtPath(host, 'id'))));
    if (
      named.size === 0 ||
      flagOf(valueAt(hostsRule, 'enabled')) === false ||
      flagOf(valueAt(hostsRule, 'enforcing')) !== true
    )
      return;
    const isPositive = flagOf(valueAt(hostsRule, 'positive')) !== false;
    const hosts = isPositive ? named : new Set([...this.#into.hosts.keys()].filter((key) => !named.has(key)));
    const tie: Tie = { kind: 'pinned', effect: 'limits', subject: name, hosts, evidence: place };
    for (const key of vms) {
      const vm = this.#into.vms.get(key);
      if (vm !== undefined) this.#into.vms.set(key, { ...vm, ties: [...vm.ties, tie] });
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

const hostKey = (id: string): string => keyOf(PLATFORM, 'host', id);
const vmKey = (id: string): string => keyOf(PLATFORM, 'vm', id);
const clusterKey = (id: string): string => keyOf(PLATFORM, 'cluster', id);
const storageKey = (id: string): string => keyOf(PLATFORM, 'storage', id);

function powerOf(text: string): Vm['power'] {
  if (text === '' || text === 'unknown') return 'unknown';
  if (text === 'down' || text === 'image_locked') return 'stopped';
  return text === 'suspended' ? 'suspended' : 'running';
}
