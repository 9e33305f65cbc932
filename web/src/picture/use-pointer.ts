/**
 * The actions of the pointer in the picture: it hovers, chooses, moves the zoomed picture, and zooms in by a double
 * click.
 */
import { type PointerEvent, type RefObject, useRef, useState } from 'react';
import type { Choice } from './choice.ts';
import { hitOf } from './hit.ts';
import type { Layout } from './layout.ts';
import { bounded, type View, viewOf } from './view.ts';

/** Pointer moves of fewer pixels are a click. */
const CLICK_PX = 4;

interface PointerOptions {
  readonly frame: RefObject<HTMLDivElement | null>;
  readonly layout: Layout;
  readonly size: { readonly width: number; readonly height: number };
  readonly shown: View;
  readonly setView: (view: View) => void;
  readonly onChoose: (choice: Choice | null) => void;
}

interface Place {
  readonly clientX: number;
  readonly clientY: number;
}

/** The object under the pointer, and the handlers of the picture's frame. */
export function usePointer({ frame, layout, size, shown, setView, onChoose }: PointerOptions) {
  const [hovered, setHovered] = useState<Choice | null>(null);
  const drag = useRef<{ x: number; y: number; view: View; moved: boolean } | null>(null);
  const choiceAt = (event: Place): Choice | null => {
    const box = frame.current?.getBoundingClientRect();
    if (box === undefined) return null;
    const hit = hitOf(
      layout,
      (event.clientX - box.left - shown.x) / shown.scale,
      (event.clientY - box.top - shown.y) / shown.scale,
    );
    return hit === null ? null : { host: hit.tile.host.name, vm: hit.slice?.vm.id ?? null };
  };
  const onPointerMove = (event: PointerEvent): void => {
    const from = drag.current;
    if (from === null) {
      setHovered(choiceAt(event));
      return;
    }
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    from.moved ||= Math.hypot(dx, dy) > CLICK_PX;
    if (from.moved) setView(bounded({ ...from.view, x: from.view.x + dx, y: from.view.y + dy }, layout, size));
  };
  const onPointerUp = (event: PointerEvent): void => {
    if (drag.current?.moved === false) onChoose(choiceAt(event));
    drag.current = null;
  };
  const onDoubleClick = (event: Place): void => {
    const choice = choiceAt(event);
    const tile = layout.tiles.find(({ host }) => host.name === choice?.host);
    if (tile !== undefined) setView(bounded(viewOf(tile, size), layout, size));
  };
  return {
    hovered,
    handlers: {
      onPointerDown: (event: PointerEvent): void => {
        drag.current = { x: event.clientX, y: event.clientY, view: shown, moved: false };
      },
      ...{ onPointerMove, onPointerUp, onDoubleClick },
      onPointerLeave: () => setHovered(null),
    },
  };
}
