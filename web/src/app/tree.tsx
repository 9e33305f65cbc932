/**
 * The tree at the left: racks, hosts and VMs, guest clusters, networks, storage, images. One line has the keyboard's
 * focus (roving); only lines in sight are in the document.
 */
import { useNavigate, useRouterState } from '@tanstack/react-router';
import { useVirtualizer } from '@tanstack/react-virtual';
import { type KeyboardEvent, useMemo, useRef, useState } from 'react';
import { useEstate } from '../live/estate.ts';
import { useList } from '../live/lists.ts';
import { TEXTS } from '../texts/texts.ts';
import { VerdictMark } from '../ui/mark.tsx';
import { type TreeRow, treeRows } from './tree-rows.ts';

const LINE_PX = 26;

/** `onGo`: somebody chose a line that leads to a page. */
export function Tree({ onGo }: { readonly onGo: () => void }) {
  const rows = useRows();
  const navigate = useNavigate();
  const path = useRouterState({ select: ({ location }) => location.pathname });
  const scroll = useRef<HTMLDivElement>(null);
  const [focused, setFocused] = useState(0);
  const virtualizer = useVirtualizer({
    ...{ count: rows.lines.length, getScrollElement: () => scroll.current, estimateSize: () => LINE_PX },
    ...{ overscan: 10, initialRect: { width: 250, height: 800 } },
  });
  const go = (row: TreeRow): void => {
    if (row.to === null) {
      rows.toggle(row.key);
      return;
    }
    void navigate({ to: row.to as '/' });
    onGo();
  };
  const focus = (place: number): void => {
    const at = Math.max(0, Math.min(rows.lines.length - 1, place));
    setFocused(at);
    virtualizer.scrollToIndex(at);
    requestAnimationFrame(() => scroll.current?.querySelector<HTMLElement>(`[data-place="${at}"]`)?.focus());
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const row = rows.lines[focused];
    if (row === undefined) return;
    const target = targetOf(event.key, rows.lines, focused);
    if (target !== null) focus(target);
    else if (event.key === 'ArrowRight' && row.isOpen === false) rows.toggle(row.key);
    else if (event.key === 'ArrowLeft' && row.isOpen === true) rows.toggle(row.key);
    else if (event.key === 'Enter' || event.key === ' ') go(row);
    else return;
    event.preventDefault();
  };
  return (
    <div className="tree-scroll" ref={scroll}>
      <div
        role="tree"
        aria-label={TEXTS.tree.label}
        tabIndex={-1}
        style={{ height: virtualizer.getTotalSize() }}
        onKeyDown={onKeyDown}
      >
        {virtualizer.getVirtualItems().map(({ index, start }) => {
          const row = rows.lines[index];
          if (row === undefined) return null;
          const isHere = row.to === path;
          const hasFocus = index === Math.min(focused, rows.lines.length - 1);
          return (
            <TreeLine
              key={row.key}
              {...{ row, index, start, isHere, hasFocus }}
              onGo={() => {
                setFocused(index);
                go(row);
              }}
              onToggle={() => rows.toggle(row.key)}
            />
          );
        })}
      </div>
    </div>
  );
}

/** The target of an arrow key, or null if the key does something else. */
function targetOf(key: string, rows: readonly TreeRow[], at: number): number | null {
  const level = rows[at]?.level ?? 1;
  if (key === 'ArrowDown') return at + 1;
  if (key === 'ArrowUp') return at - 1;
  if (key === 'Home') return 0;
  if (key === 'End') return rows.length - 1;
  if (key === 'ArrowRight' && rows[at]?.isOpen === true) return at + 1;
  if (key !== 'ArrowLeft' || rows[at]?.isOpen === true || level === 1) return null;
  return rows.findLastIndex((row, place) => place < at && row.level < level);
}

function useRows() {
  const estate = useEstate();
  const clusters = useList('guest-cluster');
  const networks = useList('network');
  const storage = useList('storage');
  const images = useList('image');
  const [toggled, setToggled] = useState<ReadonlySet<string>>(new Set());
  const lines = useMemo(() => {
    const section = (key: keyof typeof TEXTS.pages, to: string, names: readonly string[]) => {
      return { key, text: TEXTS.pages[key], to, names };
    };
    const others = [
      section(
        'guestClusters',
        '/guest-clusters',
        clusters.flatMap(({ name }) => name ?? []),
      ),
      section(
        'networks',
        '/networks',
        networks.map(({ name }) => name),
      ),
      section(
        'storage',
        '/storage',
        storage.map(({ name }) => name),
      ),
      section(
        'images',
        '/images',
        images.map(({ name }) => name),
      ),
    ];
    return treeRows({ estate, others, toggled });
  }, [estate, clusters, networks, storage, images, toggled]);
  const toggle = (key: string): void => setToggled((before) => toggledSet(before, key));
  return { lines, toggle };
}

function toggledSet(before: ReadonlySet<string>, key: string): ReadonlySet<string> {
  const after = new Set(before);
  if (!after.delete(key)) after.add(key);
  return after;
}

interface LineProps {
  readonly row: TreeRow;
  readonly index: number;
  readonly start: number;
  readonly isHere: boolean;
  readonly hasFocus: boolean;
  readonly onGo: () => void;
  readonly onToggle: () => void;
}

function TreeLine({ row, index, start, isHere, hasFocus, onGo, onToggle }: LineProps) {
  const { level, text, kind, isOpen, count, verdict, isTroubled } = row;
  return (
    <div
      role="treeitem"
      aria-level={level}
      aria-expanded={isOpen ?? undefined}
      aria-selected={isHere}
      data-place={index}
      tabIndex={hasFocus ? 0 : -1}
      className={`tree-line kind-${kind} level-${level}`}
      style={{ transform: `translateY(${start}px)` }}
      onClick={onGo}
      onKeyDown={undefined}
    >
      <span
        className={isOpen === null ? 'twist' : isOpen ? 'twist open' : 'twist closed'}
        aria-hidden="true"
        onClick={(event) => {
          if (isOpen === null) return;
          event.stopPropagation();
          onToggle();
        }}
      />
      {verdict === null ? null : <VerdictMark verdict={verdict} isShort />}
      <span className="tree-text">{text}</span>
      {isTroubled ? <span className="dot tone-bad" title={TEXTS.host.troubled} /> : null}
      {count === null ? null : <span className="tree-count">{count}</span>}
    </div>
  );
}
