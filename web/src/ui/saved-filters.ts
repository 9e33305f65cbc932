/** Filters of tables under names, in the browser's own storage: no secret, and nothing that the cluster has to know. */
import { parseSearch, type Search, searchText } from './search.ts';

/** One filter. */
export interface SavedFilter {
  readonly name: string;
  readonly search: Search;
}

const PREFIX = 'groundplane-filters:';
/** The most filters of each page; the oldest is dropped first. */
const FILTERS_MAX = 50;

/** The filters of a page, by the order in which they were saved. */
export function savedFilters(page: string): readonly SavedFilter[] {
  return Object.entries(parseSearch(localStorage.getItem(PREFIX + page) ?? '')).map(([name, search]) => ({
    name,
    search: parseSearch(search),
  }));
}

/** Saves a filter, in place of one of the same name; returns all of the page. */
export function saveFilter(page: string, filter: SavedFilter): readonly SavedFilter[] {
  const others = savedFilters(page).filter(({ name }) => name !== filter.name);
  return write(page, [...others, filter].slice(-FILTERS_MAX));
}

/** Forgets a filter; returns those that are left. */
export function forgetFilter(page: string, gone: string): readonly SavedFilter[] {
  return write(
    page,
    savedFilters(page).filter(({ name }) => name !== gone),
  );
}

function write(page: string, filters: readonly SavedFilter[]): readonly SavedFilter[] {
  const texts = Object.fromEntries(filters.map(({ name, search }) => [name, searchText(search)]));
  localStorage.setItem(PREFIX + page, searchText(texts));
  return filters;
}
