/** Keeps the two canvases drawn: each when a part of it changed, once per frame at most. */
import { useMantineColorScheme } from '@mantine/core';
import { useEffect, useMemo, useRef } from 'react';
import type { Choice } from './choice.ts';
import { drawMarks, drawTiles } from './draw.ts';
import type { Layout, Slice } from './layout.ts';
import { type Palette, paletteOf } from './palette.ts';
import { type PictureTie, tieLinks } from './tie-links.ts';
import type { View } from './view.ts';

interface Shown {
  readonly layout: Layout;
  readonly view: View;
  readonly size: { readonly width: number; readonly height: number };
  readonly hovered: Choice | null;
  readonly chosen: Choice | null;
  readonly ties: readonly PictureTie[];
}

/** References for the lower and the upper canvas. */
export function useCanvases({ layout, view, size, hovered, chosen, ties }: Shown) {
  const lower = useRef<HTMLCanvasElement>(null);
  const upper = useRef<HTMLCanvasElement>(null);
  const palette = usePalette();
  const marks = useMemo(
    () => ({ ...marksOf(layout, hovered, chosen), ties: chosen === null ? [] : tieLinks(layout, chosen, ties) }),
    [layout, hovered, chosen, ties],
  );
  const { scale, x, y } = view;
  useEffect(() => {
    const surface = surfaceOf(lower.current, { palette, view: { scale, x, y }, size });
    if (surface === null) return;
    const frame = requestAnimationFrame(() => drawTiles(surface, layout));
    return () => cancelAnimationFrame(frame);
  }, [layout, scale, x, y, size, palette]);
  useEffect(() => {
    const surface = surfaceOf(upper.current, { palette, view: { scale, x, y }, size });
    if (surface === null) return;
    const frame = requestAnimationFrame(() => drawMarks(surface, marks));
    return () => cancelAnimationFrame(frame);
  }, [marks, scale, x, y, size, palette]);
  return { lower, upper };
}

/** The framed objects, and the linked slices of the guest cluster. */
function marksOf(layout: Layout, hovered: Choice | null, chosen: Choice | null) {
  const choices = [hovered, chosen].filter((choice) => choice !== null);
  const tiles = layout.tiles.filter(({ host }) => choices.some((choice) => choice.host === host.name));
  const slices = tiles.flatMap((tile) => tile.slices.filter(({ vm }) => choices.some((choice) => choice.vm === vm.id)));
  const clusters = new Set(slices.flatMap(({ vm }) => vm.guestCluster ?? []));
  const links: readonly Slice[] =
    clusters.size === 0
      ? []
      : layout.tiles.flatMap((tile) => tile.slices.filter(({ vm }) => clusters.has(vm.guestCluster ?? '')));
  return { tiles, slices, links };
}

function usePalette(): Palette {
  const { colorScheme } = useMantineColorScheme();
  // The scheme decides which colours are in force when it is "as the system", too.
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the scheme changes what the style sheet says
  return useMemo(() => paletteOf(document.documentElement), [colorScheme, isDark]);
}

function surfaceOf(
  canvas: HTMLCanvasElement | null,
  { palette, view, size }: { palette: Palette } & Pick<Shown, 'view' | 'size'>,
) {
  const context = canvas?.getContext('2d') ?? null;
  if (canvas === null || context === null || size.width === 0) return null;
  const pixelRatio = devicePixelRatio;
  const [width, height] = [Math.round(size.width * pixelRatio), Math.round(size.height * pixelRatio)];
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  return { context, palette, view, size, pixelRatio };
}
