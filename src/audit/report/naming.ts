/**
 * Names of the estate in a report: unchanged, or replaced. Equal names get equal replacements, so that a reader can
 * follow a host through a report that does not reveal its name.
 */
import { printable } from '../../base/printable.ts';
import type { Estate, Evidence } from '../estate/estate.ts';

export interface Naming {
  /**
   * Converts a name, an address, a file of the estate, or a note. `kind` is the word before the number of a
   * replacement.
   */
  name(kind: string, text: string): string;
  file(file: string): string;
  evidence(evidence: Evidence): Evidence;
}

/** Keeps names, except characters that would steer a terminal or break lines. */
export const PLAIN: Naming = {
  name: (_kind, text) => printable(text),
  file: (file) => printable(file),
  evidence: ({ file, part, row, column, value }) => ({
    file: printable(file),
    part: printable(part),
    row: printable(row),
    column: printable(column),
    value: printable(value),
  }),
};

/** Values that identify nothing: numbers, flags, and the platforms' own words. */
const SAFE = new RegExp(
  `^(?:${[
    'true|false|yes|no|on|off|none|null|\\[\\]|\\{\\}',
    '-?\\d{1,7}(?:[.,]\\d{1,3})*',
    'noSharing|physicalSharing|virtualSharing|sharingNone|sharingMultiWriter|physicalMode|virtualMode|physical|virtual',
    'poweredOn|poweredOff|suspended|running|stopped|up|down|maintenance|Internal|Private|External|anti-affinity|affinity',
    'VM_[A-Z_]+|[A-Z][A-Za-z]*Not(?:Live)?Migratable|ReadWriteOnce|ReadWriteMany|pinned|user_migratable|migratable',
    'Cluster\\w*RuleSpec|ClusterVmHostRuleInfo|SHARED|NOT_SHARED|host-passthrough|dedicated|HardAffinity|DIRECT_NIC',
  ].join('|')})$`,
  'i',
);

/** Replaces names consistently. */
export class Redaction implements Naming {
  readonly #tokens = new Map<string, string>();
  readonly #counts = new Map<string, number>();

  constructor(estate: Estate) {
    for (const { name } of estate.hosts.values()) this.name('host', name);
    for (const { name } of estate.vms.values()) this.name('vm', name);
    for (const { name } of estate.clusters.values()) this.name('cluster', name);
    for (const { name } of estate.storages.values()) this.name('storage', name);
    for (const { name } of estate.networks.values()) this.name('network', name);
    for (const { name } of estate.rules) this.name('rule', name);
  }

  name(kind: string, text: string): string {
    if (text === '') return '';
    const before = this.#tokens.get(text);
    if (before !== undefined) return before;
    if (SAFE.test(text) && kind === 'value') return text;
    const number = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, number);
    const token = `${kind}-${number}`;
    this.#tokens.set(text, token);
    return token;
  }

  file(file: string): string {
    const ending = /\.[A-Za-z]{1,6}$/.exec(file)?.[0] ?? '';
    return `${this.name('file', file)}${ending}`;
  }

  evidence({ file, part, row, column, value }: Evidence): Evidence {
    const isNumber = /^\d{1,7}$/.test(row) && !this.#tokens.has(row);
    return {
      file: this.file(file),
      part: printable(part),
      row: isNumber ? row : this.name('object', row),
      column: printable(column),
      value: this.name('value', value),
    };
  }
}
