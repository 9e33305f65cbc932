/** A drain as it goes: predicted against actual, what went otherwise, and what can be done about it. */
import { useMutation, useQuery } from '@tanstack/react-query';
import { dataOf, http } from '../../api/client.ts';
import { drainActionsQuery, drainQuery } from '../../api/queries.ts';
import type { Drain } from '../../api/types.ts';
import { clusterNowMs } from '../../live/cluster-clock.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { ActionButton } from '../../ui/action-button.tsx';
import { tell } from '../../ui/notices.tsx';
import { Facts, Problem, Section, Waiting } from '../../ui/page.tsx';
import { DrainState } from './drain-state.tsx';
import { PlanPicture } from './plan-picture.tsx';
import { drainBars } from './timeline.ts';

const { drain: texts } = TEXTS;

/** `drain`: its id. */
export function DrainLive({ drain: id }: { readonly drain: string }) {
  const { data: drain, error } = useQuery(drainQuery(id));
  if (drain === undefined) return error === null ? <Waiting /> : <Problem error={error} />;
  const isOver = drain.endedAt !== null;
  const nowMs = isOver ? Date.parse(drain.endedAt ?? '') : nowOf(drain);
  return (
    <>
      <Section title={texts.title(drain.hosts.join(', '))} actions={<DrainActions drain={drain} />}>
        <Facts
          facts={[
            [texts.state, <DrainState key="state" state={drain.state} />],
            [texts.progress, texts.movedOf(drain.moved, drain.planned)],
            ...(drain.stuck === null ? [] : [[texts.stuck, drain.stuck] as const]),
            [texts.who, drain.who],
            ...(drain.reason === null ? [] : [[TEXTS.plan.reason, drain.reason] as const]),
            ...(drain.change === null ? [] : [[TEXTS.plan.change, drain.change] as const]),
            [TEXTS.plan.parallel, String(drain.parallel)],
            [texts.began, timeText(drain.createdAt)],
            ...(drain.endedAt === null ? [] : [[texts.ended, timeText(drain.endedAt)] as const]),
          ]}
        />
      </Section>
      {drain.deviations.length === 0 ? null : (
        <Section title={texts.deviations}>
          <ul className="plain-list">
            {drain.deviations.map(({ at, what }) => (
              <li key={`${at} ${what}`}>
                <span className="hint">{timeText(at)}</span> {what}
              </li>
            ))}
          </ul>
        </Section>
      )}
      <PlanPicture bars={drainBars(drain, nowMs)} nowMs={isOver ? null : nowMs - Date.parse(drain.createdAt)} />
    </>
  );
}

/** The present, which is never before a time in the drain's record. */
function nowOf({ createdAt, moves }: Drain): number {
  const told = moves.flatMap(({ startedAt, endedAt }) => [startedAt ?? createdAt, endedAt ?? createdAt]);
  return Math.max(clusterNowMs(), ...told.map((time) => Date.parse(time)));
}

const VERBS = {
  pause: '/v1/drains/{drain}/pause',
  resume: '/v1/drains/{drain}/resume',
  cancel: '/v1/drains/{drain}/cancel',
} as const;

function DrainActions({ drain }: { readonly drain: Drain }) {
  const act = useMutation({
    mutationFn: (verb: keyof typeof VERBS) => dataOf(http.POST(VERBS[verb], { params: { path: { drain: drain.id } } })),
    onSuccess: (_drain, verb) => tell(TEXTS.actionBegan(texts.verbs[verb], drain.hosts.join(', '))),
  });
  const actions = useQuery(drainActionsQuery(drain.id)).data;
  if (drain.endedAt !== null) return null;
  const verbs = drain.state === 'paused' ? (['resume', 'cancel'] as const) : (['pause', 'cancel'] as const);
  return (
    <div className="page-actions">
      {verbs.map((verb) => (
        <ActionButton key={verb} action={verb} {...{ actions }} onAct={() => act.mutate(verb)}>
          {texts.verbs[verb]}
        </ActionButton>
      ))}
    </div>
  );
}
