/** All guest clusters, including undeclared ones. */
import { Link } from '@tanstack/react-router';
import type { GuestCluster } from '../../api/types.ts';
import { SHAPES } from '../../live/kinds.ts';
import { useList } from '../../live/lists.ts';
import { durationText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { Mark } from '../../ui/mark.tsx';
import { Empty, Page } from '../../ui/page.tsx';

const { guestCluster: texts } = TEXTS;
const { columns: heads } = texts;
const membersText = ({ members }: GuestCluster): string => members.map(({ vm }) => vm).join(', ');

const COLUMNS: readonly Column<GuestCluster>[] = [
  {
    ...{ id: 'name', header: heads.name, width: 'minmax(140px, 1fr)', value: ({ name }: GuestCluster) => name },
    cell: ({ name }) => (name === null ? '' : <Link to={`/guest-clusters/${name}` as '/'}>{name}</Link>),
  },
  {
    ...{ id: 'declared', header: heads.declared, width: '120px', isFacet: true },
    value: ({ declared }) => (declared ? TEXTS.yes : TEXTS.no),
    cell: ({ declared, because }) => (
      <span title={because.join('\n')}>
        <Mark tone={declared ? 'good' : 'warn'}>{declared ? TEXTS.yes : TEXTS.no}</Mark>
      </span>
    ),
  },
  { id: 'members', header: heads.members, width: 'minmax(180px, 2fr)', value: membersText },
  {
    ...{ id: 'disks', header: heads.disks, width: 'minmax(130px, 1fr)' },
    value: ({ disks }) => disks.map(({ name }) => name).join(', '),
  },
  {
    ...{ id: 'disturbed', header: heads.disturbed, width: 'minmax(130px, 1fr)' },
    value: ({ disturbed, maxDisturbed }) => `${disturbed.length} / ${maxDisturbed ?? '–'}`,
  },
  {
    ...{ id: 'tolerates', header: heads.tolerates, width: '120px', align: 'right' },
    value: ({ toleratesMs }) => toleratesMs,
    cell: ({ toleratesMs }) => (toleratesMs === null ? '' : durationText(toleratesMs)),
  },
];

/** See the module's comment. */
export function GuestClustersPage() {
  const clusters = useList('guest-cluster');
  return (
    <Page title={TEXTS.pages.guestClusters} isFilled>
      <DataTable
        label={TEXTS.pages.guestClusters}
        rows={clusters}
        columns={COLUMNS}
        keyOf={SHAPES['guest-cluster'].keyOf}
        empty={<Empty title={texts.empty}>{texts.emptyHint}</Empty>}
      />
    </Page>
  );
}
