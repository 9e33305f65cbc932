/** The bar at the top: the cluster's two promises, alarms, search, appearance, who is logged in. */
import { Menu, useMantineColorScheme } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { clusterQuery } from '../api/queries.ts';
import { useLiveState } from '../live/connection.ts';
import { TEXTS } from '../texts/texts.ts';
import { useLogOut } from './session.ts';

interface BarProps {
  readonly onTree: () => void;
  readonly onSearch: () => void;
}

/** See the module's comment. */
export function Bar({ onTree, onSearch }: BarProps) {
  return (
    <header className="bar">
      <button type="button" className="bar-button only-narrow" aria-label={TEXTS.tree.open} onClick={onTree}>
        ☰
      </button>
      <Link to="/" className="brand">
        <img src="/mark.svg" alt="" width={22} height={22} />
        <span>{TEXTS.product}</span>
      </Link>
      <Promises />
      <span className="bar-space" />
      <LiveSign />
      <button type="button" className="bar-search" onClick={onSearch}>
        <span>{TEXTS.palette.open}</span>
        <kbd>Ctrl K</kbd>
      </button>
      <Person />
    </header>
  );
}

/** The part of the page that has the reasons. */
const REASONS = { tab: 'reasons' };

/** "Every host can be drained", and what somebody has to look after. */
function Promises() {
  const cluster = useQuery(clusterQuery).data;
  if (cluster === undefined) return null;
  const { evacuability, alarms } = cluster;
  const { possible, refused } = evacuability.drain;
  return (
    <div className="promises">
      <Link to="/ties" search={REASONS as never} className={`chip tone-${possible === 'no' ? 'bad' : 'good'}`}>
        {TEXTS.promises.drainable(possible, refused)}
      </Link>
      {alarms.length > 0 ? (
        <Link to="/ties" search={REASONS as never} className="chip tone-warn">
          {TEXTS.promises.alarms(alarms.length)}
        </Link>
      ) : null}
    </div>
  );
}

function LiveSign() {
  const state = useLiveState();
  return (
    <span className={`live-sign live-${state}`} role="status">
      <span aria-hidden="true" />
      {TEXTS.live[state === 'lost' ? 'offline' : state]}
    </span>
  );
}

function Person() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const logOut = useLogOut();
  const schemes = ['auto', 'light', 'dark'] as const;
  return (
    <Menu position="bottom-end" withinPortal={false} transitionProps={{ duration: 0 }}>
      <Menu.Target>
        <button type="button" className="bar-button" aria-label={TEXTS.menu.label}>
          ⋯
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{TEXTS.menu.appearance}</Menu.Label>
        {schemes.map((scheme) => (
          <Menu.Item key={scheme} onClick={() => setColorScheme(scheme)}>
            {colorScheme === scheme ? '● ' : '○ '}
            {TEXTS.menu[scheme]}
          </Menu.Item>
        ))}
        <Menu.Divider />
        <Menu.Item component={Link} to="/settings">
          {TEXTS.pages.settings}
        </Menu.Item>
        <Menu.Item onClick={() => logOut.mutate()}>{TEXTS.menu.logOut}</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
