/** The hosts of a roll, and work on them that people do by hand and confirm here. */
import { Button, Textarea } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { sessionQuery } from '../../api/queries.ts';
import type { Roll } from '../../api/types.ts';
import { clusterNowMs } from '../../live/cluster-clock.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Dialog } from '../../ui/dialog.tsx';
import { tell } from '../../ui/notices.tsx';
import { Section } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';
import { RollHostState } from './roll-state.tsx';

const { roll: texts } = TEXTS;
type RollHost = Roll['hosts'][number];
type Step = 'pre' | 'run' | 'verify';

/** See the module's comment. */
export function RollHosts({ roll }: { readonly roll: Roll }) {
  const [asked, setAsked] = useState<RollHost | null>(null);
  return (
    <Section title={texts.hosts}>
      <SmallTable
        heads={texts.hostHeads}
        rows={roll.hosts.map((host) => ({
          key: host.host,
          cells: [
            String(host.wave),
            <Link key="host" to={`/hosts/${host.host}` as '/'}>
              {host.host}
            </Link>,
            <RollHostState key="state" state={host.state} />,
            timeText(host.since),
            host.drain === null ? (
              ''
            ) : (
              <Link key="drain" to={`/maintenance/${host.drain}` as '/'}>
                {TEXTS.drain.one}
              </Link>
            ),
            workText(host),
            host.note ?? '',
            waitingStep(roll, host) === null ? (
              ''
            ) : (
              <Button key="say" size="compact-xs" variant="default" onClick={() => setAsked(host)}>
                {texts.confirm}
              </Button>
            ),
          ],
        }))}
      />
      {asked === null ? null : <ConfirmWork roll={roll} host={asked} onClose={() => setAsked(null)} />}
    </Section>
  );
}

function workText({ work, done }: RollHost): string {
  if (work !== null) return texts.workBy(texts.bars[work.step], work.by);
  const last = done.at(-1);
  if (last === undefined) return '';
  return texts.workEnded(texts.bars[last.step], last.succeeded, last.message.split('\n')[0] ?? '');
}

/** The step that a host waits for, and that no runner has taken; null: there is none. */
function waitingStep({ endedAt }: Roll, { state, work, done }: RollHost): Step | null {
  if (endedAt !== null || (state !== 'pre' && state !== 'run' && state !== 'verify')) return null;
  if (work !== null && Date.parse(work.until) > clusterNowMs()) return null;
  const last = done.at(-1);
  return state === 'verify' && last?.step === 'verify' && last.succeeded ? null : state;
}

interface ConfirmProps {
  readonly roll: Roll;
  readonly host: RollHost;
  readonly onClose: () => void;
}

/** Lets a person confirm how work by hand ended: that it was begun and its outcome, under the person's name. */
function ConfirmWork({ roll, host: { host, state }, onClose }: ConfirmProps) {
  const step = state as Step;
  const [message, setMessage] = useState('');
  const who = useQuery(sessionQuery).data?.name ?? 'browser';
  const report = useMutation({
    mutationFn: async (outcome: 'succeeded' | 'failed') => {
      const params = { path: { roll: roll.id } };
      const said = { host, step, by: `${who.replaceAll(/[^A-Za-z0-9._@:-]/g, '-')}:by-hand` };
      await dataOf(http.POST('/v1/rolls/{roll}/work', { params, body: { ...said, outcome: 'begun' } }));
      const body = { ...said, outcome, message: message === '' ? texts.byHand : message };
      return dataOf(http.POST('/v1/rolls/{roll}/work', { params, body }));
    },
    onSuccess: (_roll, outcome) => {
      tell(TEXTS.actionBegan(texts.outcomes[outcome], host));
      onClose();
    },
  });
  return (
    <Dialog
      title={texts.confirmTitle(texts.bars[step], host)}
      action={texts.outcomes.succeeded}
      isDisabled={report.isPending}
      onClose={onClose}
      onAct={() => report.mutate('succeeded')}
    >
      <p>{texts.confirmMeans}</p>
      {roll.commands[step] === null ? null : <code>{roll.commands[step]?.replaceAll('{host}', host)}</code>}
      <Textarea
        label={texts.whatHappened}
        rows={3}
        value={message}
        onChange={({ currentTarget }) => setMessage(currentTarget.value)}
      />
      <Button size="xs" variant="default" disabled={report.isPending} onClick={() => report.mutate('failed')}>
        {texts.outcomes.failed}
      </Button>
    </Dialog>
  );
}
