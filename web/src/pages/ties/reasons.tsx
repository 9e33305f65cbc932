/** The reasons why hosts cannot be drained, and the things that a person has to look after. */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { clusterQuery } from '../../api/queries.ts';
import { useList } from '../../live/lists.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Section } from '../../ui/page.tsx';
import { Possible } from '../../ui/possible.tsx';
import { SmallTable } from '../../ui/small-table.tsx';

const { ties: texts } = TEXTS;

/** See the module's comment. */
export function Reasons() {
  const cluster = useQuery(clusterQuery).data;
  const hosts = useList('host');
  return (
    <>
      <Question
        title={texts.drainable}
        answer={cluster?.evacuability.drain.possible ?? 'unknown'}
        refused={hosts.map(({ name, evacuability }) => ({ name, ...evacuability.drain }))}
      />
      <Question
        title={texts.losable}
        answer={cluster?.evacuability.loss.possible ?? 'unknown'}
        refused={hosts.map(({ name, evacuability }) => ({ name, ...evacuability.loss }))}
      />
      <Section title={texts.alarms}>
        <SmallTable
          heads={texts.alarmHeads}
          rows={(cluster?.alarms ?? []).map(({ kind, about, message }) => ({
            key: `${kind} ${about}`,
            cells: [kind, about, message],
          }))}
        />
      </Section>
    </>
  );
}

interface Answer {
  readonly name: string;
  readonly possible: 'yes' | 'no' | 'unknown';
  readonly because: readonly string[];
}

interface QuestionProps {
  readonly title: string;
  readonly answer: Answer['possible'];
  readonly refused: readonly Answer[];
}

function Question({ title, answer, refused }: QuestionProps) {
  const blocked = refused.filter(({ possible }) => possible === 'no');
  return (
    <Section title={title}>
      <p>
        <Possible answer={answer} />
      </p>
      {blocked.length === 0 ? null : (
        <SmallTable
          heads={texts.hostHeads}
          rows={blocked.map(({ name, because }) => ({
            key: name,
            cells: [
              <Link key="host" to={`/hosts/${name}` as '/'}>
                {name}
              </Link>,
              <ul key="reasons" className="plain-list">
                {because.map((reason) => (
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
