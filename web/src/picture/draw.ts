/**
 * Draws the picture on a canvas: tiles and slices on the lower one, links and what the pointer is on on the upper one.
 * Guarantee: only what is in sight is drawn, so that a frame costs the same at any size of the cluster.
 */
import { percentOf } from '../texts/format.ts';
import type { Box, Layout, Slice, Tile } from './layout.ts';
import type { Palette } from './palette.ts';
import type { TieLink } from './tie-links.ts';
import { VERDICT_STYLES } from './verdict-style.ts';
import type { View } from './view.ts';

const NAME_FROM_PX = 9;
const TEXT_PX = 11;

interface Surface {
  readonly context: CanvasRenderingContext2D;
  readonly palette: Palette;
  readonly view: View;
  /** The size of the canvas, in CSS pixels. */
  readonly size: { readonly width: number; readonly height: number };
  readonly pixelRatio: number;
}

/** The lower canvas. */
export function drawTiles(surface: Surface, layout: Layout): void {
  const { context, palette } = surface;
  begin(surface);
  for (const rack of layout.racks) {
    if (!isInSight(surface, rack)) continue;
    if (rack.name !== null) text(surface, rack.name, { ...rack, y: rack.y + 3, height: 14 }, palette.muted);
    for (const tile of rack.tiles) if (isInSight(surface, tile)) drawTile(surface, tile);
  }
  context.resetTransform();
}

/** The marks that are drawn above the tiles. */
export interface Marks {
  readonly tiles: readonly Tile[];
  readonly slices: readonly Slice[];
  /** Slices that belong together: lines between them. */
  readonly links: readonly Slice[];
  /** What is chosen, and what it is tied to: broken lines. */
  readonly ties: readonly TieLink[];
}

/** The upper canvas. */
export function drawMarks(surface: Surface, { tiles, slices, links, ties }: Marks): void {
  const { context, palette, view } = surface;
  begin(surface);
  context.strokeStyle = palette.accent;
  context.lineWidth = 2 / view.scale;
  for (const box of [...tiles, ...slices]) context.strokeRect(box.x, box.y, box.width, box.height);
  const [first, ...others] = links.map(middle);
  if (first !== undefined) {
    context.lineWidth = 1.5 / view.scale;
    for (const other of others) curve(context, first, other);
    context.fillStyle = palette.accent;
    for (const at of [first, ...others]) dot(surface, at);
  }
  drawTies(surface, ties);
  context.resetTransform();
}

function drawTies(surface: Surface, ties: readonly TieLink[]): void {
  const { context, palette, view } = surface;
  context.strokeStyle = palette.tie;
  context.fillStyle = palette.tie;
  context.lineWidth = 1.5 / view.scale;
  context.setLineDash([5 / view.scale, 4 / view.scale]);
  for (const { from, to } of ties) curve(context, middle(from), middle(to));
  context.setLineDash([]);
  for (const { to } of ties) dot(surface, middle(to));
}

function dot({ context, view }: Surface, { x, y }: { readonly x: number; readonly y: number }): void {
  context.beginPath();
  context.arc(x, y, 3.5 / view.scale, 0, 2 * Math.PI);
  context.fill();
}

function begin({ context, view, size, pixelRatio }: Surface): void {
  context.resetTransform();
  context.clearRect(0, 0, size.width * pixelRatio, size.height * pixelRatio);
  const scale = view.scale * pixelRatio;
  context.setTransform(scale, 0, 0, scale, view.x * pixelRatio, view.y * pixelRatio);
}

function isInSight({ view, size }: Surface, box: Box): boolean {
  const [left, top] = [box.x * view.scale + view.x, box.y * view.scale + view.y];
  const [right, bottom] = [left + box.width * view.scale, top + box.height * view.scale];
  return right > 0 && bottom > 0 && left < size.width && top < size.height;
}

function drawTile(surface: Surface, tile: Tile): void {
  const { context, palette, view } = surface;
  const { host, headHeight } = tile;
  context.fillStyle = palette.surface;
  context.fillRect(tile.x, tile.y, tile.width, tile.height);
  for (const slice of tile.slices) drawSlice(surface, slice);
  const frame = palette.moods[host.mood];
  if (host.mood !== 'normal') {
    context.fillStyle = frame.head;
    context.fillRect(tile.x, tile.y, tile.width, headHeight);
  }
  context.strokeStyle = frame.line;
  context.lineWidth = (host.mood === 'normal' ? 1 : 2) / view.scale;
  context.setLineDash(host.mood === 'agentless' ? [4 / view.scale, 3 / view.scale] : []);
  context.strokeRect(tile.x, tile.y, tile.width, tile.height);
  context.setLineDash([]);
  if (headHeight * view.scale < NAME_FROM_PX) return;
  const head = { x: tile.x + 5, y: tile.y, width: tile.width - 10, height: headHeight };
  text(surface, host.name, head, palette.text);
  const used = percentOf(host.memoryUsedBytes, host.memoryTotalBytes);
  text(surface, `${used} %`, head, palette.muted, 'right');
}

function drawSlice(surface: Surface, slice: Slice): void {
  const { context, palette, view } = surface;
  const { tone, pattern } = VERDICT_STYLES[slice.vm.verdict];
  const gap = Math.min(1 / view.scale, slice.height / 4);
  context.fillStyle = palette.fills[tone][pattern];
  context.fillRect(slice.x, slice.y, slice.width, slice.height - gap);
  if (slice.height * view.scale >= NAME_FROM_PX + 2)
    text(surface, slice.vm.name, { ...slice, x: slice.x + 5, width: slice.width - 10 }, palette.onSlice);
}

/** One line in the middle of a box, cut at its end; as large on the screen at any zoom. */
function text(
  { context, view }: Surface,
  words: string,
  box: Box,
  color: string,
  align: 'left' | 'right' = 'left',
): void {
  const size = Math.min(TEXT_PX, box.height * view.scale * 0.8) / view.scale;
  context.font = `${size}px system-ui, sans-serif`;
  context.fillStyle = color;
  context.textAlign = align;
  context.textBaseline = 'middle';
  const room = align === 'right' ? box.width * 0.4 : box.width * (box.height > 20 ? 1 : 0.62);
  context.fillText(
    fitting(words, room / (size * 0.56)),
    align === 'right' ? box.x + box.width : box.x,
    box.y + box.height / 2,
  );
}

/** `chars`: about how many have room. */
function fitting(words: string, chars: number): string {
  if (words.length <= chars) return words;
  return chars < 3 ? '' : `${words.slice(0, Math.floor(chars) - 1)}…`;
}

const middle = ({ x, y, width, height }: Box): { x: number; y: number } => ({ x: x + width / 2, y: y + height / 2 });

function curve(context: CanvasRenderingContext2D, from: { x: number; y: number }, to: { x: number; y: number }): void {
  const lift = Math.hypot(to.x - from.x, to.y - from.y) / 6;
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.quadraticCurveTo((from.x + to.x) / 2, (from.y + to.y) / 2 - lift, to.x, to.y);
  context.stroke();
}
