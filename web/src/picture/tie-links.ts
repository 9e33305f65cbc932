/** Which lines show the ties of what is chosen in the picture. Pure. Guarantee: LINKS_MAX lines at most. */
import type { Choice } from './choice.ts';
import type { Box, Layout, PictureVm, Slice } from './layout.ts';

/** A tie as the picture has it: VMs, and the hosts that cannot be drained or lost because of them. */
export interface PictureTie {
  /** Names. */
  readonly vms: readonly string[];
  readonly hosts: readonly string[];
  /** The guest cluster that it is about. */
  readonly guestCluster: string | null;
}

/** A line from what is chosen to what it is tied to. */
export interface TieLink {
  readonly from: Box;
  readonly to: Box;
}

const LINKS_MAX = 200;
/** Ties that are said in words beside the picture: the page of ties has all of them. */
const TOLD_MAX = 10;

/** What is chosen: a host by its name, or a VM. */
export type Tied = string | Pick<PictureVm, 'name' | 'guestCluster'>;

/** The ties of a host, or of a VM: its own, and those of its guest cluster. */
export function tiesOf<T extends PictureTie>(chosen: Tied, ties: readonly T[]): readonly T[] {
  if (typeof chosen === 'string') return ties.filter(({ hosts }) => hosts.includes(chosen));
  const { name, guestCluster: own } = chosen;
  return ties.filter(({ vms, guestCluster }) => vms.includes(name) || (own !== null && own === guestCluster));
}

/** The first ties of those of what is chosen, for the words beside the picture, and how many more there are. */
export function toldTies<T extends PictureTie>(
  own: readonly T[],
): { readonly told: readonly T[]; readonly more: number } {
  return { told: own.slice(0, TOLD_MAX), more: Math.max(0, own.length - TOLD_MAX) };
}

/** From the slice of the chosen VM to the hosts of its ties, or from the chosen host to the VMs of its ties. */
export function tieLinks(layout: Layout, choice: Choice, ties: readonly PictureTie[]): readonly TieLink[] {
  const slice = choice.vm === null ? undefined : sliceOf(layout, choice.vm);
  const own = tiesOf(slice?.vm ?? choice.host, ties);
  const heads = new Map(
    layout.tiles.map(({ host, x, y, width, headHeight }) => [host.name, { x, y, width, height: headHeight }]),
  );
  const from = choice.vm === null ? heads.get(choice.host) : slice;
  if (from === undefined || own.length === 0) return [];
  const ends = choice.vm === null ? slicesOf(layout, new Set(own.flatMap(({ vms }) => vms))) : headsOf(heads, own);
  return ends.slice(0, LINKS_MAX).map((to) => ({ from, to }));
}

function headsOf(heads: ReadonlyMap<string, Box>, ties: readonly PictureTie[]): readonly Box[] {
  const names = new Set(ties.flatMap(({ hosts }) => hosts));
  return [...names].flatMap((name) => heads.get(name) ?? []);
}

function slicesOf({ tiles }: Layout, names: ReadonlySet<string>): readonly Slice[] {
  return tiles.flatMap(({ slices }) => slices.filter(({ vm }) => names.has(vm.name)));
}

function sliceOf({ tiles }: Layout, id: string): Slice | undefined {
  for (const { slices } of tiles) {
    const slice = slices.find(({ vm }) => vm.id === id);
    if (slice !== undefined) return slice;
  }
  return undefined;
}
