/** XCP-ng and XenServer: records of XAPI. */
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import type { Disk, Evidence, FailoverReserve, Nic, Reach, Tie, Vm } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { ExportSite, sitesOf } from '../export-site.ts';
import { flagOf, numberOf } from '../formats/values.ts';
import type { RecordClass } from './classes.ts';
import { recordsOf, type XapiRecord } from './records.ts';

const PLATFORM = 'xcpng';
const FIX =
  'Export on the pool master: xe vm-list, host-list, sr-list, vdi-list, vbd-list, pbd-list, network-list, pif-list and vif-list, each with params=all (docs/operating/audit.md).';
type At = (column: string, value: unknown) => Evidence;

/** The reader of XAPI. */
export const xcpngReader: Reader = {
  platform: PLATFORM,
  claims: (document) => recordsOf([document]).size > 0,
  read: (documents: readonly Document[], into: EstateBuilder) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    const hasHosts = (document: Document): boolean => recordsOf([document]).has('host');
    for (const site of sitesOf(documents, [hasHosts])) {
      const records = new ExportSite<RecordClass, XapiRecord>(PLATFORM, FIX, into, site.directory);
      for (const [kind, all] of recordsOf(site.documents)) records.add(kind, all);
      new PoolReader(records).read();
    }
  },
};

class PoolReader {
  readonly #site: ExportSite<RecordClass, XapiRecord>;
  readonly #into: EstateBuilder;
  readonly #vdis: ReadonlyMap<string, XapiRecord>;
  readonly #vbds: ReadonlyMap<string, readonly XapiRecord[]>;
  readonly #vifs: ReadonlyMap<string, readonly XapiRecord[]>;
  readonly #vusbs: ReadonlyMap<string, readonly XapiRecord[]>;
  readonly #refusals: ReadonlyMap<string, readonly XapiRecord[]>;

  constructor(site: ExportSite<RecordClass, XapiRecord>) {
    this.#site = site;
    this.#into = site.into;
    this.#vdis = new Map(site.of('vdi').map((one) => [one.values.get('uuid') ?? '', one]));
    const by = (kind: RecordClass, field: string): ReadonlyMap<string, readonly XapiRecord[]> =>
      Map.groupBy(site.of(kind), ({ values }) => values.get(field) ?? '');
    this.#vbds = by('vbd', 'vm-uuid');
    this.#vifs = by('vif', 'vm-uuid');
    this.#vusbs = by('vusb', 'vm-uuid');
    this.#refusals = by('evacuation', 'uuid');
  }

  read(): void {
    const part = (kind: RecordClass): string => `the records of class ${kind}`;
    this.#site.need(
      [
        ['vm', 'vms', part('vm')],
        ['host', 'hosts', part('host')],
        ['sr', 'storage', part('sr')],
        ['pbd', 'storage', part('pbd')],
        ['vdi', 'disks', part('vdi')],
        ['vbd', 'disks', part('vbd')],
        ['network', 'networks', part('network')],
        ['pif', 'networks', part('pif')],
        ['vif', 'networks', part('vif')],
      ],
      'some',
    );
    for (const host of this.#site.of('host')) this.#host(host);
    for (const storage of this.#site.of('sr')) this.#storage(storage);
    for (const network of this.#site.of('network')) this.#network(network);
    for (const vm of this.#site.of('vm')) this.#vm(vm);
    for (const group of this.#site.of('vm-group')) this.#group(group);
  }

  #host({ values, file }: XapiRecord): void {
    const uuid = values.get('uuid') ?? '';
    const name = values.get('name-label') || uuid;
    const bytes = numberOf(values.get('memory-total'));
    const enabled = flagOf(values.get('enabled'));
    const pool = values.get('pool-uuid') ?? '';
    if (bytes === null) this.#site.gap('memory', 'column', file, 'host', 'memory-total');
    const cluster = this.#into.cluster({
      ...this.#site.origin,
      key: this.#site.key('pool', pool),
      name: this.#poolName(pool),
      reserve: this.#reserve(pool),
    });
    this.#into.host(
      plainHost({
        key: this.#hostKey(uuid),
        name,
        ...this.#site.origin,
        cluster,
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        state: enabled === null ? 'unknown' : enabled ? 'in service' : 'out of service',
        // The pool gives all guests the features that every host has.
        cpu: '',
        cpuModel:
          /modelname: ([^;]+)/.exec(values.get('cpu_info') ?? values.get('cpu-info') ?? '')?.[1]?.trim() ?? null,
        evidence: evidence(file, 'host', name, 'enabled', values.get('enabled')),
      }),
    );
  }

  /** Returns the hosts with a plugged PBD: `shared` counts only for hosts on which the storage is plugged. */
  #storage({ values, file }: XapiRecord): void {
    const uuid = values.get('uuid') ?? '';
    const name = values.get('name-label') || uuid;
    const isShared = flagOf(values.get('shared'));
    const plugged = this.#site
      .of('pbd')
      .filter((one) => one.values.get('sr-uuid') === uuid && flagOf(one.values.get('currently-attached')) === true);
    const hosts = new Set(plugged.map((one) => this.#hostKey(one.values.get('host-uuid') ?? '')));
    const reach: Reach =
      isShared === null
        ? { kind: 'unknown' }
        : !isShared
          ? { kind: 'local' }
          : this.#site.of('pbd').length === 0
            ? { kind: 'unknown' }
            : { kind: 'hosts', hosts };
    this.#into.storage({
      key: this.#site.key('sr', uuid),
      name,
      reach,
      evidence: evidence(file, 'SR', name, 'shared', values.get('shared')),
    });
  }

  #network({ values, file }: XapiRecord): void {
    const uuid = values.get('uuid') ?? '';
    const name = values.get('name-label') || uuid;
    const pifs = this.#site.of('pif').filter((one) => one.values.get('network-uuid') === uuid);
    const hosts = new Set(pifs.map((one) => this.#hostKey(one.values.get('host-uuid') ?? '')));
    // A network without a physical interface is a separate network on each host.
    const isIsolated = this.#site.of('pif').length > 0 && pifs.length === 0;
    const reach: Reach = this.#site.of('pif').length === 0 || isIsolated ? { kind: 'every' } : { kind: 'hosts', hosts };
    this.#into.network({
      key: this.#networkKey(uuid),
      name,
      reach,
      isIsolated,
      evidence: evidence(file, 'network', name, 'PIF-uuids', pifs.length === 0 ? 'none' : pifs.length),
    });
  }

  #vm({ values, file }: XapiRecord): void {
    if (flagOf(values.get('is-control-domain')) === true || flagOf(values.get('is-a-snapshot')) === true) return;
    const uuid = values.get('uuid') ?? '';
    const name = values.get('name-label') || uuid;
    const at: At = (column, value) => evidence(file, 'VM', name, column, value);
    const power = powerOf(values.get('power-state') ?? '');
    const isTemplate = flagOf(values.get('is-a-template')) === true;
    const said = values.get('resident-on') ?? '';
    const host = this.#into.hosts.has(this.#hostKey(said)) ? this.#hostKey(said) : null;
    if (host === null && !isTemplate && (power === 'running' || power === 'unknown'))
      this.#site.gap('vms', said === '' ? 'column' : 'join', file, 'VM', 'resident-on', said);
    const bytes = numberOf(values.get('memory-static-max')) ?? numberOf(values.get('memory-actual'));
    this.#into.vm(
      plainVm({
        key: this.#site.key('vm', uuid),
        uuid,
        name,
        ...this.#site.origin,
        host,
        hostSaid: said,
        power,
        isTemplate,
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        cpus: numberOf(values.get('VCPUs-number') ?? values.get('VCPUs-max') ?? values.get('vcpus-max')),
        disks: (this.#vbds.get(uuid) ?? []).flatMap((vbd) => this.#disk(vbd, name)),
        nics: (this.#vifs.get(uuid) ?? []).map((vif) => this.#nic(vif, name)),
        ties: [...this.#verdict(uuid, name), ...ownTies(values, at), ...this.#usb(uuid, name)],
        unknowns:
          power === 'stopped' || this.#vbds.has(uuid) || this.#site.of('vbd').length === 0
            ? []
            : [{ aspect: 'disks', evidence: at('VBDs', ''), fix: FIX }],
        notes: values.get('name-description') ?? '',
        guest: values.get('os-version') ?? '',
        evidence: at('name-label', name),
      }),
    );
  }

  /** Reads a group whose VMs the pool spreads over hosts where it can; it does not refuse to start two on one host. */
  #group({ values, file }: XapiRecord): void {
    const placement = values.get('placement') ?? '';
    const uuid = values.get('uuid') ?? '';
    const name = values.get('name-label') || uuid;
    const said = values.get('VM-uuids') ?? values.get('vm-uuids') ?? values.get('vms') ?? '';
    const vms = said
      .split(/[;,]/)
      .map((one) => this.#site.key('vm', one.trim()))
      .filter((key) => this.#into.vms.has(key));
    if (!/^anti.affinity$/i.test(placement) || vms.length < 2) return;
    this.#into.rule({
      key: this.#site.key('vm-group', uuid),
      name,
      kind: 'apart',
      isHard: false,
      vms,
      perHost: 1,
      evidence: evidence(file, 'VM group', name, 'placement', placement),
    });
  }

  #disk(vbd: XapiRecord, vm: string): readonly Disk[] {
    const { values, file } = vbd;
    const id = values.get('vdi-uuid') ?? '';
    const isMedia = /^cd$/i.test(values.get('type') ?? '');
    if (!/^[\w:-]{8,}$/.test(id) || id.includes('NULL') || /not in database/.test(id)) return [];
    const vdi = this.#vdis.get(id);
    const place = evidence(file, 'VBD', vm, 'vdi-uuid', id);
    const name = vdi?.values.get('name-label') || id;
    const isShared = flagOf(vdi?.values.get('sharable')) === true;
    const bytes = numberOf(vdi?.values.get('virtual-size'));
    const sr = this.#site.key('sr', vdi?.values.get('sr-uuid') ?? '');
    return [
      plainDisk({
        label: name,
        identities: [{ key: this.#site.key('vdi', id), kind: 'disk', name }],
        permit:
          isShared && vdi !== undefined && !isMedia
            ? { kind: 'shareable', evidence: evidence(vdi.file, 'VDI', name, 'sharable', 'true') }
            : null,
        storage: this.#into.storages.has(sr) ? sr : null,
        reach: { kind: 'unknown' },
        sizeGib: bytes === null ? null : bytes / 2 ** 30,
        isReadOnly: isMedia || /^ro$/i.test(values.get('mode') ?? ''),
        isMedia,
        evidence: place,
      }),
    ];
  }

  #nic({ values, file }: XapiRecord, vm: string): Nic {
    const id = values.get('network-uuid') ?? '';
    const place = evidence(file, 'VIF', vm, 'network-uuid', id);
    return {
      network: this.#into.networks.has(this.#networkKey(id)) ? this.#networkKey(id) : null,
      address: '',
      evidence: place,
    };
  }

  #usb(uuid: string, vm: string): readonly Tie[] {
    return (this.#vusbs.get(uuid) ?? []).map(({ values, file }): Tie => {
      const place = evidence(file, 'VUSB', vm, 'vm', values.get('uuid') ?? '');
      return { kind: 'usb', effect: 'blocks', subject: '', evidence: place };
    });
  }

  /** Reads XAPI's own reasons why a host cannot be evacuated. */
  #verdict(uuid: string, vm: string): readonly Tie[] {
    return (this.#refusals.get(uuid) ?? []).map(({ values, file }): Tie => {
      const reason = values.get('reason') ?? '';
      const subject = /^[A-Z_]+/.exec(reason)?.[0] ?? reason;
      const place = evidence(file, 'vms-which-prevent-evacuation', vm, 'reason', reason);
      return { kind: 'platform verdict', effect: 'blocks', subject, evidence: place };
    });
  }

  /** Returns the room that the pool's high availability keeps for lost hosts. */
  #reserve(id: string): FailoverReserve | undefined {
    const pools = this.#site.of('pool').filter(({ values }) => id === '' || values.get('uuid') === id);
    const pool = pools.find(({ values }) => flagOf(values.get('ha-enabled')) === true);
    const hosts = numberOf(pool?.values.get('ha-host-failures-to-tolerate')) ?? 0;
    if (pool === undefined || hosts < 1) return undefined;
    return { hosts, evidence: evidence(pool.file, 'pool', '', 'ha-host-failures-to-tolerate', hosts) };
  }

  /** Only Xen Orchestra names the pool of a host. */
  #poolName(id: string): string {
    const pool = this.#site.of('pool').find(({ values }) => id !== '' && values.get('uuid') === id);
    return pool?.values.get('name-label') ?? (id === '' ? this.#site.named('the pool') : id);
  }

  #hostKey(uuid: string): string {
    return this.#site.key('host', uuid);
  }

  #networkKey(uuid: string): string {
    return this.#site.key('network', uuid);
  }
}

function ownTies(values: ReadonlyMap<string, string>, at: At): readonly Tie[] {
  const ties: Tie[] = [];
  const pci = /pci:\s*([^;]+)/.exec(values.get('other-config') ?? '')?.[1] ?? '';
  if (pci !== '')
    ties.push({
      kind: 'host device',
      effect: 'blocks',
      subject: pci.trim(),
      evidence: at('other-config pci', pci.trim()),
    });
  const has = (name: string): string =>
    (values.get(name) ?? '').replace(/^<not in database>$|^\(?none\)?$/i, '').trim();
  for (const [name, kind] of [
    ['VGPUs', 'gpu'],
    ['vgpus', 'gpu'],
    ['VUSBs', 'usb'],
    ['vusbs', 'usb'],
    ['attached-PCIs', 'host device'],
    ['attached-pcis', 'host device'],
  ] as const)
    if (has(name) !== '') ties.push({ kind, effect: 'blocks', subject: '', evidence: at(name, has(name)) });
  const affinity = has('affinity');
  if (affinity !== '' && !affinity.includes('NULL'))
    ties.push({ kind: 'pinned', effect: 'informs', subject: affinity, evidence: at('affinity', affinity) });
  return ties;
}

function powerOf(text: string): Vm['power'] {
  if (/^(?:running|paused)$/i.test(text)) return 'running';
  if (/^halted$/i.test(text)) return 'stopped';
  return /^suspended$/i.test(text) ? 'suspended' : 'unknown';
}
