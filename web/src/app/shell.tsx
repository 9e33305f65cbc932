/** The frame of every page: bar, tree, tray, palette. */
import { Outlet } from '@tanstack/react-router';
import { useState } from 'react';
import { useIsOutdated, useLiveState } from '../live/connection.ts';
import { TEXTS } from '../texts/texts.ts';
import { Bar } from './bar.tsx';
import { Navigation } from './navigation.tsx';
import { Palette, usePaletteKey } from './palette.tsx';
import { Tray } from './tray.tsx';
import { Tree } from './tree.tsx';

/** See the module's comment. */
export function Shell() {
  const [isTreeOpen, setTreeOpen] = useState(false);
  const palette = usePaletteKey();
  return (
    <div className={isTreeOpen ? 'shell tree-open' : 'shell'}>
      <a className="skip" href="#main">
        {TEXTS.skipToPage}
      </a>
      <Bar onTree={() => setTreeOpen(!isTreeOpen)} onSearch={palette.open} />
      <LiveNotice />
      <nav className="tree-panel" aria-label={TEXTS.tree.label}>
        <Navigation onGo={() => setTreeOpen(false)} />
        <Tree onGo={() => setTreeOpen(false)} />
      </nav>
      <main id="main" tabIndex={-1}>
        <Outlet />
      </main>
      <Tray />
      {palette.isOpen ? <Palette onClose={palette.close} /> : null}
    </div>
  );
}

/** A lost connection, and a server that was upgraded. */
function LiveNotice() {
  const state = useLiveState();
  const isOutdated = useIsOutdated();
  if (state === 'lost')
    return (
      <div className="live-notice tone-bad" role="alert">
        {TEXTS.live.lost}
      </div>
    );
  if (!isOutdated) return null;
  return (
    <div className="live-notice tone-busy" role="status">
      {TEXTS.live.outdated}{' '}
      <button type="button" onClick={() => location.reload()}>
        {TEXTS.live.reload}
      </button>
    </div>
  );
}
