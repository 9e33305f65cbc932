/** Exports of RVTools, as workbooks or as CSV files in one directory. */

import type { Disk, Tie, Unknown } from '../../estate/estate.ts';
import type { EstateBuilder } from '../../estate/estate-builder.ts';
import { type Document, type Reader, type Table, Unreadable } from '../document.ts';
import { flagOf, numberOf } from '../formats/values.ts';
import { HELPER, helperTie } from '../vsphere/helpers.ts';
import { COLUMNS, namesOf, normalised, type Tab, tabOf } from './columns.ts';
import { PHYSICAL_RAW, RvToolsDevices, type VmRows } from './devices.ts';
import { FIX, PLATFORM, RvToolsExport, type TabView } from './export.ts';
import { RvToolsHosts } from './hosts.ts';
import { RvToolsLuns } from './luns.ts';
import { RvToolsNetworks } from './networks.ts';
import { mediaDisk, pathOf } from './paths.ts';
import { RvToolsRules } from './rules.ts';
import { RvToolsStorages } from './storages.ts';

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

class ExportReader {
  readonly #export: RvToolsExport;
  readonly #into: EstateBuilder;
  readonly #storages: RvToolsStorages;
  readonly #rules: RvToolsRules;

  constructor(rvtools: RvToolsExport, into: EstateBuilder) {
    this.#export = rvtools;
    this.#into = into;
    this.#storages = new RvToolsStorages(rvtools, into);
    this.#rules = new RvToolsRules(rvtools, into);
  }

  read(): void {
    this.#export.tellGaps(this.#into);
    new RvToolsHosts(this.#export, this.#into).read();
    this.#storages.read();
    const luns = new RvToolsLuns(this.#export);
    luns.tell(this.#into);
    const networks = new RvToolsNetworks(this.#export, this.#into);
    networks.readHosts();
    const from = { storages: this.#storages, networks, luns };
    this.#vms(new RvToolsDevices(this.#export, this.#into, from).read());
    this.#rules.tell();
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
                ...mediaDisk(home, this.#storages.of(home), view.evidence(row, 'Path')),
                label: 'configuration',
                isMedia: false,
              },
            ];
      this.#into.vm({
        key: vm.key,
        uuid: view.cell(row, 'VM UUID'),
        name,
        platform: PLATFORM,
        group: this.#export.group,
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
      if (!isTemplate) this.#rules.note(view, row, vm.key);
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
    const key = this.#export.hostKey(said);
    if (said !== '' && this.#into.hosts.has(key)) return key;
    if (runs && view.has('Host'))
      this.#into.gap({
        platform: PLATFORM,
        group: this.#export.group,
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
