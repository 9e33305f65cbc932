/** The entries of the command palette, and which of them fit the typed text. Pure. */
import type { GuestCluster, HostRow, VmRow } from '../api/types.ts';
import { byName } from '../texts/format.ts';
import { TEXTS } from '../texts/texts.ts';
import { fitOf, type Search } from '../ui/search.ts';

/** One line of the palette. `search`: what opens a dialogue on the page. */
export interface PaletteEntry {
  readonly key: string;
  readonly kind: string;
  readonly text: string;
  readonly detail: string | null;
  readonly to: string;
  readonly search?: Search;
}

/** An entry that fits. */
export type Found = PaletteEntry;

interface Named {
  readonly name: string;
}

/** Everything that there is. */
export interface PaletteSource {
  readonly hosts: readonly HostRow[];
  readonly vms: readonly VmRow[];
  readonly clusters: readonly GuestCluster[];
  readonly networks: readonly Named[];
  readonly storage: readonly Named[];
  readonly images: readonly Named[];
}

const { kinds, actions } = TEXTS.palette;

/** Addresses of the pages. */
export const PAGE_PATHS = {
  cluster: '/',
  hosts: '/hosts',
  vms: '/vms',
  guestClusters: '/guest-clusters',
  maintenance: '/maintenance',
  ties: '/ties',
  tasks: '/tasks',
  events: '/events',
  storage: '/storage',
  networks: '/networks',
  images: '/images',
  settings: '/settings',
  faults: '/faults',
} as const satisfies Record<keyof typeof TEXTS.pages, string>;

/** All entries: pages first, then objects with their actions. */
export function paletteEntries(source: PaletteSource): readonly PaletteEntry[] {
  const object = (kind: string, text: string, to: string, detail: string | null = null): PaletteEntry => {
    return { key: `${kind} ${text}`, kind, text, detail, to };
  };
  const action = (text: string, to: string, search?: Search): PaletteEntry => {
    return {
      key: `action ${text}`,
      kind: kinds.action,
      text,
      detail: null,
      to,
      ...(search === undefined ? {} : { search }),
    };
  };
  return [
    ...Object.entries(TEXTS.pages).map(([name, text]) =>
      object(kinds.page, text, PAGE_PATHS[name as keyof typeof PAGE_PATHS]),
    ),
    action(actions.createVm, '/vms/new'),
    action(actions.planHosts, '/maintenance/plan'),
    ...source.hosts.flatMap(({ name, rack }) => [
      object(kinds.host, name, `/hosts/${name}`, rack),
      action(actions.drain(name), `/hosts/${name}`, { tab: 'drain' }),
    ]),
    ...source.vms.flatMap(({ name, host }) => [
      object(kinds.vm, name, `/vms/${name}`, host),
      action(actions.console(name), `/vms/${name}`, { tab: 'console' }),
      action(actions.migrate(name), `/vms/${name}`, { do: 'migrate' }),
      action(actions.edit(name), `/vms/${name}`, { tab: 'edit' }),
    ]),
    ...source.clusters.flatMap(({ name }) =>
      name === null ? [] : object(kinds.guestCluster, name, `/guest-clusters/${name}`),
    ),
    ...source.networks.map(({ name }) => object(kinds.network, name, `/networks/${name}`)),
    ...source.storage.map(({ name }) => object(kinds.storage, name, `/storage/${name}`)),
    ...source.images.map(({ name }) => object(kinds.image, name, `/images/${name}`)),
  ];
}

const FOUND_MAX = 40;

/** The entries that fit, best first; objects before actions of the same fit. */
export function findEntries(entries: readonly PaletteEntry[], typed: string): readonly Found[] {
  const fitting = entries.flatMap((entry) => {
    const fit = fitOf(entry.text, typed);
    return fit === null ? [] : [{ entry, fit: fit - (entry.kind === kinds.action ? 0.5 : 0) }];
  });
  // Without typed text the order of the entries is the best there is.
  if (typed.trim() !== '') fitting.sort((a, b) => b.fit - a.fit || byName(a.entry.text, b.entry.text));
  return fitting.slice(0, FOUND_MAX).map(({ entry }) => entry);
}
