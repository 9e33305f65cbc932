/** Exports of RVTools, as workbooks or as CSV files in one directory. */

import { plainDisk } from '../../estate/defaults.ts';
import {
  type Disk,
  type FailoverReserve,
  type Identity,
  keyOf,
  type Nic,
  type Reach,
  type Tie,
  type Unknown,
} from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import { type Document, type Reader, type Table, Unreadable } from '../document.ts';
import { flagOf, numberOf } from '../formats/values.ts';
import { HELPER, helperTie } from '../vsphere/helpers.ts';
import { COLUMNS, namesOf, normalised, type Tab, tabOf } from './columns.ts';
import { FIX, RvToolsExport, type TabView } from './export.ts';
import { RvToolsLuns } from './luns.ts';
import { RvToolsNetworks } from './networks.ts';

const PLATFORM = 'rvtools';
/** The virtual hardware version from which on a physical bus with raw disks can be migrated live. */
const HARDWARE_WITH_LIVE_BUS = 11;

/** The reader of RVTools' exports. */
export const rvtoolsReader: Reader = {
  platform: PLATFORM,
  claims: (document) => document.kind === 'tables' && tablesOf(document).length > 0,
  read: (documents, into) => {
    const exports = new Map<string, Map<Tab, Table>>();
    for (const document of documents) {
      into.source(PLATFORM, document.file);
      for (const [tab, table] of tablesOf(document)) {
        const tabs = exports.get(table.group) ?? new Map<Tab, Table>();
        exports.set(table.group, tabs);
        if (tabs.has(tab)) throw secondTab(table, tab);
        tabs.set(tab, table);
      }
    }
    for (const [group, tabs] of exports) new ExportReader(new RvToolsExport(group, tabs), into).read();
  },
};

/** Selects the parts of a workbook or CSV file to read; a file with an unknown name is recognised by its columns. */
export const rvtoolsWanted = {
  tab: (name: string): boolean => tabOf(name) !== null,
  column: (tab: string, name: string): boolean => {
    const known = tabOf(tab);
    const tabs = known === null ? (Object.keys(COLUMNS) as Tab[]) : [known];
    return tabs.some((one) => namesOf(one).has(normalised(one, name)));
  },
};

function tablesOf(document: Document): readonly (readonly [Tab, Table])[] {
  if (document.kind !== 'tables') return [];
  return document.tables.flatMap((table) => {
    const tab = tabOf(table.tab) ?? tabByColumns(table);
    return tab === null ? [] : [[tab, table] as const];
  });
}

/** Two tabs of one kind are two exports; a reader that took one of them would hide the VMs of the other. */
function secondTab({ file, tab: name }: Table, tab: Tab): Unreadable {
  const problem = `it has a second tab ${tab}${name === tab ? '' : ` ("${name}")`} of one export`;
  return new Unreadable(file, problem, 'Put each export of RVTools into a directory of its own, all tabs together.');
}

/** Returns the tab; only two tabs can be told by their columns. */
function tabByColumns({ columns }: Table): Tab | null {
  const has = (tab: Tab, ...names: readonly string[]): boolean => {
    const written = new Set(columns.map((name) => normalised(tab, name)));
    return names.every((name) => written.has(name));
  };
  if (
    has('vInfo', 'powerstate', 'template', 'host') &&
    columns.some((name) => /cluster rule|annotation|cpus/i.test(name))
  )
    return 'vInfo';
  return has('vDisk', 'sharedbus', 'raw') ? 'vDisk' : null;
}

interface VmRows {
  readonly key: string;
  readonly hostName: string;
  disks: Disk[];
  diskRows: number;
  nics: Nic[];
  nicRows: number;
  ties: Tie[];
  reservedMib: number;
  sizeMib: number | null;
}

class ExportReader {
  readonly #export: RvToolsExport;
  readonly #into: EstateBuilder;
  readonly #group: string;
  readonly #byId = new Map<string, VmRows>();
  readonly #byName = new Map<string, VmRows[]>();
  readonly #rules = new Map<string, { vms: Set<string>; row: number }>();
  readonly #networks: RvToolsNetworks;
  readonly #luns: RvToolsLuns;

  constructor(rvtools: RvToolsExport, into: EstateBuilder) {
    this.#export = rvtools;
    this.#into = into;
    this.#group = rvtools.group;
    this.#networks = new RvToolsNetworks(rvtools, into, (name) => this.#hostKey(name));
    this.#luns = new RvToolsLuns(rvtools, (name) => this.#hostKey(name));
  }

  read(): void {
    this.#export.tellGaps(this.#into);
    this.#hosts();
    this.#storages();
    this.#luns.tell(this.#into);
    this.#networks.readHosts();
    const rows = this.#vmRows();
    this.#memory();
    this.#disks();
    this.#media();
    this.#usb();
    this.#nics();
    this.#snapshots();
    this.#vms(rows);
    this.#tellRules();
  }

  #hostKey(name: string): string {
    return keyOf(PLATFORM, this.#group, name.toLowerCase());
  }

  #hosts(): void {
    const view = this.#export.view('vHost');
    for (let row = 0; row < view.size; row += 1) {
      const name = view.cell(row, 'Host');
      if (name === '') continue;
      const key = this.#hostKey(name);
      const maintenance = flagOf(view.cell(row, 'in Maintenance Mode'));
      const evc = view.cell(row, 'Current EVC');
      const model = view.cell(row, 'CPU Model');
      this.#into.host({
        key,
        name,
        platform: PLATFORM,
        group: this.#group,
        cluster: this.#cluster(view, row, key, name),
        memoryMib: numberOf(view.cell(row, '# Memory')),
        state: maintenance === null ? 'unknown' : maintenance ? 'out of service' : 'in service',
        cpu: evc !== '' ? `EVC ${evc}` : model === '' || !view.has('Current EVC') ? null : model,
        cpuModel: model === '' ? null : model,
        // Old versions wrote the number of all VMs into the column of running VMs.
        saysRunning: view.has('# VMs total') ? numberOf(view.cell(row, '# VMs')) : null,
        labels: {},
        evidence: view.evidence(row, 'Host'),
      });
    }
  }

  #cluster(view: TabView<'vHost'>, row: number, hostKey: string, hostName: string): string | null {
    if (!view.has('Cluster')) return null;
    const name = view.cell(row, 'Cluster');
    const key = name === '' ? hostKey : keyOf(PLATFORM, this.#group, view.cell(row, 'Datacenter'), name);
    return this.#into.cluster({
      key,
      name: name === '' ? hostName : name,
      platform: PLATFORM,
      group: this.#group,
      reserve: name === '' ? undefined : this.#reserve(name),
    });
  }

  /** Returns the room that admission control keeps; a name of two clusters says nothing. */
  #reserve(cluster: string): FailoverReserve | undefined {
    const view = this.#export.view('vCluster');
    const rows = Array.from({ length: view.size }, (_, row) => row).filter((row) => view.cell(row, 'Name') === cluster);
    const [row, second] = rows;
    if (row === undefined || second !== undefined) return undefined;
    const isOn = flagOf(view.cell(row, 'HA enabled')) === true && flagOf(view.cell(row, 'AdmissionControlEnabled'));
    const hosts = numberOf(view.cell(row, 'Failover Level')) ?? 0;
    return isOn === true && hosts > 0 ? { hosts, evidence: view.evidence(row, 'Failover Level') } : undefined;
  }

  /** Returns hosts with a path to the disks of a datastore, for a vDatastore that only counts hosts. */
  #pathHosts(): ReadonlyMap<string, ReadonlySet<string>> {
    const view = this.#export.view('vMultiPath');
    const hosts = new Map<string, Set<string>>();
    for (let row = 0; row < view.size; row += 1) {
      const name = view.cell(row, 'Datastore');
      if (name !== '') hosts.set(name, (hosts.get(name) ?? new Set()).add(this.#hostKey(view.cell(row, 'Host'))));
    }
    return hosts;
  }

  #storages(): void {
    const view = this.#export.view('vDatastore');
    const paths = this.#pathHosts();
    const seen = new Map<string, number>();
    for (let row = 0; row < view.size; row += 1) {
      const name = view.cell(row, 'Name');
      seen.set(name, (seen.get(name) ?? 0) + 1);
    }
    for (let row = 0; row < view.size; row += 1) {
      const name = view.cell(row, 'Name');
      // Two datacenters may have datastores with one name, and paths do not tell them apart.
      const reach: Reach = seen.get(name) === 1 ? this.#storageReach(view, row, paths) : { kind: 'unknown' };
      this.#into.storage({ key: this.#storageKey(name), name, reach, evidence: view.evidence(row, 'Hosts') });
    }
  }

  #storageReach(view: TabView<'vDatastore'>, row: number, paths: ReadonlyMap<string, ReadonlySet<string>>): Reach {
    const count = numberOf(view.cell(row, '# Hosts'));
    const names = view
      .cell(row, 'Hosts')
      .split(/[,;\n]/)
      .map((name) => name.trim())
      .filter((name) => name !== '');
    if (names.length > 0 && names.length >= (count ?? 0))
      return { kind: 'hosts', hosts: new Set(names.map((name) => this.#hostKey(name))) };
    const byPath = paths.get(view.cell(row, 'Name'));
    if (byPath !== undefined && byPath.size === count) return { kind: 'hosts', hosts: byPath };
    return count === null ? { kind: 'unknown' } : { kind: 'count', count };
  }

  #storageKey(name: string): string {
    return keyOf(PLATFORM, this.#group, name);
  }

  /** Returns a disk's storage by its path; none if the tab of storages is missing, which is a gap already. */
  #storageOf(path: string): { storage: string | null; reach: Reach } {
    const name = /^\[([^\]]+)\]/.exec(path)?.[1];
    if (name === undefined || !this.#export.has('vDatastore')) return { storage: null, reach: { kind: 'every' } };
    const key = this.#storageKey(name);
    const place = evidence(this.#export.view('vDatastore').file, 'tab vDatastore', '', 'Name', '');
    this.#into.storage({ key, name, reach: { kind: 'unknown' }, evidence: place });
    return { storage: key, reach: { kind: 'unknown' } };
  }

  #vmRows(): readonly VmRows[] {
    const view = this.#export.view('vInfo');
    const rows: VmRows[] = [];
    for (let row = 0; row < view.size; row += 1) {
      const name = view.cell(row, 'VM');
      const id = view.cell(row, 'VM ID');
      const key = keyOf(PLATFORM, this.#group, name, id === '' ? view.cell(row, 'VM UUID') || `row ${row}` : id);
      const vm: VmRows = {
        key,
        hostName: view.cell(row, 'Host'),
        disks: [],
        diskRows: 0,
        nics: [],
        nicRows: 0,
        ties: [],
        reservedMib: 0,
        sizeMib: null,
      };
      rows.push(vm);
      if (id !== '') this.#byId.set(id, vm);
      const same = this.#byName.get(name);
      if (same === undefined) this.#byName.set(name, [vm]);
      else same.push(vm);
    }
    return rows;
  }

  /** Returns the VMs of a row, by ID, otherwise by name. A name of several VMs means all of them. */
  #owners<T extends 'vMemory' | 'vDisk' | 'vCD' | 'vUSB' | 'vNetwork' | 'vSnapshot'>(
    view: TabView<T>,
    row: number,
  ): readonly VmRows[] {
    const column = (name: 'VM' | 'VM ID'): string => view.cell(row, name as never);
    const byId = this.#byId.get(column('VM ID'));
    if (byId !== undefined) return [byId];
    const name = column('VM');
    const byName = this.#byName.get(name);
    if (byName !== undefined) return byName;
    if (name !== '' && this.#export.has('vInfo') && view.tab !== 'vMemory')
      this.#into.gap({
        platform: PLATFORM,
        group: this.#group,
        aspect: 'vms',
        kind: 'join',
        file: view.file,
        part: `tab ${view.tab}`,
        column: 'VM',
        count: 1,
        example: name,
        fix: FIX,
      });
    return [];
  }

  #memory(): void {
    const view = this.#export.view('vMemory');
    for (let row = 0; row < view.size; row += 1)
      for (const vm of this.#owners(view, row)) {
        vm.reservedMib = numberOf(view.cell(row, 'Reservation')) ?? 0;
        vm.sizeMib = numberOf(view.cell(row, 'Size MiB'));
        if (flagOf(view.cell(row, 'Memory Reservation Locked To Max')) === true)
          vm.ties.push({
            kind: 'locked memory',
            effect: 'warns',
            subject: '',
            evidence: view.evidence(row, 'Memory Reservation Locked To Max'),
          });
      }
  }

  #disks(): void {
    const view = this.#export.view('vDisk');
    for (let row = 0; row < view.size; row += 1) {
      const path = pathOf(view.cell(row, 'Path'));
      const capacity = numberOf(view.cell(row, 'Capacity MiB'));
      const disk: Disk = {
        label: view.cell(row, 'Disk'),
        identities: this.#identities(view, row, path),
        permit: permitOf(view, row),
        ...this.#storageOf(path),
        sizeGib: capacity === null ? null : capacity / 1024,
        isReadOnly: false,
        isRaw: flagOf(view.cell(row, 'Raw')) === true,
        isMedia: false,
        evidence: view.evidence(row, path === '' ? 'Disk' : 'Path'),
      };
      const paths = this.#luns.of(view.cell(row, 'Raw LUN ID'));
      for (const vm of this.#owners(view, row)) {
        vm.disks.push(disk);
        if (paths !== undefined)
          vm.disks.push(
            plainDisk({
              label: paths.name,
              reach: { kind: 'hosts', hosts: paths.hosts },
              isRaw: true,
              evidence: paths.evidence,
            }),
          );
        vm.diskRows += 1;
        const tie = busTie(view, row);
        if (tie !== null) vm.ties.push(tie);
      }
    }
  }

  #identities(view: TabView<'vDisk'>, row: number, path: string): readonly Identity[] {
    const lun = view.cell(row, 'Raw LUN ID');
    const identities: Identity[] = [];
    // A LUN number identifies nothing: every array has a LUN 0.
    if (lun.length >= 8) identities.push({ key: keyOf('lun', lun.toLowerCase()), kind: 'LUN', name: lun });
    if (path !== '') identities.push({ key: keyOf('path', this.#group, path), kind: 'path', name: path });
    return identities;
  }

  #media(): void {
    const view = this.#export.view('vCD');
    for (let row = 0; row < view.size; row += 1) {
      if (flagOf(view.cell(row, 'Connected')) !== true) continue;
      const type = view.cell(row, 'Device Type');
      const image = /\[[^\]]*\]\s*\S.*$/.exec(type)?.[0] ?? '';
      const place = view.evidence(row, 'Device Type');
      for (const vm of this.#owners(view, row)) {
        // Every host has the image of the guest tools.
        if (/^\[\s*\]/.test(image))
          vm.ties.push({ kind: 'local media', effect: 'informs', subject: image, evidence: place });
        else if (image === '') vm.ties.push({ kind: 'host drive', effect: 'blocks', subject: type, evidence: place });
        else vm.disks.push(mediaDisk(image, this.#storageOf(image), place));
      }
    }
  }

  #usb(): void {
    const view = this.#export.view('vUSB');
    for (let row = 0; row < view.size; row += 1) {
      const type = view.cell(row, 'Device Type');
      if (flagOf(view.cell(row, 'Connected')) !== true || /controller/i.test(type)) continue;
      const subject = view.cell(row, 'Device Node') || type;
      for (const vm of this.#owners(view, row))
        vm.ties.push({ kind: 'usb', effect: 'blocks', subject, evidence: view.evidence(row, 'Connected') });
    }
  }

  #nics(): void {
    const view = this.#export.view('vNetwork');
    for (let row = 0; row < view.size; row += 1)
      for (const vm of this.#owners(view, row)) {
        vm.nicRows += 1;
        const adapter = view.cell(row, 'Adapter');
        if (/sr-?iov|passthr/i.test(adapter))
          vm.ties.push({ kind: 'sr-iov', effect: 'blocks', subject: adapter, evidence: view.evidence(row, 'Adapter') });
        const nic = this.#networks.nic(view, row, vm.hostName);
        if (nic !== null) vm.nics.push(nic);
      }
  }

  #snapshots(): void {
    const view = this.#export.view('vSnapshot');
    for (let row = 0; row < view.size; row += 1)
      for (const vm of this.#owners(view, row)) {
        const subject = view.cell(row, 'Name');
        vm.ties.push({ kind: 'snapshot', effect: 'informs', subject, evidence: view.evidence(row, 'Name') });
      }
  }

  #vms(rows: readonly VmRows[]): void {
    const view = this.#export.view('vInfo');
    for (const [row, vm] of rows.entries()) {
      const name = view.cell(row, 'VM');
      if (name === '') continue;
      const isTemplate =
        flagOf(view.cell(row, 'Template')) === true || flagOf(view.cell(row, 'SRM Placeholder')) === true;
      // The platform creates and removes its own helper VMs as hosts come and go.
      const isHelper = HELPER.test(name);
      const power = isHelper ? 'stopped' : powerOf(view.cell(row, 'Powerstate'));
      const runs = !isTemplate && (power === 'running' || power === 'unknown');
      const home = pathOf(view.cell(row, 'Path'));
      const homeDisk: readonly Disk[] =
        home === ''
          ? []
          : [
              {
                ...mediaDisk(home, this.#storageOf(home), view.evidence(row, 'Path')),
                label: 'configuration',
                isMedia: false,
              },
            ];
      this.#into.vm({
        key: vm.key,
        uuid: view.cell(row, 'VM UUID'),
        name,
        platform: PLATFORM,
        group: this.#group,
        host: this.#hostFor(view, row, runs),
        hostSaid: view.cell(row, 'Host'),
        cluster: null,
        power,
        isTemplate,
        memoryMib: numberOf(view.cell(row, 'Memory')) ?? vm.sizeMib,
        reservedMib: vm.reservedMib,
        cpus: numberOf(view.cell(row, 'CPUs')),
        disks: [...vm.disks, ...homeDisk],
        nics: vm.nics,
        ties: [
          ...vm.ties.map((tie) => this.#liveBus(tie, view, row)),
          ...infoTies(view, row),
          ...(isHelper ? [helperTie(view.evidence(row, 'VM'))] : []),
        ],
        unknowns: runs ? this.#unknowns(view, row, vm) : [],
        owner: view.cell(row, 'Owner'),
        notes: view.cell(row, 'Annotation'),
        guest: view.cell(row, 'OS'),
        evidence: view.evidence(row, 'VM'),
      });
      if (!isTemplate) this.#noteRules(view, row, vm.key);
    }
  }

  /** From hardware version 11 on, a physical bus with raw disks can be migrated live. */
  #liveBus(tie: Tie, view: TabView<'vInfo'>, row: number): Tie {
    const version = numberOf(view.cell(row, 'HW version').replace(/^vmx-/, ''));
    const isLive =
      tie.kind === 'shared bus' && tie.subject === PHYSICAL_RAW && (version ?? 0) >= HARDWARE_WITH_LIVE_BUS;
    return isLive ? { ...tie, effect: 'warns' } : tie;
  }

  /** Compares the counts in vInfo with the rows of the other tabs. */
  #unknowns(view: TabView<'vInfo'>, row: number, vm: VmRows): readonly Unknown[] {
    const unknowns: Unknown[] = [];
    // The settings of a VM that its host cannot reach are unknown.
    if (!/^(?:|connected)$/i.test(view.cell(row, 'Connection state')))
      unknowns.push({ aspect: 'vms', evidence: view.evidence(row, 'Connection state'), fix: FIX });
    const disks = numberOf(view.cell(row, 'Disks'));
    if (this.#export.has('vDisk') && disks !== null && disks > vm.diskRows)
      unknowns.push({ aspect: 'disks', evidence: view.evidence(row, 'Disks'), fix: FIX });
    const nics = numberOf(view.cell(row, 'NICs'));
    if (this.#export.has('vNetwork') && nics !== null && nics > vm.nicRows)
      unknowns.push({ aspect: 'networks', evidence: view.evidence(row, 'NICs'), fix: FIX });
    return unknowns;
  }

  #hostFor(view: TabView<'vInfo'>, row: number, runs: boolean): string | null {
    const said = view.cell(row, 'Host');
    const key = this.#hostKey(said);
    if (said !== '' && this.#into.hosts.has(key)) return key;
    if (runs && view.has('Host'))
      this.#into.gap({
        platform: PLATFORM,
        group: this.#group,
        aspect: 'vms',
        kind: said === '' ? 'column' : 'join',
        file: view.file,
        part: 'tab vInfo',
        column: 'Host',
        count: 1,
        example: said,
        fix: FIX,
      });
    return null;
  }

  #noteRules(view: TabView<'vInfo'>, row: number, vm: string): void {
    const split = (text: string): readonly string[] =>
      text
        .split(/[,;]/)
        .map((one) => one.trim())
        .filter((one) => one !== '');
    const kinds = split(view.cell(row, 'Cluster rule(s)'));
    const names = split(view.cell(row, 'Cluster rule name(s)'));
    for (const [index, name] of names.entries()) {
      const kind = kinds[index] ?? kinds[0] ?? '';
      const key = `${kind}\u0001${name}`;
      const rule = this.#rules.get(key) ?? { vms: new Set<string>(), row };
      rule.vms.add(vm);
      this.#rules.set(key, rule);
    }
  }

  #tellRules(): void {
    const view = this.#export.view('vInfo');
    for (const [key, { vms, row }] of this.#rules) {
      const [type = '', name = ''] = key.split('\u0001');
      const isApart = /anti|separate/i.test(`${type} ${type === '' ? name : ''}`);
      this.#into.rule({
        key: keyOf(PLATFORM, this.#group, key),
        name,
        kind: isApart ? 'apart' : 'together',
        isHard: isApart && !/host/i.test(type),
        vms: [...vms],
        perHost: 1,
        evidence: view.evidence(row, 'Cluster rule name(s)'),
      });
    }
  }
}

const PHYSICAL_RAW = 'physical, raw disk';

/** Newer versions write the guest's mount points into "Disk Path": only a datastore path counts. */
function pathOf(cell: string): string {
  return /^\[[^\]]+\]\s*\S/.test(cell) ? cell : '';
}

function permitOf(view: TabView<'vDisk'>, row: number): Disk['permit'] {
  const bus = view.cell(row, 'Shared Bus');
  if (bus !== '' && /physical|virtual/i.test(bus))
    return { kind: 'shared bus', evidence: view.evidence(row, 'Shared Bus') };
  const sharing = view.cell(row, 'Sharing mode');
  if (/multi-?writer/i.test(sharing)) return { kind: 'multi-writer', evidence: view.evidence(row, 'Sharing mode') };
  return null;
}

function busTie(view: TabView<'vDisk'>, row: number): Tie | null {
  const bus = view.cell(row, 'Shared Bus');
  if (!/physical|virtual/i.test(bus)) return null;
  const isRaw = flagOf(view.cell(row, 'Raw')) === true;
  const subject = /physical/i.test(bus) ? (isRaw ? PHYSICAL_RAW : 'physical, no raw disk') : 'virtual';
  return { kind: 'shared bus', effect: 'blocks', subject, evidence: view.evidence(row, 'Shared Bus') };
}

function mediaDisk(label: string, where: { storage: string | null; reach: Reach }, place: Disk['evidence']): Disk {
  return {
    label,
    identities: [],
    permit: null,
    ...where,
    sizeGib: null,
    isRaw: false,
    isReadOnly: true,
    isMedia: true,
    evidence: place,
  };
}

function infoTies(view: TabView<'vInfo'>, row: number): readonly Tie[] {
  const ties: Tie[] = [];
  if (/^high/i.test(view.cell(row, 'Latency Sensitivity')))
    ties.push({ kind: 'latency', effect: 'warns', subject: '', evidence: view.evidence(row, 'Latency Sensitivity') });
  if (/^(?:running|starting|enabled)$/i.test(view.cell(row, 'FT State')))
    ties.push({ kind: 'fault tolerance', effect: 'warns', subject: '', evidence: view.evidence(row, 'FT State') });
  return ties;
}

function powerOf(text: string): 'running' | 'stopped' | 'suspended' | 'unknown' {
  const plain = text.toLowerCase().replace(/[^a-z]/g, '');
  if (plain === 'poweredon' || plain === 'on' || plain === 'running') return 'running';
  if (plain === 'poweredoff' || plain === 'off' || plain === 'stopped') return 'stopped';
  return plain === 'suspended' ? 'suspended' : 'unknown';
}
