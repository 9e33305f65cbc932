/**
 * Where everything of the picture is, in pixels of an unzoomed canvas. Pure. Guarantees: a VM's slice keeps its place
 * among its neighbours (by name), so that the picture moves only where something changed; slices share a tile by memory
 * and free memory stays blank; racks and hosts are in the order of their names.
 */
import type { Vm } from '../api/types.ts';
import { byName } from '../texts/format.ts';

/** What the picture needs to know of a VM. */
export interface PictureVm {
  readonly id: string;
  readonly name: string;
  readonly verdict: Vm['verdict'];
  readonly memoryBytes: number;
  readonly guestCluster: string | null;
}

/** What the frame of a host says: in service, kept empty, without an agent, cut off. */
export type HostMood = 'normal' | 'kept-empty' | 'agentless' | 'quarantined';

/** What the picture needs to know of a host. */
export interface PictureHost {
  readonly name: string;
  readonly rack: string | null;
  readonly memoryTotalBytes: number;
  readonly memoryUsedBytes: number;
  readonly mood: HostMood;
  /** Whether it can be drained now; null: not known. */
  readonly drain: boolean | null;
  readonly vms: readonly PictureVm[];
}

/** A rectangle. */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Slice extends Box {
  readonly vm: PictureVm;
}

export interface Tile extends Box {
  readonly host: PictureHost;
  /** Height of the line with the host's name. */
  readonly headHeight: number;
  readonly slices: readonly Slice[];
}

export interface RackBox extends Box {
  readonly name: string | null;
  readonly tiles: readonly Tile[];
}

export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly racks: readonly RackBox[];
  /** Hosts in the order of the picture: what arrow keys walk through. */
  readonly tiles: readonly Tile[];
}

const GAP = 6;
const RACK_GAP = 14;
const RACK_HEAD = 22;
const TILE_WIDTH_MIN = 30;
const TILE_WIDTH_MAX = 240;
/** Height of a tile in widths: at least, and where there is room. */
const TILE_RATIO_MIN = 0.6;
const TILE_RATIO_MAX = 1.1;
const HEAD_MAX = 18;
const HEAD_SHARE = 0.2;

/** Lays hosts out for a canvas of `width`; tiles as large as fit into `height`, within bounds. */
export function layoutOf(hosts: readonly PictureHost[], area: { width: number; height: number }): Layout {
  const racks = racksOf(hosts);
  const width = Math.max(area.width, 240);
  let tile = { width: TILE_WIDTH_MAX, height: TILE_WIDTH_MAX * TILE_RATIO_MIN };
  const fits = (size: Size): boolean => place(racks, size, width, true).height <= area.height;
  while (tile.width > TILE_WIDTH_MIN && !fits(tile))
    tile = { width: tile.width - 2, height: Math.round((tile.width - 2) * TILE_RATIO_MIN) };
  const taller = { ...tile, height: tile.height + 1 };
  while (taller.height <= tile.width * TILE_RATIO_MAX && fits(taller)) taller.height += 1;
  return place(racks, { ...tile, height: taller.height - 1 }, width);
}

function racksOf(hosts: readonly PictureHost[]): readonly { name: string | null; hosts: readonly PictureHost[] }[] {
  const groups = Map.groupBy(hosts, ({ rack }) => rack);
  return [...groups]
    .map(([name, of]) => ({ name, hosts: [...of].sort((a, b) => byName(a.name, b.name)) }))
    .sort((a, b) => (a.name === null ? 1 : b.name === null ? -1 : byName(a.name, b.name)));
}

type Racks = ReturnType<typeof racksOf>;
type Size = { readonly width: number; readonly height: number };

/** A cluster without racks needs no line that names them. */
const headOf = (racks: Racks): number => (racks.length === 1 && racks[0]?.name === null ? 0 : RACK_HEAD);

/** How many tiles a rack has side by side: all of its hosts where they fit, so that racks stand beside each other. */
function tilesAcross(count: number, tileWidth: number, width: number): number {
  const fit = Math.max(1, Math.floor((width + GAP) / (tileWidth + GAP)));
  return Math.min(count, fit);
}

function place(racks: Racks, tile: Size, width: number, isDraft = false): Layout {
  const boxes: RackBox[] = [];
  const head = headOf(racks);
  let x = 0;
  let y = 0;
  let rowHeight = 0;
  for (const rack of racks) {
    const across = tilesAcross(rack.hosts.length, tile.width, width);
    const boxWidth = across * (tile.width + GAP) - GAP;
    const boxHeight = head + Math.ceil(rack.hosts.length / across) * (tile.height + GAP) - GAP;
    if (x > 0 && x + boxWidth > width) {
      x = 0;
      y += rowHeight + RACK_GAP;
      rowHeight = 0;
    }
    const tiles = isDraft
      ? []
      : rack.hosts.map((host, n) =>
          tileOf(host, {
            x: x + (n % across) * (tile.width + GAP),
            y: y + head + Math.floor(n / across) * (tile.height + GAP),
            ...tile,
          }),
        );
    boxes.push({ name: rack.name, x, y, width: boxWidth, height: boxHeight, tiles });
    x += boxWidth + RACK_GAP;
    rowHeight = Math.max(rowHeight, boxHeight);
  }
  return { width, height: y + rowHeight, racks: boxes, tiles: boxes.flatMap((box) => box.tiles) };
}

function tileOf(host: PictureHost, box: Box): Tile {
  const headHeight = Math.min(HEAD_MAX, box.height * HEAD_SHARE);
  const inside = { ...box, y: box.y + headHeight, height: box.height - headHeight };
  return { ...box, host, headHeight, slices: slicesOf(host, inside) };
}

/** VMs as lines from the top, in the order of their names; as high as their share of the memory. */
function slicesOf(host: PictureHost, box: Box): readonly Slice[] {
  const claimed = host.vms.reduce((sum, vm) => sum + vm.memoryBytes, 0);
  const whole = Math.max(host.memoryTotalBytes, claimed, 1);
  let at = 0;
  return [...host.vms]
    .sort((a, b) => byName(a.name, b.name))
    .map((vm) => {
      const y = box.y + (at / whole) * box.height;
      at += vm.memoryBytes;
      return { vm, x: box.x, y, width: box.width, height: (vm.memoryBytes / whole) * box.height };
    });
}
