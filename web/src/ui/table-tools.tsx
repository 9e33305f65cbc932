/** Above a table: search, filters, filters that were saved, and how many rows are left. */
import { NativeSelect, TextInput } from '@mantine/core';
import { type ReactNode, useState } from 'react';
import { TEXTS } from '../texts/texts.ts';
import { useSearch } from './address.ts';
import { type Column, facetValues } from './columns.ts';
import { forgetFilter, savedFilters, saveFilter } from './saved-filters.ts';
import { type Search, searchText } from './search.ts';

interface ToolsProps<T> {
  readonly rows: readonly T[];
  readonly columns: readonly Column<T>[];
  readonly count: number;
  readonly children: ReactNode;
}

/** See the module's comment. */
export function TableTools<T>({ rows, columns, count, children }: ToolsProps<T>) {
  const { search, setSearch } = useSearch();
  const facets = columns.filter(({ isFacet }) => isFacet);
  const nothing = Object.fromEntries(['q', ...facets.map(({ id }) => id)].map((name) => [name, '']));
  const isNarrowed = Object.keys(nothing).some((name) => (search[name] ?? '') !== '');
  return (
    <div className="table-tools">
      <TextInput
        type="search"
        size="xs"
        aria-label={TEXTS.search}
        placeholder={TEXTS.search}
        value={search['q'] ?? ''}
        onChange={({ currentTarget }) => setSearch({ q: currentTarget.value })}
      />
      {facets.map((column) => (
        <NativeSelect
          key={column.id}
          size="xs"
          aria-label={TEXTS.filterBy(column.header)}
          value={search[column.id] ?? ''}
          data={[
            { value: '', label: TEXTS.anyOf(column.header) },
            ...withChosen(facetValues(rows, column), search[column.id]),
          ]}
          onChange={({ currentTarget }) => setSearch({ [column.id]: currentTarget.value })}
        />
      ))}
      {isNarrowed ? (
        <button type="button" className="quiet" onClick={() => setSearch(nothing)}>
          {TEXTS.clearFilters}
        </button>
      ) : null}
      <SavedFilters isNarrowed={isNarrowed} nothing={nothing} />
      {children}
      <span className="count" role="status">
        {TEXTS.shownOf(count, rows.length)}
      </span>
    </div>
  );
}

/** A filter stays visible also where no row has its value now. */
function withChosen(values: readonly string[], chosen: string | undefined): string[] {
  return chosen === undefined || chosen === '' || values.includes(chosen) ? [...values] : [chosen, ...values];
}

/** Filters under a name, kept by the browser for each page. */
function SavedFilters({ isNarrowed, nothing }: { readonly isNarrowed: boolean; readonly nothing: Search }) {
  const { search: address, setSearch } = useSearch();
  const search = Object.fromEntries(Object.keys({ ...nothing, sort: '' }).map((name) => [name, address[name] ?? '']));
  const page = location.pathname;
  const [saved, setSaved] = useState(() => savedFilters(page));
  const current = searchText(search);
  const chosen = saved.find((each) => searchText(each.search) === current);
  const save = (): void => {
    const name = prompt(TEXTS.nameOfFilter)?.trim() ?? '';
    if (name !== '') setSaved(saveFilter(page, { name, search }));
  };
  return (
    <>
      {saved.length > 0 ? (
        <NativeSelect
          size="xs"
          aria-label={TEXTS.savedFilters}
          value={chosen?.name ?? ''}
          data={[{ value: '', label: TEXTS.savedFilters }, ...saved.map(({ name }) => name)]}
          onChange={({ currentTarget }) => {
            const filter = saved.find(({ name }) => name === currentTarget.value);
            if (filter !== undefined) setSearch({ ...nothing, ...filter.search });
          }}
        />
      ) : null}
      {isNarrowed && chosen === undefined ? (
        <button type="button" className="quiet" onClick={save}>
          {TEXTS.saveFilter}
        </button>
      ) : null}
      {chosen === undefined ? null : (
        <button type="button" className="quiet" onClick={() => setSaved(forgetFilter(page, chosen.name))}>
          {TEXTS.forgetFilter}
        </button>
      )}
    </>
  );
}
