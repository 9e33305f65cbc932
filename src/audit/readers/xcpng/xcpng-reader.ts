/** XCP-ng and XenServer: records of XAPI. */
import { plainDisk, plainHost, plainVm } from '../../estate/defaults.ts';
import {
  type Aspect,
  type Disk,
  type Evidence,
  keyOf,
  type Nic,
  type Reach,
  type Tie,
  type Vm,
} from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { flagOf, numberOf } from '../formats/values.ts';
import { type RecordClass, recordsOf, type XapiRecord } from './records.ts';

const PLATFORM = 'xcpng';
const GROUP = 'xcpng';
const FIX =
  'Export on the pool master: xe vm-list, host-list, sr-list, vdi-list, vbd-list, pbd-list, network-list, pif-list and vif-list, each with params=all (docs/operating/audit.md).';
type At = (column: string, value: unknown) => Evidence;

/** The reader of XAPI. */
export const xcpngReader: Reader = {
  platform: PLATFORM,
  claims: (document) => recordsOf([document]).size > 0,
  read: (documents: readonly Document[], into: EstateBuilder) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    new PoolReader(recordsOf(documents), into).read();
  },
};

class PoolReader {
  readonly #records: ReadonlyMap<RecordClass, readonly XapiRecord[]>;
  readonly #into: EstateBuilder;
  readonly #vdis: ReadonlyMap<string, XapiRecord>;
  readonly #byVm = new Map<RecordClass, Map<string, XapiRecord[]>>();

  constructor(records: ReadonlyMap<RecordClass, readonly XapiRecord[]>, into: EstateBuilder) {
    this.#records = records;
    this.#vdis = new Map(this.#of('vdi').map((one) => [one.values.get('uuid') ?? '', one]));
    this.#into = into;
    for (const kind of ['vbd', 'vif'] as const) {
      const index = new Map<string, XapiRecord[]>();
      for (const record of this.#of(kind)) {
        const vm = record.values.get('vm-uuid') ?? '';
        const known = index.get(vm) ?? [];
        index.set(vm, known);
        known.push(record);
      }
      this.#byVm.set(kind, index);
    }
  }

  #of(kind: RecordClass): readonly XapiRecord[] {
    return this.#records.get(kind) ?? [];
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
      ['sr', 'storage'],
      ['pbd', 'storage'],
      ['vdi', 'disks'],
      ['vbd', 'disks'],
      ['network', 'networks'],
      ['pif', 'networks'],
      ['vif', 'networks'],
    ] as const;
    for (const [kind, aspect] of needed)
      if (this.#of(kind).length === 0) this.#gap(aspect, 'file', '', `the records of class ${kind}`, '');
    for (const host of this.#of('host')) this.#host(host);
    for (const storage of this.#of('sr')) this.#storage(storage);
    for (const network of this.#of('network')) this.#network(network);
    for (const vm of this.#of('vm')) this.#vm(vm);
  }

  #host({ values, file }: XapiRecord): void {
    const uuid = values.get('uuid') ?? '';
    const name = values.get('name-label') || uuid;
    const bytes = numberOf(values.get('memory-total'));
    const enabled = flagOf(values.get('enabled'));
    if (bytes === null) this.#gap('memory', 'column', file, 'host', 'memory-total');
    const cluster = this.#into.cluster({
      key: keyOf(PLATFORM, 'pool'),
      name: 'the pool',
      platform: PLATFORM,
      group: GROUP,
    });
    this.#into.host(
      plainHost({
        key: hostKey(uuid),
        name,
        platform: PLATFORM,
        group: GROUP,
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
    const plugged = this.#of('pbd').filter(
      (one) => one.values.get('sr-uuid') === uuid && flagOf(one.values.get('currently-attached')) === true,
    );
    const hosts = new Set(plugged.map((one) => hostKey(one.values.get('host-uuid') ?? '')));
    const reach: Reach =
      isShared === null
        ? { kind: 'unknown' }
        : !isShared
          ? { kind: 'local' }
          : this.#of('pbd').length === 0
            ? { kind: 'unknown' }
            : { kind: 'hosts', hosts };
    this.#into.storage({
      key: keyOf(PLATFORM, 'sr', uuid),
      name,
      reach,
      evidence: evidence(file, 'SR', name, 'shared', values.get('shared')),
    });
  }

  #network({ values, file }: XapiRecord): void {
    const uuid = values.get('uuid') ?? '';
    const name = values.get('name-label') || uuid;
    const pifs = this.#of('pif').filter((one) => one.values.get('network-uuid') === uuid);
    const hosts = new Set(pifs.map((one) => hostKey(one.values.get('host-uuid') ?? '')));
    // A network without a physical interface is a separate network on each host.
    const isIsolated = this.#of('pif').length > 0 && pifs.length === 0;
    const reach: Reach = this.#of('pif').length === 0 || isIsolated ? { kind: 'every' } : { kind: 'hosts', hosts };
    this.#into.network({
      key: networkKey(uuid),
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
    const host = this.#into.hosts.has(hostKey(said)) ? hostKey(said) : null;
    if (host === null && !isTemplate && (power === 'running' || power === 'unknown'))
      this.#gap('vms', said === '' ? 'column' : 'join', file, 'VM', 'resident-on', said);
    const bytes = numberOf(values.get('memory-static-max')) ?? numberOf(values.get('memory-actual'));
    this.#into.vm(
      plainVm({
        key: keyOf(PLATFORM, 'vm', uuid),
        uuid,
        name,
        platform: PLATFORM,
        group: GROUP,
        host,
        hostSaid: said,
        power,
        isTemplate,
        memoryMib: bytes === null ? null : bytes / 2 ** 20,
        cpus: numberOf(values.get('VCPUs-number') ?? values.get('VCPUs-max') ?? values.get('vcpus-max')),
        disks: (this.#byVm.get('vbd')?.get(uuid) ?? []).flatMap((vbd) => this.#disk(vbd, name)),
        nics: (this.#byVm.get('vif')?.get(uuid) ?? []).map((vif) => this.#nic(vif, name)),
        ties: [...this.#verdict(uuid, name), ...ownTies(values, at)],
        unknowns:
          power === 'stopped' || this.#byVm.get('vbd')?.has(uuid) === true || this.#of('vbd').length === 0
            ? []
            : [{ aspect: 'disks', evidence: at('VBDs', ''), fix: FIX }],
        notes: values.get('name-description') ?? '',
        guest: values.get('os-version') ?? '',
        evidence: at('name-label', name),
      }),
    );
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
    const sr = keyOf(PLATFORM, 'sr', vdi?.values.get('sr-uuid') ?? '');
    return [
      plainDisk({
        label: name,
        identities: [{ key: keyOf(PLATFORM, 'vdi', id), kind: 'disk', name }],
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
    return { network: this.#into.networks.has(networkKey(id)) ? networkKey(id) : null, address: '', evidence: place };
  }

  /** Reads XAPI's own reasons why a host cannot be evacuated. */
  #verdict(uuid: string, vm: string): readonly Tie[] {
    return this.#of('evacuation')
      .filter(({ values }) => values.get('uuid') === uuid)
      .map(({ values, file }): Tie => {
        const reason = values.get('reason') ?? '';
        const subject = /^[A-Z_]+/.exec(reason)?.[0] ?? reason;
        return {
          kind: 'platform verdict',
          effect: 'blocks',
          subject,
          evidence: evidence(file, 'vms-which-prevent-evacuation', vm, 'reason', reason),
        };
      });
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

const hostKey = (uuid: string): string => keyOf(PLATFORM, 'host', uuid);
const networkKey = (uuid: string): string => keyOf(PLATFORM, 'network', uuid);

function powerOf(text: string): Vm['power'] {
  if (/^(?:running|paused)$/i.test(text)) return 'running';
  if (/^halted$/i.test(text)) return 'stopped';
  return /^suspended$/i.test(text) ? 'suspended' : 'unknown';
}
