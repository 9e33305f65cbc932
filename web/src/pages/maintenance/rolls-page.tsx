/** All rolls: those that run, and the records of those that ended. */
import { Link } from '@tanstack/react-router';
import type { RollSummary } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { Empty, Page } from '../../ui/page.tsx';
import { MaintenanceTabs, PlanLink } from './maintenance-tabs.tsx';
import { RollState } from './roll-state.tsx';

const { roll: texts } = TEXTS;
const { columns: heads } = texts;

const COLUMNS: readonly Column<RollSummary>[] = [
  {
    ...{ id: 'id', header: heads.id, width: 'minmax(150px, 1fr)', value: ({ id }: RollSummary) => id },
    cell: ({ id }) => <Link to={`/maintenance/rolls/${id}` as '/'}>{id}</Link>,
  },
  {
    ...{ id: 'state', header: heads.state, width: '130px', isFacet: true },
    value: ({ state }) => texts.states[state],
    cell: (roll) => <RollState roll={roll} />,
  },
  {
    ...{ id: 'done', header: heads.done, width: '120px', align: 'right', value: ({ done }: RollSummary) => done },
    cell: ({ done, planned, failed }) => texts.doneOf(done, planned, failed),
  },
  { id: 'waves', header: heads.waves, width: '80px', align: 'right', value: ({ waves }) => waves },
  { id: 'who', header: heads.who, width: 'minmax(90px, 1fr)', value: ({ who }) => who, isFacet: true },
  { id: 'reason', header: heads.reason, width: 'minmax(160px, 2fr)', value: ({ reason }) => reason },
  { id: 'change', header: heads.change, width: 'minmax(90px, 1fr)', value: ({ change }) => change },
  {
    ...{ id: 'began', header: heads.began, width: '160px', value: ({ createdAt }: RollSummary) => createdAt },
    cell: ({ createdAt }) => timeText(createdAt),
  },
  {
    ...{ id: 'ended', header: heads.ended, width: '160px', value: ({ endedAt }: RollSummary) => endedAt },
    cell: ({ endedAt }) => (endedAt === null ? '' : timeText(endedAt)),
  },
];

const keyOf = ({ id }: RollSummary): string => id;

/** See the module's comment. */
export function RollsPage() {
  const rolls = useList('roll');
  return (
    <Page title={texts.list} isFilled actions={<PlanLink />}>
      <MaintenanceTabs />
      <DataTable
        label={texts.list}
        rows={rolls}
        columns={COLUMNS}
        keyOf={keyOf}
        sort="-began"
        empty={<Empty title={texts.empty}>{texts.emptyHint}</Empty>}
      />
    </Page>
  );
}
