/** The obstacles to emptying hosts one by one, and the changes that may help. */
import { Link } from '@tanstack/react-router';
import { useList } from '../../live/lists.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Section } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';

const { roll: texts } = TEXTS;

/** `hosts`: as in the request, `all`, `rack=NAME` or names. */
export function StandsInTheWay({ hosts }: { readonly hosts: string }) {
  const words = hosts.split(/[\s,]+/);
  const chosen = useList('host').filter(({ name, rack }) =>
    words.some((word) => word === 'all' || word === name || word === `rack=${rack}`),
  );
  const blocked = chosen.filter(({ evacuability }) => evacuability.drain.possible === 'no');
  if (chosen.length === 0) return null;
  return (
    <Section title={texts.inTheWay}>
      <p>{blocked.length === 0 ? texts.eachAlone : texts.someNotAlone}</p>
      {blocked.length === 0 ? null : (
        <SmallTable
          heads={TEXTS.ties.hostHeads}
          rows={blocked.map(({ name, evacuability }) => ({
            key: name,
            cells: [
              <Link key="host" to={`/hosts/${name}` as '/'}>
                {name}
              </Link>,
              <ul key="reasons" className="plain-list">
                {evacuability.drain.because.map((reason) => (
                  <li key={reason}>{reason}</li>
                ))}
              </ul>,
            ],
          }))}
        />
      )}
    </Section>
  );
}
