/** Storage nodes and the disks on them. */
import { Link } from '@tanstack/react-router';
import type { StorageNode } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { bytesText, percentOf } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { Mark, Meter } from '../../ui/mark.tsx';
import { Empty, Page } from '../../ui/page.tsx';

const { storage: texts } = TEXTS;
const { columns: heads } = texts;

const COLUMNS: readonly Column<StorageNode>[] = [
  {
    ...{ id: 'name', header: heads.name, width: 'minmax(120px, 1fr)', value: ({ name }: StorageNode) => name },
    cell: ({ name }) => <Link to={`/storage/${name}` as '/'}>{name}</Link>,
  },
  {
    ...{ id: 'state', header: heads.state, width: '110px', isFacet: true, value: ({ state }: StorageNode) => state },
    cell: ({ state, because }) => (
      <span title={because.join('\n')}>
        <Mark tone={state === 'alive' ? 'good' : 'bad'}>{state}</Mark>
      </span>
    ),
  },
  { id: 'disks', header: heads.disks, width: '80px', align: 'right', value: ({ disks }) => disks },
  {
    ...{ id: 'used', header: heads.used, width: 'minmax(190px, 1fr)' },
    value: ({ usedBytes, totalBytes }) => percentOf(usedBytes ?? 0, totalBytes ?? 0),
    cell: ({ name, usedBytes, totalBytes }) =>
      usedBytes === null || totalBytes === null ? (
        TEXTS.unknown
      ) : (
        <>
          <Meter part={usedBytes} whole={totalBytes} label={texts.usedOf(name)} /> {percentOf(usedBytes, totalBytes)} %{' '}
          {TEXTS.summary.of(bytesText(totalBytes))}
        </>
      ),
  },
  { id: 'room', header: heads.room, width: '110px', isFacet: true, value: ({ room }) => room },
  {
    ...{ id: 'faults', header: heads.faults, width: 'minmax(140px, 2fr)' },
    value: ({ faults }) => faults.join('; '),
  },
];

const keyOf = ({ name }: StorageNode): string => name;

/** See the module's comment. */
export function StoragePage() {
  const nodes = useList('storage');
  return (
    <Page title={TEXTS.pages.storage} isFilled>
      <DataTable
        label={TEXTS.pages.storage}
        rows={nodes}
        columns={COLUMNS}
        keyOf={keyOf}
        empty={<Empty title={texts.empty}>{texts.emptyHint}</Empty>}
      />
    </Page>
  );
}
