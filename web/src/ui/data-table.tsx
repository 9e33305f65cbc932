/**
 * A table of objects of the cluster. Guarantees: search, filters and order are in the address; only rows in sight are
 * in the document, however many there are; what is selected stays selected while rows change.
 */
import {
  createSortedRowModel,
  type RowData,
  type RowSelectionState,
  rowSelectionFeature,
  rowSortingFeature,
  tableFeatures,
  useTable,
} from '@tanstack/react-table';
import { useVirtualizer } from '@tanstack/react-virtual';
import { type ReactNode, useDeferredValue, useMemo, useRef, useState } from 'react';
import { TEXTS } from '../texts/texts.ts';
import { useSearch } from './address.ts';
import { type Column, compareValues, rowsOf, sortOf } from './columns.ts';
import { TableTools } from './table-tools.tsx';

const ROW_PX = 30;
const features = tableFeatures({ rowSortingFeature, rowSelectionFeature, sortedRowModel: createSortedRowModel() });

interface DataTableProps<T extends RowData> {
  /** A name for the rows, for screen readers: `VMs`. */
  readonly label: string;
  readonly rows: readonly T[];
  readonly columns: readonly Column<T>[];
  readonly keyOf: (row: T) => string;
  /** Column that orders the rows unless the address says otherwise. */
  readonly sort?: string;
  /** The actions for the rows that are selected; without them no row can be selected. */
  readonly bulk?: (selected: readonly T[], done: () => void) => ReactNode;
  /** The text of an empty table: the first thing to do. */
  readonly empty: ReactNode;
}

/** See the module's comment. */
export function DataTable<T extends RowData>(props: DataTableProps<T>) {
  const { label, columns, keyOf, bulk, empty } = props;
  const { search, setSearch } = useSearch();
  const rows = useDeferredValue(props.rows);
  const shown = useMemo(() => rowsOf(rows, columns, search), [rows, columns, search]);
  const order = sortOf(search, props.sort ?? columns[0]?.id ?? '');
  const [rowSelection, setSelection] = useState<RowSelectionState>({});
  const table = useTable({
    features,
    data: shown as T[],
    columns: useMemo(() => columns.map((column) => tableColumn(column)), [columns]),
    getRowId: keyOf,
    state: { sorting: useMemo(() => [{ id: order.id, desc: order.desc }], [order.id, order.desc]), rowSelection },
    onRowSelectionChange: setSelection,
  });
  const sorted = table.getRowModel().rows;
  const selected = useMemo(() => rows.filter((row) => rowSelection[keyOf(row)] === true), [rows, rowSelection, keyOf]);
  if (rows.length === 0) return <>{empty}</>;
  const sortBy = (id: string): void => setSearch({ sort: order.id === id && !order.desc ? `-${id}` : id });
  const isAll = sorted.length > 0 && sorted.every(({ id }) => rowSelection[id] === true);
  const all = Object.fromEntries(sorted.map(({ id }) => [id, true as const]));
  const selection = {
    isOn: bulk !== undefined,
    isAll,
    has: (id: string) => rowSelection[id] === true,
    toggleAll: () => setSelection(isAll ? {} : all),
    toggle: (id: string) => setSelection(({ [id]: was, ...others }) => (was ? others : { ...others, [id]: true })),
  };
  return (
    <div className="data-table">
      <TableTools rows={rows} columns={columns} count={shown.length}>
        {selected.length > 0 && bulk !== undefined ? (
          <div className="bulk">
            <strong>{TEXTS.selected(selected.length)}</strong>
            {bulk(selected, () => setSelection({}))}
          </div>
        ) : null}
      </TableTools>
      <Rows {...{ label, columns, order, sortBy, selection }} rows={sorted} />
    </div>
  );
}

function tableColumn<T extends RowData>({ id, value }: Column<T>) {
  return {
    ...{ id, accessorFn: value },
    sortFn: (a: { getValue: (id: string) => unknown }, b: { getValue: (id: string) => unknown }) =>
      compareValues(a.getValue(id) as string | number | null, b.getValue(id) as string | number | null),
  };
}

interface RowsProps<T extends RowData> {
  readonly label: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly { readonly id: string; readonly original: T }[];
  readonly order: { readonly id: string; readonly desc: boolean };
  readonly sortBy: (id: string) => void;
  readonly selection: Selection;
}

interface Selection {
  readonly isOn: boolean;
  readonly isAll: boolean;
  readonly has: (id: string) => boolean;
  readonly toggle: (id: string) => void;
  readonly toggleAll: () => void;
}

function Rows<T extends RowData>({ label, columns, rows, order, sortBy, selection }: RowsProps<T>) {
  const scroll = useRef<HTMLDivElement>(null);
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
    initialRect: { width: 1_000, height: 800 },
  });
  const template = {
    gridTemplateColumns: `${selection.isOn ? '34px ' : ''}${columns.map(({ width }) => width).join(' ')}`,
  };
  return (
    <section className="rows" ref={scroll} aria-label={label}>
      <div role="table" aria-label={label} aria-rowcount={rows.length + 1} className="grid-table">
        <div role="rowgroup" className="grid-head">
          <div role="row" aria-rowindex={1} className="grid-row" style={template}>
            {selection.isOn ? (
              <span role="columnheader">
                <input
                  type="checkbox"
                  aria-label={TEXTS.selectAll}
                  checked={selection.isAll}
                  onChange={selection.toggleAll}
                />
              </span>
            ) : null}
            {columns.map(({ id, header, align }) => (
              <span
                key={id}
                role="columnheader"
                className={align}
                aria-sort={order.id === id ? (order.desc ? 'descending' : 'ascending') : undefined}
              >
                <button type="button" onClick={() => sortBy(id)}>
                  {header}
                </button>
              </span>
            ))}
          </div>
        </div>
        <div role="rowgroup" className="grid-body" style={{ height: virtualizer.getTotalSize() }}>
          {virtualizer.getVirtualItems().map(({ index, start }) => {
            const row = rows[index];
            if (row === undefined) return null;
            return (
              <TableRow
                key={row.id}
                {...{ columns, template, selection, index, start }}
                id={row.id}
                row={row.original}
              />
            );
          })}
        </div>
      </div>
    </section>
  );
}

interface RowProps<T extends RowData> {
  readonly columns: readonly Column<T>[];
  readonly template: { readonly gridTemplateColumns: string };
  readonly selection: Selection;
  readonly id: string;
  readonly row: T;
  readonly index: number;
  readonly start: number;
}

function TableRow<T extends RowData>({ columns, template, selection, id, row, index, start }: RowProps<T>) {
  const isSelected = selection.has(id);
  const place = { ...template, transform: `translateY(${start}px)` };
  return (
    <div role="row" aria-rowindex={index + 2} className={isSelected ? 'grid-row selected' : 'grid-row'} style={place}>
      {selection.isOn ? (
        <span role="cell">
          <input
            type="checkbox"
            aria-label={TEXTS.selectOne(String(columns[0]?.value(row) ?? id))}
            checked={isSelected}
            onChange={() => selection.toggle(id)}
          />
        </span>
      ) : null}
      {columns.map((column) => (
        <span key={column.id} role="cell" className={column.align}>
          {column.cell === undefined ? column.value(row) : column.cell(row)}
        </span>
      ))}
    </div>
  );
}
