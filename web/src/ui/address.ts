/** The query part of the page's address, which keeps search, filters and order. */
import { useNavigate, useRouterState } from '@tanstack/react-router';
import { useCallback } from 'react';
import type { Search } from './search.ts';

/** Reads the query part; `setSearch` changes the given parts and keeps the others. */
export function useSearch(): { readonly search: Search; readonly setSearch: (parts: Search) => void } {
  const search = useRouterState({ select: ({ location }) => location.search as unknown as Search });
  const navigate = useNavigate();
  const setSearch = useCallback(
    (parts: Search) =>
      void navigate({ to: '.', search: ((before: Search) => ({ ...before, ...parts })) as never, replace: true }),
    [navigate],
  );
  return { search, setSearch };
}
