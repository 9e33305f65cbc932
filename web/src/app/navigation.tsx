/** The pages that are no objects of the tree. */
import { Link } from '@tanstack/react-router';
import { TEXTS } from '../texts/texts.ts';
import { PAGE_PATHS } from './palette-entries.ts';

const PAGES = ['cluster', 'vms', 'maintenance', 'ties', 'events', 'settings'] as const;

/** `onGo`: somebody chose one. */
export function Navigation({ onGo }: { readonly onGo: () => void }) {
  return (
    <ul className="navigation">
      {PAGES.map((page) => (
        <li key={page}>
          <Link to={PAGE_PATHS[page]} onClick={onGo} activeOptions={{ exact: page === 'cluster' }}>
            {TEXTS.pages[page]}
          </Link>
        </li>
      ))}
    </ul>
  );
}
