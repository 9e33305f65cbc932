/** Datastores of an RVTools export: the tabs vDatastore and vMultiPath. */
import { keyOf, type Reach } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import { numberOf } from '../formats/values.ts';
import { PLATFORM, type RvToolsExport, type TabView } from './export.ts';

/** Reads the datastores of one export, and tells the datastore of a path. */
export class RvToolsStorages {
  readonly #export: RvToolsExport;
  readonly #into: EstateBuilder;

  constructor(rvtools: RvToolsExport, into: EstateBuilder) {
    this.#export = rvtools;
    this.#into = into;
  }

  /** Adds all datastores. */
  read(): void {
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

  /** Returns a disk's storage by its path; none if the tab of storages is missing, which is a gap already. */
  of(path: string): { storage: string | null; reach: Reach } {
    const name = /^\[([^\]]+)\]/.exec(path)?.[1];
    if (name === undefined || !this.#export.has('vDatastore')) return { storage: null, reach: { kind: 'every' } };
    const key = this.#storageKey(name);
    const place = evidence(this.#export.view('vDatastore').file, 'tab vDatastore', '', 'Name', '');
    this.#into.storage({ key, name, reach: { kind: 'unknown' }, evidence: place });
    return { storage: key, reach: { kind: 'unknown' } };
  }

  /** Returns hosts with a path to the disks of a datastore, for a vDatastore that only counts hosts. */
  #pathHosts(): ReadonlyMap<string, ReadonlySet<string>> {
    const view = this.#export.view('vMultiPath');
    const hosts = new Map<string, Set<string>>();
    for (let row = 0; row < view.size; row += 1) {
      const name = view.cell(row, 'Datastore');
      if (name !== '')
        hosts.set(name, (hosts.get(name) ?? new Set()).add(this.#export.hostKey(view.cell(row, 'Host'))));
    }
    return hosts;
  }

  #storageReach(view: TabView<'vDatastore'>, row: number, paths: ReadonlyMap<string, ReadonlySet<string>>): Reach {
    const count = numberOf(view.cell(row, '# Hosts'));
    const names = view
      .cell(row, 'Hosts')
      .split(/[,;\n]/)
      .map((name) => name.trim())
      .filter((name) => name !== '');
    if (names.length > 0 && names.length >= (count ?? 0))
      return { kind: 'hosts', hosts: new Set(names.map((name) => this.#export.hostKey(name))) };
    const byPath = paths.get(view.cell(row, 'Name'));
    if (byPath !== undefined && byPath.size === count) return { kind: 'hosts', hosts: byPath };
    return count === null ? { kind: 'unknown' } : { kind: 'count', count };
  }

  #storageKey(name: string): string {
    return keyOf(PLATFORM, this.#export.group, name);
  }
}
