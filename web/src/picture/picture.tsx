/**
 * The picture of the cluster: two canvases, and above them the same as a grid of cells for keyboards and screen readers
 * (one model; the cell that has the focus is framed on the canvas).
 */
import { useEffect, useMemo, useRef, useState } from 'react';
import { TEXTS } from '../texts/texts.ts';
import type { Choice } from './choice.ts';
import { HostGrid } from './host-grid.tsx';
import { layoutOf, type PictureHost } from './layout.ts';
import type { PictureTie } from './tie-links.ts';
import { useCanvases } from './use-canvases.ts';
import { usePointer } from './use-pointer.ts';
import { bounded, type View, WHOLE, zoomed } from './view.ts';
import './picture.css';

interface PictureProps {
  readonly hosts: readonly PictureHost[];
  readonly chosen: Choice | null;
  /** Ties that there are, of which those of the chosen one are drawn. */
  readonly ties: readonly PictureTie[];
  readonly onChoose: (choice: Choice | null) => void;
  readonly onOpen: (choice: Choice) => void;
}

const ZOOM_STEP = 1.5;

/** See the module's comment. */
export function Picture({ hosts, chosen, ties, onChoose, onOpen }: PictureProps) {
  const frame = useRef<HTMLDivElement>(null);
  const size = useSize(frame);
  const layout = useMemo(() => layoutOf(hosts, size), [hosts, size]);
  const [view, setView] = useState<View>(WHOLE);
  const shown = bounded(view, layout, size);
  const zoom = (factor: number, at = { x: size.width / 2, y: size.height / 2 }): void =>
    setView(bounded(zoomed(shown, factor, at), layout, size));
  useWheel(frame, zoom);
  const pointer = usePointer({ frame, layout, size, shown, setView, onChoose });
  const canvases = useCanvases({ layout, view: shown, size, hovered: pointer.hovered, chosen, ties });
  return (
    <div className="picture">
      <div className="picture-frame" ref={frame} {...pointer.handlers}>
        <canvas ref={canvases.lower} />
        <canvas ref={canvases.upper} />
        <HostGrid {...{ layout, view: shown, chosen, onChoose, onOpen }} />
      </div>
      <div className="picture-zoom">
        <button type="button" aria-label={TEXTS.picture.zoomIn} onClick={() => zoom(ZOOM_STEP)}>
          +
        </button>
        <button type="button" aria-label={TEXTS.picture.zoomOut} onClick={() => zoom(1 / ZOOM_STEP)}>
          −
        </button>
        <button type="button" aria-label={TEXTS.picture.whole} onClick={() => setView(WHOLE)}>
          ⤢
        </button>
      </div>
    </div>
  );
}

const NO_SIZE = { width: 0, height: 0 };

function useSize(frame: React.RefObject<HTMLDivElement | null>) {
  const [size, setSize] = useState(NO_SIZE);
  useEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => setSize({ width: element.clientWidth, height: element.clientHeight }));
    observer.observe(element);
    return () => observer.disconnect();
  }, [frame]);
  return size;
}

/** The wheel zooms; React's own handlers may not keep the page from scrolling. */
function useWheel(
  frame: React.RefObject<HTMLDivElement | null>,
  zoom: (factor: number, at: { x: number; y: number }) => void,
): void {
  const latest = useRef(zoom);
  useEffect(() => {
    latest.current = zoom;
  });
  useEffect(() => {
    const element = frame.current;
    const onWheel = (event: WheelEvent): void => {
      event.preventDefault();
      const box = element?.getBoundingClientRect();
      latest.current(Math.exp(-event.deltaY / 400), {
        x: event.clientX - (box?.left ?? 0),
        y: event.clientY - (box?.top ?? 0),
      });
    };
    element?.addEventListener('wheel', onWheel, { passive: false });
    return () => element?.removeEventListener('wheel', onWheel);
  }, [frame]);
}
