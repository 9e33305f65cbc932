/** The pages that are no objects of the tree. */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { clusterQuery } from '../api/queries.ts';
import { TEXTS } from '../texts/texts.ts';
import { PAGE_PATHS } from './palette-entries.ts';

const PAGES = ['cluster', 'vms', 'maintenance', 'ties', 'events', 'settings'] as const;
/** Pages that only a one-machine cluster has. */
const LAB_PAGES = [...PAGES, 'faults'] as const;

/** `onGo`: somebody chose one. */
export function Navigation({ onGo }: { readonly onGo: () => void }) {
  const hasLab = useQuery(clusterQuery).data?.lab === true;
  return (
    <ul className="navigation">
      {(hasLab ? LAB_PAGES : PAGES).map((page) => (
        <li key={page}>
          <Link to={PAGE_PATHS[page]} onClick={onGo} activeOptions={{ exact: page === 'cluster' }}>
            {TEXTS.pages[page]}
          </Link>
        </li>
      ))}
    </ul>
  );
}
