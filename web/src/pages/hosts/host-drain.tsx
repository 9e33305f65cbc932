/** Draining a host: what it would do, before it begins; and while it runs, the same picture live. */
import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { type FormEvent, useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { drainPlanQuery } from '../../api/queries.ts';
import type { Host } from '../../api/types.ts';
import { bytesText, durationText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { GpCommand } from '../../ui/command.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { tell } from '../../ui/notices.tsx';
import { Empty, Facts, Problem, Section, Waiting } from '../../ui/page.tsx';
import { DrainLive } from '../maintenance/drain-live.tsx';
import { PlanPicture } from '../maintenance/plan-picture.tsx';
import { plannedBars } from '../maintenance/timeline.ts';

const { plan: texts } = TEXTS;
const PARALLEL_MAX = 8;

/** See the module's comment. */
export function HostDrain({ host }: { readonly host: Host }) {
  return host.maintenance === null ? <Plan host={host} /> : <DrainLive drain={host.maintenance.drain} />;
}

function Plan({ host }: { readonly host: Host }) {
  const [parallel, setParallel] = useState(2);
  const { data: plan, error, isFetching } = useQuery(drainPlanQuery(host.name, parallel));
  return (
    <>
      <Section title={texts.title(host.name)}>
        <DrainForm {...{ host, parallel, setParallel }} canBegin={plan !== undefined} />
        {plan === undefined ? null : (
          <Facts
            facts={[
              [texts.takes, durationText(plan.durationMs)],
              [texts.moves, String(plan.moves.length)],
              [texts.copies, bytesText(plan.movedBytes)],
            ]}
          />
        )}
      </Section>
      {error === null ? null : <Problem error={error} />}
      {plan === undefined && isFetching ? <Waiting /> : null}
      {plan === undefined ? null : plan.moves.length === 0 ? (
        <Empty title={texts.nothing}>{texts.nothingHint}</Empty>
      ) : (
        <PlanPicture bars={plannedBars(plan)} nowMs={null} />
      )}
    </>
  );
}

interface FormProps {
  readonly host: Host;
  readonly parallel: number;
  readonly setParallel: (parallel: number) => void;
  readonly canBegin: boolean;
}

function DrainForm({ host, parallel, setParallel, canBegin }: FormProps) {
  const [reason, setReason] = useState('');
  const [change, setChange] = useState('');
  const navigate = useNavigate();
  const drain = useMutation({
    meta: { shownInPlace: true },
    mutationFn: () => {
      const said = { ...(reason === '' ? {} : { reason }), ...(change === '' ? {} : { change }) };
      const params = { path: { host: host.name } };
      return dataOf(http.POST('/v1/hosts/{host}/drain', { params, body: { parallel, ...said } }));
    },
    onSuccess: ({ id }) => {
      tell(TEXTS.actionBegan(TEXTS.host.drain, host.name));
      void navigate({ to: `/maintenance/${id}` as '/' });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    drain.mutate();
  };
  const counts = Array.from({ length: PARALLEL_MAX }, (_, n) => String(n + 1));
  return (
    <form className="form" onSubmit={submit}>
      <div className="form-row">
        <NativeSelect
          label={texts.parallel}
          value={String(parallel)}
          data={counts}
          onChange={({ currentTarget }) => setParallel(Number(currentTarget.value))}
        />
        <TextInput
          label={texts.reason}
          value={reason}
          onChange={({ currentTarget }) => setReason(currentTarget.value)}
        />
        <TextInput
          label={texts.change}
          value={change}
          onChange={({ currentTarget }) => setChange(currentTarget.value)}
        />
      </div>
      {drain.error === null ? null : <Problem error={drain.error} />}
      <GpCommand command={gpCommand(['host', 'drain', host.name], { parallel, reason, change })} />
      <div className="form-end">
        <Button type="submit" loading={drain.isPending} disabled={!canBegin}>
          {texts.begin}
        </Button>
      </div>
    </form>
  );
}
