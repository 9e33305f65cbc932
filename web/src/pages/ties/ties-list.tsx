/** All ties and debts, each with its present cost. */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { tiesQuery } from '../../api/queries.ts';
import type { Tie } from '../../api/types.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { useSearch } from '../../ui/address.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { Mark } from '../../ui/mark.tsx';
import { Empty, Problem, Waiting } from '../../ui/page.tsx';
import { TieDialog } from './tie-dialog.tsx';
import { byUrgency, keyOf, pageOf, STATE_TONES, stateOf } from './ties-table.ts';

const { ties: texts } = TEXTS;
const { columns: heads } = texts;

/** Names in one line; all of them in the tooltip, and in the tie's dialogue. */
const names = (of: (tie: Tie) => readonly string[]) => ({
  value: (tie: Tie) => of(tie).join(', ') || null,
  cell: (tie: Tie) => <span title={of(tie).join(', ')}>{of(tie).join(', ')}</span>,
});
const date = (of: (tie: Tie) => string | null) => ({
  value: of,
  cell: (tie: Tie) => {
    const time = of(tie);
    return time === null ? '' : timeText(time);
  },
});

const COLUMNS: readonly Column<Tie>[] = [
  {
    ...{ id: 'state', header: heads.state, width: '130px', isFacet: true },
    value: (tie) => texts.states[stateOf(tie)],
    cell: (tie) => <Mark tone={STATE_TONES[stateOf(tie)]}>{texts.states[stateOf(tie)]}</Mark>,
  },
  {
    ...{ id: 'about', header: heads.about, width: 'minmax(110px, 1fr)', value: ({ about }: Tie) => about.name },
    cell: ({ about }) => <Link to={pageOf(about) as '/'}>{about.name}</Link>,
  },
  {
    ...{ id: 'what', header: heads.what, width: 'minmax(170px, 3fr)', value: ({ what }: Tie) => what },
    cell: ({ what }) => <span title={what}>{what}</span>,
  },
  { id: 'owner', header: heads.owner, width: 'minmax(90px, 1fr)', isFacet: true, value: ({ owner }) => owner },
  { id: 'until', header: heads.until, width: '165px', ...date(({ until }) => until) },
  // Placed before the column that is often out of sight on a narrow screen.
  { id: 'do', header: heads.action, width: '110px', value: () => null, cell: (tie) => <Open tie={tie} /> },
  { id: 'drain', header: heads.drain, width: 'minmax(130px, 1fr)', ...names(({ costs }) => costs.undrainable) },
  { id: 'loss', header: heads.loss, width: 'minmax(110px, 1fr)', ...names(({ costs }) => costs.unlosable) },
  { id: 'vms', header: heads.vms, width: 'minmax(110px, 1fr)', ...names(({ costs }) => costs.vms) },
  { id: 'reason', header: heads.reason, width: 'minmax(140px, 2fr)', value: ({ reason }) => reason },
  { id: 'since', header: heads.since, width: '165px', ...date(({ since }) => since) },
  { id: 'kind', header: heads.kind, width: '120px', isFacet: true, value: ({ kind }) => texts.kinds[kind] },
];

function Open({ tie }: { readonly tie: Tie }) {
  const { setSearch } = useSearch();
  return (
    <button type="button" className="quiet" onClick={() => setSearch({ tie: keyOf(tie) })}>
      {tie.debt === null ? texts.look : texts.renew}
    </button>
  );
}

/** See the module's comment. */
export function TiesTable() {
  const { data, error } = useQuery(tiesQuery);
  const { search, setSearch } = useSearch();
  if (data === undefined) return error === null ? <Waiting /> : <Problem error={error} />;
  const open = data.find((tie) => keyOf(tie) === search['tie']);
  return (
    <>
      <DataTable
        label={TEXTS.pages.ties}
        rows={byUrgency(data)}
        columns={COLUMNS}
        keyOf={keyOf}
        empty={<Empty title={texts.empty}>{texts.emptyHint}</Empty>}
      />
      {open === undefined ? null : <TieDialog tie={open} onClose={() => setSearch({ tie: '' })} />}
    </>
  );
}
