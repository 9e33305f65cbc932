/** The latest events. */
import { Link } from '@tanstack/react-router';
import type { Event } from '../../api/types.ts';
import { SHAPES } from '../../live/kinds.ts';
import { useList } from '../../live/lists.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { Empty, Page } from '../../ui/page.tsx';

const { columns: heads } = TEXTS.event;

const COLUMNS: readonly Column<Event>[] = [
  { id: 'at', header: heads.at, width: '160px', value: ({ at }) => at, cell: ({ at }) => timeText(at) },
  { id: 'kind', header: heads.kind, width: '170px', value: ({ kind }) => kind, isFacet: true },
  {
    ...{ id: 'vm', header: heads.vm, width: 'minmax(110px, 1fr)', value: ({ vm }: Event) => vm },
    cell: ({ vm }) => (vm === null ? '' : <Link to={`/vms/${vm}` as '/'}>{vm}</Link>),
  },
  {
    ...{ id: 'host', header: heads.host, width: 'minmax(80px, 1fr)', value: ({ host }: Event) => host, isFacet: true },
    cell: ({ host }) => (host === null ? '' : <Link to={`/hosts/${host}` as '/'}>{host}</Link>),
  },
  { id: 'generation', header: heads.generation, width: '90px', align: 'right', value: ({ generation }) => generation },
  { id: 'message', header: heads.message, width: 'minmax(280px, 4fr)', value: ({ message }) => message },
];

/** See the module's comment. */
export function EventsPage() {
  const events = useList('event');
  return (
    <Page title={TEXTS.pages.events} isFilled>
      <DataTable
        label={TEXTS.pages.events}
        rows={events}
        columns={COLUMNS}
        keyOf={SHAPES.event.keyOf}
        sort="-at"
        empty={<Empty title={TEXTS.event.empty} />}
      />
    </Page>
  );
}
