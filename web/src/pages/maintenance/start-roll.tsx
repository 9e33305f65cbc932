/** Beginning a roll: how a plan that somebody has seen is carried out. */
import { Button, Checkbox, Textarea, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import type { FormEvent } from 'react';
import { dataOf, http } from '../../api/client.ts';
import type { MaintenancePlan } from '../../api/types.ts';
import { TEXTS } from '../../texts/texts.ts';
import { GpCommand } from '../../ui/command.tsx';
import { tell } from '../../ui/notices.tsx';
import { Problem, Section } from '../../ui/page.tsx';
import { type RollForm, rollCommand, rollRequest } from './plan-form.ts';

const { roll: texts } = TEXTS;

interface StartProps {
  readonly plan: MaintenancePlan;
  readonly form: RollForm;
  readonly setForm: (form: RollForm) => void;
}

/** See the module's comment. What is approved is the plan that is shown: its hash goes with the request. */
export function StartRoll({ plan, form, setForm }: StartProps) {
  const navigate = useNavigate();
  const start = useMutation({
    meta: { shownInPlace: true },
    mutationFn: () => dataOf(http.POST('/v1/rolls', { body: rollRequest(plan, form) })),
    onSuccess: ({ id }) => {
      tell(TEXTS.actionBegan(texts.title, id));
      void navigate({ to: `/maintenance/rolls/${id}` as '/' });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    start.mutate();
  };
  const change = (part: Partial<RollForm>): void => setForm({ ...form, ...part });
  const field = (name: 'change' | 'reason' | 'pre' | 'run' | 'verify' | 'workMinutes') => (
    <TextInput
      key={name}
      label={texts.fields[name]}
      value={form[name]}
      onChange={({ currentTarget }) => change({ [name]: currentTarget.value })}
    />
  );
  return (
    <Section title={texts.carryOut}>
      <form className="form" onSubmit={submit}>
        <div className="form-row">{(['change', 'reason'] as const).map(field)}</div>
        <Textarea
          label={texts.fields.windows}
          description={texts.windowsHint}
          placeholder="Sat 22:00-04:00 Europe/Berlin"
          rows={2}
          value={form.windows}
          onChange={({ currentTarget }) => change({ windows: currentTarget.value })}
        />
        <p className="hint">{texts.workHint}</p>
        <div className="form-row">{(['pre', 'run', 'verify'] as const).map(field)}</div>
        <div className="form-row">{field('workMinutes')}</div>
        <Checkbox
          label={texts.goesOn}
          checked={form.goesOn}
          onChange={({ currentTarget }) => change({ goesOn: currentTarget.checked })}
        />
        {start.error === null ? null : <Problem error={start.error} />}
        <GpCommand command={rollCommand(form)} />
        <div className="form-end">
          <Button type="submit" loading={start.isPending}>
            {texts.begin}
          </Button>
          <span className="hint">{texts.approves}</span>
        </div>
      </form>
    </Section>
  );
}
