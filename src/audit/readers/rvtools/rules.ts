/** Rules between VMs of an RVTools export: two columns of the tab vInfo. */
import { keyOf } from '../../estate/estate.ts';
import type { EstateBuilder } from '../../estate/estate-builder.ts';
import { PLATFORM, type RvToolsExport, type TabView } from './export.ts';

/** Collects the rules of VMs, row by row; `tell` adds them when all rows are known. */
export class RvToolsRules {
  readonly #export: RvToolsExport;
  readonly #into: EstateBuilder;
  readonly #rules = new Map<string, { vms: Set<string>; row: number }>();

  constructor(rvtools: RvToolsExport, into: EstateBuilder) {
    this.#export = rvtools;
    this.#into = into;
  }

  /** Notes the rules that a row of vInfo names for a VM. */
  note(view: TabView<'vInfo'>, row: number, vm: string): void {
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

  /** Adds all rules that were noted. */
  tell(): void {
    const view = this.#export.view('vInfo');
    for (const [key, { vms, row }] of this.#rules) {
      const [type = '', name = ''] = key.split('\u0001');
      const isApart = /anti|separate/i.test(`${type} ${type === '' ? name : ''}`);
      this.#into.rule({
        key: keyOf(PLATFORM, this.#export.group, key),
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
