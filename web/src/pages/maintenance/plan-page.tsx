/** Maintenance of many hosts: what it would do, wave after wave, and the roll that carries it out. */
import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { planMarkdown } from '../../../../src/cli/maintenance/record-markdown.ts';
import { dataOf, http } from '../../api/client.ts';
import type { MaintenancePlan } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { byName, bytesText, durationText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { useSearch } from '../../ui/address.ts';
import { GpCommand } from '../../ui/command.tsx';
import { ExportMenu } from '../../ui/export-menu.tsx';
import { Facts, Page, Problem, Section } from '../../ui/page.tsx';
import { NEW_PLAN, NEW_ROLL, type PlanForm, planCommand, planRequest, type RollForm, workMsOf } from './plan-form.ts';
import { MovesTable, Peaks, Timeline } from './plan-picture.tsx';
import { RollPicture } from './roll-picture.tsx';
import { movesOfPlan, plannedLanes } from './roll-timeline.ts';
import { StandsInTheWay } from './stands-in-the-way.tsx';
import { StartRoll } from './start-roll.tsx';
import { plannedBars } from './timeline.ts';

const { roll: texts } = TEXTS;

/** See the module's comment. `hosts` in the address says which hosts the form begins with. */
export function PlanPage() {
  const { search } = useSearch();
  const [form, setForm] = useState<PlanForm>({ ...NEW_PLAN, hosts: search['hosts'] ?? NEW_PLAN.hosts });
  const [roll, setRoll] = useState<RollForm>(NEW_ROLL);
  const make = useMutation({
    meta: { shownInPlace: true },
    mutationFn: (asked: PlanForm) => dataOf(http.POST('/v1/maintenance-plan', { body: planRequest(asked) })),
  });
  const plan = make.data;
  const forms = plan === undefined ? null : exportsOf(plan);
  return (
    <Page title={texts.plan} actions={<ExportMenu file="plan" forms={forms} />}>
      <Section title={texts.asked}>
        <AskForPlan form={form} setForm={setForm} isPending={make.isPending} onAsk={() => make.mutate(form)} />
      </Section>
      {make.error === null ? null : (
        <>
          <Problem error={make.error} />
          <StandsInTheWay hosts={form.hosts} />
        </>
      )}
      {plan === undefined || make.isPending ? null : <Planned plan={plan} roll={roll} setRoll={setRoll} />}
    </Page>
  );
}

function exportsOf(plan: MaintenancePlan) {
  return [
    { name: texts.exports.planMarkdown, type: 'text/markdown', content: () => planMarkdown(plan) },
    { name: texts.exports.planJson, type: 'application/json', content: () => JSON.stringify(plan, null, 2) },
  ] as const;
}

interface AskProps {
  readonly form: PlanForm;
  readonly setForm: (form: PlanForm) => void;
  readonly isPending: boolean;
  readonly onAsk: () => void;
}

function AskForPlan({ form, setForm, isPending, onAsk }: AskProps) {
  const hosts = useList('host-row');
  const racks = [...new Set(hosts.flatMap(({ rack }) => rack ?? []))].sort(byName).map((rack) => `rack=${rack}`);
  const isListed = form.hosts === 'all' || racks.includes(form.hosts);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    onAsk();
  };
  const change = (part: Partial<PlanForm>): void => setForm({ ...form, ...part });
  return (
    <form className="form" onSubmit={submit}>
      <div className="form-row">
        <NativeSelect
          label={texts.which}
          value={isListed ? form.hosts : ''}
          data={[
            { value: 'all', label: texts.all },
            ...racks.map((rack) => ({ value: rack, label: texts.rack(rack.slice('rack='.length)) })),
            { value: '', label: texts.byNames },
          ]}
          onChange={({ currentTarget }) => change({ hosts: currentTarget.value })}
        />
        {isListed ? null : (
          <TextInput
            label={texts.names}
            placeholder="h1, h2, h7"
            value={form.hosts}
            onChange={({ currentTarget }) => change({ hosts: currentTarget.value })}
          />
        )}
      </div>
      <div className="form-row">
        {(['maxUnavailable', 'perRack', 'parallel'] as const).map((field) => (
          <TextInput
            key={field}
            label={texts.limits[field]}
            placeholder={field === 'perRack' ? texts.noLimit : ''}
            inputMode="numeric"
            value={form[field]}
            onChange={({ currentTarget }) => change({ [field]: currentTarget.value })}
          />
        ))}
      </div>
      <GpCommand command={planCommand(form)} />
      <div className="form-end">
        <Button type="submit" loading={isPending} disabled={form.hosts.trim() === ''}>
          {texts.makePlan}
        </Button>
        <span className="hint">{texts.changesNothing}</span>
      </div>
    </form>
  );
}

interface PlannedProps {
  readonly plan: MaintenancePlan;
  readonly roll: RollForm;
  readonly setRoll: (form: RollForm) => void;
}

function Planned({ plan, roll, setRoll }: PlannedProps) {
  const [wave, setWave] = useState(0);
  const workMs = workMsOf(roll);
  const moves = plan.waves.flatMap((each) => each.moves);
  const pauseMs = Math.max(0, ...moves.map(({ foretoldPauseMs }) => foretoldPauseMs));
  const slow = moves.filter(({ converges }) => !converges).map(({ vm }) => vm);
  const shown = plan.waves[wave];
  return (
    <>
      <Section title={texts.wouldDo}>
        <Facts
          facts={[
            [texts.columns.hosts, String(plan.waves.reduce((sum, { hosts }) => sum + hosts.length, 0))],
            [texts.columns.waves, String(plan.waves.length)],
            [TEXTS.plan.moves, String(moves.length)],
            [TEXTS.plan.copies, bytesText(plan.movedBytes)],
            [
              TEXTS.plan.takes,
              texts.takes(
                durationText(plan.durationMs),
                workMs === 0 ? null : durationText(workMs * plan.waves.length),
              ),
            ],
            [texts.longestPause, durationText(pauseMs)],
            ...(slow.length === 0 ? [] : [[texts.writesFaster, slow.join(', ')] as const]),
            [texts.hash, <code key="hash">{plan.hash}</code>],
          ]}
        />
      </Section>
      <RollPicture lanes={plannedLanes(plan, workMs)} beganMs={null} nowMs={null} />
      <StartRoll plan={plan} form={roll} setForm={setRoll} />
      <Peaks bars={movesOfPlan(plan, workMs)} isBefore />
      <Section
        title={texts.wave}
        actions={
          <NativeSelect
            aria-label={texts.wave}
            size="xs"
            value={String(wave)}
            data={plan.waves.map(({ hosts }, index) => ({
              value: String(index),
              label: texts.waveOf(index + 1, hosts.join(', ')),
            }))}
            onChange={({ currentTarget }) => setWave(Number(currentTarget.value))}
          />
        }
      >
        <p className="hint">{texts.waveHint}</p>
      </Section>
      {shown === undefined ? null : shown.moves.length === 0 ? (
        <p className="hint">{TEXTS.plan.nothing}</p>
      ) : (
        <>
          <Timeline bars={plannedBars(shown)} nowMs={null} />
          <MovesTable bars={plannedBars(shown)} />
        </>
      )}
    </>
  );
}
