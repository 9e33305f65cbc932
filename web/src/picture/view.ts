/** The part of the picture that is on the screen. Pure. */
import type { Box } from './layout.ts';

/** Screen = picture * scale + offset. */
export interface View {
  readonly scale: number;
  readonly x: number;
  readonly y: number;
}

/** The whole picture. */
export const WHOLE: View = { scale: 1, x: 0, y: 0 };

const SCALE_MAX = 24;

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Keeps the picture on the screen: never smaller than the whole picture, never moved out of sight. */
export function bounded(view: View, picture: Size, screen: Size): View {
  const scale = Math.min(SCALE_MAX, Math.max(1, view.scale));
  const within = (offset: number, size: number, room: number): number =>
    Math.min(0, Math.max(Math.min(0, room - size * scale), offset));
  return {
    scale,
    x: within(view.x, picture.width, screen.width),
    y: within(view.y, picture.height, screen.height),
  };
}

/** Zooms by a factor; the point under the pointer stays where it is. */
export function zoomed(view: View, factor: number, at: { readonly x: number; readonly y: number }): View {
  const scale = Math.min(SCALE_MAX, Math.max(1, view.scale * factor));
  const ratio = scale / view.scale;
  return { scale, x: at.x - (at.x - view.x) * ratio, y: at.y - (at.y - view.y) * ratio };
}

const MARGIN = 0.9;

/** Shows a box as large as it fits, in the middle. */
export function viewOf(box: Box, screen: Size): View {
  const scale = Math.min(SCALE_MAX, MARGIN * Math.min(screen.width / box.width, screen.height / box.height));
  return {
    scale,
    x: screen.width / 2 - (box.x + box.width / 2) * scale,
    y: screen.height / 2 - (box.y + box.height / 2) * scale,
  };
}
