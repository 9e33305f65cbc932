/**
 * The positions of all parts of the picture, in pixels of an unzoomed canvas. Pure. Guarantees: a VM's slice keeps its
 * place among its neighbours (by name), so that the picture moves only where something changed; slices share a tile by
 * memory and free memory stays blank; racks and hosts are in the order of their names.
 */
import type { Vm } from '../api/types.ts';
import { byName } from '../texts/format.ts';

/** The facts about a VM that the picture needs. */
export interface PictureVm {
  readonly id: string;
  readonly name: string;
  readonly verdict: Vm['verdict'];
  readonly memoryBytes: number;
  readonly guestCluster: string | null;
}

/** The meaning of a host's frame: in service, kept empty, without an agent, cut off. */
export type HostMood = 'normal' | 'kept-empty' | 'agentless' | 'quarantined';

/** The facts about a host that the picture needs. */
export interface PictureHost {
  readonly name: string;
  readonly rack: string | null;
  readonly memoryTotalBytes: number;
  readonly memoryUsedBytes: number;
  readonly mood: HostMood;
  /** Whether the host can be drained now; null: not known. */
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
export function layoutOf(hosts: readonly PictureHost[], area: Size): Layout {
  const racks = racksOf(hosts);
  const width = Math.max(area.width, 240);
  const { tile, across } = arrangementOf(racks, { width, height: area.height });
  return place(racks, tile, { width, across });
}

interface Arrangement {
  readonly tile: Size;
  readonly across: number;
}

/** The last layout: it stays the same as long as no host comes or goes, however much VMs change. */
let last: { readonly key: string; readonly arrangement: Arrangement } | null = null;

function arrangementOf(racks: Racks, area: Size): Arrangement {
  const key = `${area.width} ${area.height} ${headOf(racks)} ${racks.map(({ hosts }) => hosts.length).join(' ')}`;
  if (last?.key !== key) last = { key, arrangement: largest(racks, area) };
  return last.arrangement;
}

function largest(racks: Racks, { width, height }: Size): Arrangement {
  let [tooWide, tileWidth] = [TILE_WIDTH_MAX + 1, TILE_WIDTH_MIN];
  while (tooWide - tileWidth > 1) {
    const middle = Math.floor((tooWide + tileWidth) / 2);
    if (flattest(racks, { width: middle, height: Math.round(middle * TILE_RATIO_MIN) }, width).height <= height)
      tileWidth = middle;
    else tooWide = middle;
  }
  const tile = { width: tileWidth, height: Math.round(tileWidth * TILE_RATIO_MIN) };
  const { across } = flattest(racks, tile, width);
  const fits = (high: number): boolean => heightOf(racks, { ...tile, height: high }, { width, across }) <= height;
  while (tile.height < tile.width * TILE_RATIO_MAX && fits(tile.height + 1)) tile.height += 1;
  return { tile, across };
}

/** The number of tiles side by side within a rack that makes the picture lowest, and its height. */
function flattest(racks: Racks, tile: Size, width: number): { readonly across: number; readonly height: number } {
  const most = Math.max(1, ...racks.map((rack) => tilesAcross(rack.hosts.length, tile.width, width)));
  let best = { across: most, height: heightOf(racks, tile, { width, across: most }) };
  for (let across = most - 1; across > 0; across--) {
    const height = heightOf(racks, tile, { width, across });
    if (height < best.height) best = { across, height };
  }
  return best;
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

/** The number of tiles side by side in a rack: all of its hosts if they fit, so that racks stand beside each other. */
function tilesAcross(count: number, tileWidth: number, width: number): number {
  const fit = Math.max(1, Math.floor((width + GAP) / (tileWidth + GAP)));
  return Math.min(count, fit);
}

interface Frame {
  readonly width: number;
  /** Tiles side by side within a rack, at most. */
  readonly across: number;
}

function heightOf(racks: Racks, tile: Size, frame: Frame): number {
  return boxesOf(racks, tile, frame).height;
}

function place(racks: Racks, tile: Size, frame: Frame): Layout {
  const head = headOf(racks);
  const { boxes, height } = boxesOf(racks, tile, frame);
  const filled = boxes.map(({ rack, across, ...box }) => {
    const tiles = rack.hosts.map((host, n) =>
      tileOf(host, {
        x: box.x + (n % across) * (tile.width + GAP),
        y: box.y + head + Math.floor(n / across) * (tile.height + GAP),
        ...tile,
      }),
    );
    return { ...box, name: rack.name, tiles };
  });
  return { width: frame.width, height, racks: filled, tiles: filled.flatMap(({ tiles }) => tiles) };
}

/** The positions of racks: beside each other as long as they fit. */
function boxesOf(racks: Racks, tile: Size, frame: Frame) {
  const { width } = frame;
  const head = headOf(racks);
  const boxes: (Box & { readonly rack: Racks[number]; readonly across: number })[] = [];
  let [x, y, rowHeight] = [0, 0, 0];
  for (const rack of racks) {
    const across = Math.min(frame.across, tilesAcross(rack.hosts.length, tile.width, width));
    const box = {
      width: across * (tile.width + GAP) - GAP,
      height: head + Math.ceil(rack.hosts.length / across) * (tile.height + GAP) - GAP,
    };
    if (x > 0 && x + box.width > width) {
      x = 0;
      y += rowHeight + RACK_GAP;
      rowHeight = 0;
    }
    boxes.push({ rack, across, x, y, ...box });
    x += box.width + RACK_GAP;
    rowHeight = Math.max(rowHeight, box.height);
  }
  return { boxes, height: y + rowHeight };
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
