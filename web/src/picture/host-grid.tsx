/**
 * The picture's content for keyboards and screen readers: a grid of hosts with one cell in the order of Tab, and arrow
 * keys from cell to cell.
 */
import { type KeyboardEvent, useMemo, useRef } from 'react';
import { percentOf } from '../texts/format.ts';
import { TEXTS } from '../texts/texts.ts';
import type { Choice } from './choice.ts';
import type { Layout, PictureHost } from './layout.ts';
import { gridRows, neighbourOf } from './neighbours.ts';
import type { View } from './view.ts';

interface GridProps {
  readonly layout: Layout;
  readonly view: View;
  readonly chosen: Choice | null;
  readonly onChoose: (choice: Choice) => void;
  readonly onOpen: (choice: Choice) => void;
}

/** See the module's comment. */
export function HostGrid({ layout, view, chosen, onChoose, onOpen }: GridProps) {
  const rows = useMemo(() => gridRows(layout), [layout]);
  const grid = useRef<HTMLDivElement>(null);
  const first = rows[0]?.[0]?.host.name ?? null;
  const current = layout.tiles.some(({ host }) => host.name === chosen?.host) ? (chosen?.host ?? null) : first;
  const onKeyDown = (event: KeyboardEvent): void => {
    if (current === null) return;
    const next = neighbourOf(rows, current, event.key);
    if (next !== null) {
      onChoose({ host: next, vm: null });
      grid.current?.querySelector<HTMLElement>(`[data-host="${next}"]`)?.focus();
    } else if (event.key === 'Enter' || event.key === ' ') onOpen({ host: current, vm: null });
    else return;
    event.preventDefault();
  };
  const transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
  return (
    <div
      role="grid"
      ref={grid}
      aria-label={TEXTS.picture.label}
      className="picture-grid"
      style={{ transform }}
      onKeyDown={onKeyDown}
    >
      {rows.map((row) => (
        <div role="row" key={row[0]?.host.name}>
          {row.map(({ host, x, y, width, height }) => (
            <div
              key={host.name}
              role="gridcell"
              data-host={host.name}
              tabIndex={host.name === current ? 0 : -1}
              aria-selected={host.name === chosen?.host}
              aria-label={sentenceOf(host)}
              style={{ left: x, top: y, width, height }}
              onFocus={() => {
                if (chosen?.host !== host.name) onChoose({ host: host.name, vm: null });
              }}
            />
          ))}
        </div>
      ))}
    </div>
  );
}

/** A host in words: "h17, 82 % used, 12 VMs, can be drained". */
function sentenceOf(host: PictureHost): string {
  return TEXTS.picture.sentence({
    ...{ name: host.name, rack: host.rack, mood: host.mood, vms: host.vms.length },
    usedPercent: percentOf(host.memoryUsedBytes, host.memoryTotalBytes),
    troubled: host.vms.filter(({ verdict }) => verdict !== 'running' && verdict !== 'stopped').length,
    drain: host.drain,
  });
}
