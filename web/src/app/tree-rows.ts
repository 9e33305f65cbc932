/** The tree of everything as lines from top to bottom. Pure. */
import type { Verdict } from '../api/types.ts';
import type { Estate } from '../live/estate.ts';
import { byName } from '../texts/format.ts';
import { TEXTS } from '../texts/texts.ts';

/** One line. `key` is its place in the tree, by which it is opened and found again. */
export interface TreeRow {
  readonly key: string;
  readonly level: number;
  readonly text: string;
  readonly kind: 'section' | 'rack' | 'host' | 'vm' | 'other';
  /** The target of a click; null: it only opens. */
  readonly to: string | null;
  /** null: nothing is below it. */
  readonly isOpen: boolean | null;
  readonly count: number | null;
  readonly verdict: Verdict | null;
  readonly isTroubled: boolean;
}

/** The objects from which the tree is made. */
export interface TreeSource {
  readonly estate: Estate;
  /** Sections below the hosts: their names, pages, and the names in them. */
  readonly others: readonly {
    readonly key: string;
    readonly text: string;
    readonly to: string;
    readonly names: readonly string[];
  }[];
  /** Keys of the lines that somebody opened, and of those that are open at first and were closed. */
  readonly toggled: ReadonlySet<string>;
}

const OPEN_AT_FIRST = new Set(['hosts']);

/** All lines that are in sight when the tree is not scrolled. */
export function treeRows({ estate, others, toggled }: TreeSource): readonly TreeRow[] {
  const rows: TreeRow[] = [];
  const isOpen = (key: string): boolean => OPEN_AT_FIRST.has(key) !== toggled.has(key);
  const add = (row: Partial<TreeRow> & Pick<TreeRow, 'key' | 'level' | 'text' | 'kind'>): boolean => {
    const open = row.isOpen === undefined ? isOpen(row.key) : false;
    rows.push({ to: null, isOpen: open, count: null, verdict: null, isTroubled: false, ...row });
    return open;
  };
  const leaf = { isOpen: null } as const;
  if (
    add({ key: 'hosts', level: 1, text: TEXTS.pages.hosts, kind: 'section', to: '/hosts', count: estate.hosts.length })
  ) {
    const racks = [...Map.groupBy(estate.hosts, ({ rack }) => rack)];
    racks.sort(([a], [b]) => (a === null ? 1 : b === null ? -1 : byName(a, b)));
    for (const [rack, hosts] of racks) {
      const isOpenRack =
        rack === null || add({ key: `rack ${rack}`, level: 2, text: rack, kind: 'rack', count: hosts.length });
      if (isOpenRack) addHosts(hosts, rack === null ? 2 : 3);
    }
  }
  if (estate.homeless.length > 0) {
    const section = { key: 'homeless', level: 1, text: TEXTS.tree.homeless, kind: 'section' } as const;
    if (add({ ...section, to: '/vms', count: estate.homeless.length }))
      for (const vm of inOrder(estate.homeless)) addVm(vm, 2);
  }
  for (const { key, text, to, names } of others) {
    if (!add({ key, level: 1, text, kind: 'section', to, count: names.length })) continue;
    for (const name of [...names].sort(byName))
      add({
        key: `${key} ${name}`,
        level: 2,
        text: name,
        kind: 'other',
        to: `${to}/${encodeURIComponent(name)}`,
        ...leaf,
      });
  }
  return rows;

  function addHosts(hosts: Estate['hosts'], level: number): void {
    for (const { name, mood, vms } of inOrder(hosts)) {
      const isTroubled = mood === 'agentless' || mood === 'quarantined';
      const line = { key: `host ${name}`, level, text: name, kind: 'host', to: `/hosts/${name}` } as const;
      if (add({ ...line, count: vms.length, isTroubled })) for (const vm of inOrder(vms)) addVm(vm, level + 1);
    }
  }

  function addVm({ id, name, verdict }: Estate['homeless'][number], level: number): void {
    add({ key: `vm ${id}`, level, text: name, kind: 'vm', to: `/vms/${name}`, verdict, ...leaf });
  }
}

const inOrder = <T extends { readonly name: string }>(items: readonly T[]): readonly T[] =>
  [...items].sort((a, b) => byName(a.name, b.name));
