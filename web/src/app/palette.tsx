/** The command palette (Ctrl+K): finds objects, pages and actions by what is typed. */
import { useNavigate } from '@tanstack/react-router';
import { type KeyboardEvent, useEffect, useId, useMemo, useState } from 'react';
import { useList } from '../live/lists.ts';
import { TEXTS } from '../texts/texts.ts';
import { DialogFrame } from '../ui/dialog.tsx';
import { type Found, findEntries, type PaletteEntry, paletteEntries } from './palette-entries.ts';

/** Opens the palette by Ctrl+K, or by what calls `open`. */
export function usePaletteKey() {
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    const onKey = (event: globalThis.KeyboardEvent): void => {
      if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      setOpen(true);
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  return { isOpen, open: () => setOpen(true), close: () => setOpen(false) };
}

/** See the module's comment. */
export function Palette({ onClose }: { readonly onClose: () => void }) {
  const [typed, setTyped] = useState('');
  const [at, setAt] = useState(0);
  const entries = useEntries();
  const found = useMemo(() => findEntries(entries, typed), [entries, typed]);
  const navigate = useNavigate();
  const listId = useId();
  const choose = ({ to, search }: PaletteEntry): void => {
    onClose();
    void navigate({ to: to as '/', search: (search ?? {}) as never });
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const chosen = found[at];
    if (event.key === 'ArrowDown') setAt(Math.min(found.length - 1, at + 1));
    else if (event.key === 'ArrowUp') setAt(Math.max(0, at - 1));
    else if (event.key === 'Enter' && chosen !== undefined) choose(chosen);
    else return;
    event.preventDefault();
  };
  return (
    <DialogFrame title={TEXTS.palette.title} isFlush onClose={onClose}>
      <input
        className="palette-input"
        role="combobox"
        aria-expanded="true"
        aria-controls={listId}
        aria-activedescendant={found.length > 0 ? `${listId}-${at}` : undefined}
        aria-label={TEXTS.palette.title}
        placeholder={TEXTS.palette.placeholder}
        data-autofocus
        value={typed}
        onChange={({ currentTarget }) => {
          setTyped(currentTarget.value);
          setAt(0);
        }}
        onKeyDown={onKeyDown}
      />
      <Results {...{ found, at, listId, choose }} />
    </DialogFrame>
  );
}

interface ResultsProps {
  readonly found: readonly Found[];
  readonly at: number;
  readonly listId: string;
  readonly choose: (entry: PaletteEntry) => void;
}

function Results({ found, at, listId, choose }: ResultsProps) {
  return (
    <div className="palette-list" role="listbox" id={listId} aria-label={TEXTS.palette.title}>
      {found.map((entry, place) => (
        <div
          key={entry.key}
          id={`${listId}-${place}`}
          role="option"
          tabIndex={-1}
          aria-selected={place === at}
          className="palette-entry"
          onClick={() => choose(entry)}
          onKeyDown={undefined}
        >
          <span className="palette-kind">{entry.kind}</span>
          {entry.text}
          {entry.detail === null ? null : <span className="hint">{entry.detail}</span>}
        </div>
      ))}
      {found.length === 0 ? <p className="hint">{TEXTS.palette.nothing}</p> : null}
    </div>
  );
}

function useEntries(): readonly PaletteEntry[] {
  const hosts = useList('host-row');
  const vms = useList('vm-row');
  const clusters = useList('guest-cluster');
  const networks = useList('network');
  const storage = useList('storage');
  const images = useList('image');
  return useMemo(
    () => paletteEntries({ hosts, vms, clusters, networks, storage, images }),
    [hosts, vms, clusters, networks, storage, images],
  );
}
