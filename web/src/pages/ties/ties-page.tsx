/** What keeps hosts from being drained, and what somebody has to look after: each with its reasons. */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { clusterQuery } from '../../api/queries.ts';
import { useList } from '../../live/lists.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Mark } from '../../ui/mark.tsx';
import { Page, Section } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';

const { ties: texts } = TEXTS;

/** See the module. */
export function TiesPage() {
  const cluster = useQuery(clusterQuery).data;
  const blocked = useList('host').filter(({ drainable }) => !drainable);
  return (
    <Page title={TEXTS.pages.ties}>
      <Section title={texts.drainable}>
        <p>
          <Mark tone={blocked.length === 0 ? 'good' : 'bad'}>{blocked.length === 0 ? TEXTS.yes : TEXTS.no}</Mark>
        </p>
        {blocked.length === 0 ? null : (
          <SmallTable
            heads={texts.hostHeads}
            rows={blocked.map(({ name, drainBlockers }) => ({
              key: name,
              cells: [
                <Link key="host" to={`/hosts/${name}` as '/'}>
                  {name}
                </Link>,
                <ul key="reasons" className="plain-list">
                  {drainBlockers.map((reason) => (
                    <li key={reason}>{reason}</li>
                  ))}
                </ul>,
              ],
            }))}
          />
        )}
      </Section>
      <Section title={texts.alarms}>
        <SmallTable
          heads={texts.alarmHeads}
          rows={(cluster?.alarms ?? []).map(({ kind, about, message }) => ({
            key: `${kind} ${about}`,
            cells: [kind, about, message],
          }))}
        />
      </Section>
    </Page>
  );
}
