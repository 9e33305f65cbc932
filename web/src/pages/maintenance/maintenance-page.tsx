/** All drains: those that run, and the records of those that ended. */
import { Link } from '@tanstack/react-router';
import type { DrainSummary } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { Empty, Page } from '../../ui/page.tsx';
import { DrainState } from './drain-state.tsx';
import { MaintenanceTabs, PlanLink } from './maintenance-tabs.tsx';

const { columns: heads } = TEXTS.drain;

const COLUMNS: readonly Column<DrainSummary>[] = [
  {
    ...{ id: 'hosts', header: heads.hosts, width: 'minmax(140px, 1fr)' },
    value: ({ hosts }) => hosts.join(', '),
    cell: ({ id, hosts }) => <Link to={`/maintenance/${id}` as '/'}>{hosts.join(', ')}</Link>,
  },
  {
    ...{ id: 'state', header: heads.state, width: '130px', isFacet: true },
    value: ({ state }) => TEXTS.drain.states[state],
    cell: ({ state }) => <DrainState state={state} />,
  },
  {
    ...{ id: 'moved', header: heads.moved, width: '110px', align: 'right', value: ({ moved }: DrainSummary) => moved },
    cell: ({ moved, planned }) => TEXTS.drain.movedOf(moved, planned),
  },
  { id: 'who', header: heads.who, width: 'minmax(90px, 1fr)', value: ({ who }) => who, isFacet: true },
  { id: 'reason', header: heads.reason, width: 'minmax(160px, 2fr)', value: ({ reason }) => reason },
  { id: 'change', header: heads.change, width: 'minmax(90px, 1fr)', value: ({ change }) => change },
  {
    ...{ id: 'began', header: heads.began, width: '160px', value: ({ createdAt }: DrainSummary) => createdAt },
    cell: ({ createdAt }) => timeText(createdAt),
  },
  {
    ...{ id: 'ended', header: heads.ended, width: '160px', value: ({ endedAt }: DrainSummary) => endedAt },
    cell: ({ endedAt }) => (endedAt === null ? '' : timeText(endedAt)),
  },
];

const keyOf = ({ id }: DrainSummary): string => id;

/** See the module's comment. */
export function MaintenancePage() {
  const drains = useList('drain');
  return (
    <Page title={TEXTS.pages.maintenance} isFilled actions={<PlanLink />}>
      <MaintenanceTabs />
      <DataTable
        label={TEXTS.pages.maintenance}
        rows={drains}
        columns={COLUMNS}
        keyOf={keyOf}
        sort="-began"
        empty={<Empty title={TEXTS.drain.empty}>{TEXTS.drain.emptyHint}</Empty>}
      />
    </Page>
  );
}
