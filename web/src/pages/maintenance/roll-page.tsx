/** One roll: its waves as they go, and its record afterwards. */
import { useMutation, useQueries, useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { useState } from 'react';
import { movesCsv } from '../../../../src/cli/maintenance/record-csv.ts';
import { rollMarkdown } from '../../../../src/cli/maintenance/record-markdown.ts';
import { dataOf, http } from '../../api/client.ts';
import { drainQuery, rollActionsQuery, rollQuery } from '../../api/queries.ts';
import type { Drain, Roll } from '../../api/types.ts';
import { clusterNowMs } from '../../live/cluster-clock.ts';
import { durationText, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { ActionButton } from '../../ui/action-button.tsx';
import { GpCommand } from '../../ui/command.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { type ExportForm, ExportMenu } from '../../ui/export-menu.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { tell } from '../../ui/notices.tsx';
import { Facts, Page, Problem, Section, Waiting } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';
import { resumeCommand } from './plan-form.ts';
import { RollHosts } from './roll-hosts.tsx';
import { RollPicture } from './roll-picture.tsx';
import { RollState } from './roll-state.tsx';
import { rollLanes } from './roll-timeline.ts';

const { roll: texts } = TEXTS;

/** See the module's comment. */
export function RollPage() {
  const { roll: id } = useParams({ strict: false }) as { readonly roll: string };
  const { data: roll, error } = useQuery(rollQuery(id));
  const drains = useQueries({ queries: (roll?.drains ?? []).map(drainQuery) }).flatMap(({ data }) => data ?? []);
  if (roll === undefined) return <Page title={id}>{error === null ? <Waiting /> : <Problem error={error} />}</Page>;
  const isWhole = drains.length === roll.drains.length;
  return (
    <Page
      title={id}
      state={<RollState roll={roll} />}
      actions={
        <>
          <RollActions roll={roll} />
          <ExportMenu file={id} forms={isWhole ? exportsOf(roll, drains) : null} />
        </>
      }
    >
      <Picture roll={roll} drains={drains} />
      <RollHosts roll={roll} />
      <About roll={roll} />
      {roll.deviations.length === 0 ? null : (
        <Section title={texts.deviations}>
          <ul className="plain-list">
            {roll.deviations.map(({ at, what }) => (
              <li key={`${at} ${what}`}>
                <span className="hint">{timeText(at)}</span> {what}
              </li>
            ))}
          </ul>
        </Section>
      )}
    </Page>
  );
}

function exportsOf(roll: Roll, drains: readonly Drain[]): readonly ExportForm[] {
  return [
    { name: texts.exports.markdown, type: 'text/markdown', content: () => rollMarkdown(roll, drains) },
    { name: texts.exports.csv, type: 'text/csv', content: () => movesCsv(drains) },
    { name: texts.exports.json, type: 'application/json', content: () => JSON.stringify({ roll, drains }, null, 2) },
  ];
}

function Picture({ roll, drains }: { readonly roll: Roll; readonly drains: readonly Drain[] }) {
  const beganMs = Date.parse(roll.createdAt);
  const told = [...roll.hosts.map(({ since }) => since), ...drains.flatMap(({ endedAt }) => endedAt ?? [])];
  const isOver = roll.endedAt !== null;
  const nowMs = Math.max(isOver ? Date.parse(roll.endedAt ?? '') : clusterNowMs(), ...told.map((at) => Date.parse(at)));
  return (
    <RollPicture lanes={rollLanes(roll, drains, nowMs)} beganMs={beganMs} nowMs={isOver ? null : nowMs - beganMs} />
  );
}

function About({ roll }: { readonly roll: Roll }) {
  const { commands } = roll;
  const longest = Math.max(0, ...roll.foretold.map(({ pauseMs }) => pauseMs));
  return (
    <Section title={texts.about}>
      <Facts
        facts={[
          [texts.columns.done, texts.doneOf(roll.done, roll.planned, roll.failed)],
          ...(roll.held === null ? [] : [[texts.held, roll.held] as const]),
          ...(roll.waitsFor === null ? [] : [[texts.waitsFor, roll.waitsFor] as const]),
          [texts.columns.who, roll.who],
          ...(roll.reason === null ? [] : [[texts.columns.reason, roll.reason] as const]),
          ...(roll.change === null ? [] : [[texts.columns.change, roll.change] as const]),
          [texts.fields.windows, roll.windows.join('; ') || texts.anyTime],
          ...roll.freezes.map(
            ({ from, until, reason }) => [texts.freeze, `${timeText(from)} – ${timeText(until)}: ${reason}`] as const,
          ),
          [texts.limits.maxUnavailable, String(roll.maxUnavailable)],
          [texts.limits.perRack, roll.perRack === null ? texts.noLimit : String(roll.perRack)],
          [texts.longestPause, durationText(longest)],
          ...(['pre', 'run', 'verify'] as const).flatMap((step) => {
            const command = commands[step];
            return command === null ? [] : [[texts.fields[step], <code key={step}>{command}</code>] as const];
          }),
          [texts.hash, <code key="hash">{roll.hash}</code>],
          [texts.columns.began, timeText(roll.createdAt)],
          ...(roll.endedAt === null ? [] : [[texts.columns.ended, timeText(roll.endedAt)] as const]),
        ]}
      />
      {roll.waitsFor === null ? null : <GpCommand command={resumeCommand(roll.id, commands)} />}
      {roll.forecast.length === 0 && roll.wouldNotFit.length === 0 ? null : (
        <SmallTable
          heads={texts.forecastHeads}
          rows={[
            ...roll.forecast.map(({ from, until, waves }) => ({
              key: from,
              cells: [timeText(from), until === null ? texts.noEnd : timeText(until), waves.join(', ')],
            })),
            ...(roll.wouldNotFit.length === 0
              ? []
              : [{ key: 'never', cells: [texts.fitsNowhere, '', roll.wouldNotFit.join(', ')] }]),
          ]}
        />
      )}
    </Section>
  );
}

const VERBS = { pause: '/v1/rolls/{roll}/pause', abort: '/v1/rolls/{roll}/abort' } as const;
type Verb = 'pause' | 'resume' | 'retry' | 'abort';

function RollActions({ roll }: { readonly roll: Roll }) {
  const [isAborting, setAborting] = useState(false);
  const act = useMutation({
    mutationFn: (verb: Verb) => {
      const params = { path: { roll: roll.id } };
      if (verb === 'pause' || verb === 'abort') return dataOf(http.POST(VERBS[verb], { params }));
      return dataOf(http.POST('/v1/rolls/{roll}/resume', { params, body: { retry: verb === 'retry' } }));
    },
    onSuccess: (_roll, verb) => tell(TEXTS.actionBegan(texts.verbs[verb], roll.id)),
  });
  const actions = useQuery(rollActionsQuery(roll.id)).data;
  if (roll.endedAt !== null) return null;
  const verbs: readonly Verb[] = [
    roll.state === 'paused' ? 'resume' : 'pause',
    ...(roll.failed > 0 ? (['retry'] as const) : []),
  ];
  return (
    <>
      {verbs.map((verb) => (
        <ActionButton key={verb} action={verb} {...{ actions }} onAct={() => act.mutate(verb)}>
          {texts.verbs[verb]}
        </ActionButton>
      ))}
      <ActionButton action="abort" {...{ actions }} onAct={() => setAborting(true)}>
        {texts.verbs.abort}
      </ActionButton>
      {isAborting ? (
        <Dialog
          title={TEXTS.actionBegan(texts.verbs.abort, roll.id)}
          action={texts.verbs.abort}
          isDangerous
          onClose={() => setAborting(false)}
          onAct={() => {
            act.mutate('abort');
            setAborting(false);
          }}
        >
          <p>{texts.abortMeans}</p>
          <GpCommand command={gpCommand(['maintenance', 'abort', roll.id])} />
        </Dialog>
      ) : null}
    </>
  );
}
