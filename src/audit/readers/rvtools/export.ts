/** One export of RVTools: tabs by name, cells by column name, rows of a VM by its ID. */

import { type Evidence, keyOf } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { Table } from '../document.ts';
import { COLUMNS, type ColumnOf, normalised, TAB_ASPECTS, type Tab } from './columns.ts';

/** The platform of these exports. */
export const PLATFORM = 'rvtools';

/** The remedy for every missing tab or column. */
export const FIX =
  'Export all tabs with RVTools 4 (File, Export all to Excel; or: RVTools.exe -s VCENTER -c ExportAll2xlsx -d DIR -f FILE.xlsx).';

/** One tab, with columns under this program's names. */
export class TabView<T extends Tab> {
  readonly tab: T;
  readonly file: string;
  readonly #table: Table;
  readonly #positions: ReadonlyMap<string, number>;

  constructor(tab: T, table: Table) {
    this.tab = tab;
    this.file = table.file;
    this.#table = table;
    const written = table.columns.map((name) => normalised(tab, name));
    const positions = new Map<string, number>();
    for (const [name, { names }] of Object.entries(COLUMNS[tab]) as [string, { names: readonly string[] }][]) {
      const position = names.map((one) => written.indexOf(one)).find((one) => one !== -1);
      if (position !== undefined) positions.set(name, position);
    }
    this.#positions = positions;
  }

  get size(): number {
    return this.#table.rows.length;
  }

  has(column: ColumnOf<T>): boolean {
    return this.#positions.has(column);
  }

  /** Returns the cell; empty if the column is missing. */
  cell(row: number, column: ColumnOf<T>): string {
    const position = this.#positions.get(column);
    return position === undefined ? '' : (this.#table.rows[row]?.[position] ?? '');
  }

  evidence(row: number, column: ColumnOf<T>): Evidence {
    const number = String(this.#table.rowNumbers[row] ?? '');
    return evidence(this.file, `tab ${this.tab}`, number, column, this.cell(row, column));
  }
}

/** The tabs of one export. */
export class RvToolsExport {
  readonly group: string;
  readonly #tabs: ReadonlyMap<Tab, Table>;
  readonly #views = new Map<Tab, TabView<Tab>>();

  constructor(group: string, tabs: ReadonlyMap<Tab, Table>) {
    this.group = group;
    this.#tabs = tabs;
  }

  /** Returns the tab; an empty one if it is missing. */
  view<T extends Tab>(tab: T): TabView<T> {
    const known = this.#views.get(tab);
    if (known !== undefined) return known as unknown as TabView<T>;
    const { group } = this;
    const table = this.#tabs.get(tab) ?? { file: group, group, tab, columns: [], rows: [], rowNumbers: [] };
    const view = new TabView(tab, table);
    this.#views.set(tab, view as unknown as TabView<Tab>);
    return view;
  }

  /** Returns the key of the host with a name. */
  hostKey(name: string): string {
    return keyOf(PLATFORM, this.group, name.toLowerCase());
  }

  has(tab: Tab): boolean {
    return this.#tabs.has(tab);
  }

  /** Reports missing tabs and columns. Those that only add detail become notes. */
  tellGaps(into: EstateBuilder): void {
    const common = { platform: PLATFORM, fix: FIX, group: this.group } as const;
    for (const tab of Object.keys(COLUMNS) as Tab[]) {
      const view = this.view(tab);
      const aspect = TAB_ASPECTS[tab];
      if (!this.has(tab)) {
        const blocks = aspect !== null;
        into.gap({ ...common, aspect: aspect ?? 'vms', kind: 'tab', file: this.group, part: tab, blocks });
        continue;
      }
      for (const [name, column] of Object.entries(COLUMNS[tab])) {
        // The owner column has no effect on any finding.
        if (view.has(name as never) || name === 'Owner') continue;
        if (column.aspect === null && !TELLING.has(name)) continue;
        const blocks = column.aspect !== null && !this.#isReplaced(tab, name);
        into.gap({
          ...common,
          aspect: column.aspect ?? 'disks',
          kind: 'column',
          file: view.file,
          part: `tab ${tab}`,
          column: name,
          blocks,
        });
      }
    }
    const part = 'what RVTools does not export (PCI devices, groups of VMs and hosts)';
    const fix = 'Add the JSON of govc or PowerCLI (docs/operating/audit.md) where such devices or rules are in use.';
    into.gap({ ...common, fix, aspect: 'devices', kind: 'file', file: '', part, blocks: false });
  }

  /** Checks alternatives: memory is in two tabs, and a datastore's hosts are either named or counted. */
  #isReplaced(tab: Tab, name: string): boolean {
    if (tab === 'vInfo' && name === 'Memory') return this.view('vMemory').has('Size MiB');
    return tab === 'vDatastore' && name === '# Hosts' && this.view('vDatastore').has('Hosts');
  }
}

/** Columns without which fewer findings are made, although they prove nothing. */
const TELLING = new Set(['Raw LUN ID', 'Raw Comp. Mode', 'Reservation']);
