/** What the guest of a VM says of itself through its agent. It is asked when somebody looks, once a minute at most. */
import { useQuery } from '@tanstack/react-query';
import { vmGuestQuery } from '../../api/queries.ts';
import type { VmGuest as Guest } from '../../api/types.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Mark } from '../../ui/mark.tsx';
import { Facts, Problem, Section, Waiting } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';

const { guest: texts } = TEXTS;

/** See the module's comment. */
export function VmGuest({ vm }: { readonly vm: string }) {
  const { data: guest, error } = useQuery(vmGuestQuery(vm));
  return (
    <Section title={texts.title}>
      {error === null ? null : <Problem error={error} />}
      {guest === undefined ? error === null ? <Waiting /> : null : <Said guest={guest} />}
    </Section>
  );
}

function Said({ guest: { agent, because, askedAt, os, kernel, hostname, interfaces } }: { readonly guest: Guest }) {
  if (agent !== 'answers')
    return (
      <>
        <p>
          <Mark tone="off">{texts.agents[agent]}</Mark>
        </p>
        {because === null ? null : <p className="hint">{because}</p>}
      </>
    );
  return (
    <>
      <Facts
        facts={[
          [texts.system, os ?? TEXTS.unknown],
          [texts.kernel, kernel ?? TEXTS.unknown],
          [texts.hostname, hostname ?? TEXTS.unknown],
          ...(askedAt === null ? [] : [[texts.asked, timeText(askedAt)] as const]),
        ]}
      />
      {interfaces.length === 0 ? null : (
        <SmallTable
          heads={texts.interfaceHeads}
          rows={interfaces.map(({ name, mac, addresses }) => ({
            key: name,
            cells: [name, mac ?? '', addresses.join(', ')],
          }))}
        />
      )}
    </>
  );
}
