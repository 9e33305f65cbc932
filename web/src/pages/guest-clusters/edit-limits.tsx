/**
 * Changing the limits of a guest cluster: only differences are sent, and only if nobody else changed it in the
 * meantime.
 */
import { Button, Textarea, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { guestClusterQuery } from '../../api/queries.ts';
import type { GuestCluster } from '../../api/types.ts';
import { TEXTS } from '../../texts/texts.ts';
import { AcceptForm, useSignature } from '../../ui/accept-form.tsx';
import { GpCommand } from '../../ui/command.tsx';
import { tell } from '../../ui/notices.tsx';
import { Problem, Section } from '../../ui/page.tsx';
import { type LimitsForm, limitsCommand, limitsOf, limitsPatch, type PatchGuestCluster } from './limits-form.ts';

const { guestCluster: texts } = TEXTS;

/** See the module's comment. `cluster`: one that somebody declared. */
export function EditLimits({ cluster }: { readonly cluster: GuestCluster }) {
  const name = cluster.name ?? '';
  const [before, setBefore] = useState({ form: limitsOf(cluster), revision: cluster.revision ?? '' });
  const [form, setForm] = useState(before.form);
  const cache = useQueryClient();
  const patch = limitsPatch(before.form, form);
  const isChanged = Object.keys(patch).length > 0;
  const signature = useSignature(patch);
  const save = useMutation({
    meta: { shownInPlace: true },
    mutationFn: (unsigned: PatchGuestCluster) => {
      const params = { path: { guestCluster: name }, header: { 'If-Match': before.revision } };
      return dataOf(http.PATCH('/v1/guest-clusters/{guestCluster}', { params, body: signature.signed(unsigned) }));
    },
    onError: signature.hear,
    onSuccess: (changed) => {
      tell(TEXTS.vm.form.saved(name));
      setBefore({ form: limitsOf(changed), revision: changed.revision ?? '' });
      setForm(limitsOf(changed));
      void cache.invalidateQueries({ queryKey: guestClusterQuery(name).queryKey });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    save.mutate(patch);
  };
  const field = (key: Exclude<keyof LimitsForm, 'quiet'>, hint: string | null = null) => (
    <TextInput
      label={texts.fields[key]}
      inputMode={key === 'readyCommand' ? 'text' : 'decimal'}
      {...(hint === null ? {} : { placeholder: hint })}
      value={form[key]}
      onChange={({ currentTarget: { value } }) => setForm({ ...form, [key]: value })}
    />
  );
  return (
    <Section title={texts.change}>
      <form className="form" onSubmit={submit}>
        <div className="form-row">
          {field('maxDisturbed')}
          {field('toleratesS')}
          {field('noticeS', texts.noNotice)}
        </div>
        <div className="form-row">
          {field('readyCommand', texts.noReadyCheck)}
          {field('readyS')}
        </div>
        <p className="hint">{texts.readyHint}</p>
        <Textarea
          label={texts.fields.quiet}
          description={texts.quietHint}
          placeholder="Mon-Fri 08:00-18:00 Europe/London"
          rows={2}
          value={form.quiet}
          onChange={({ currentTarget: { value } }) => setForm({ ...form, quiet: value })}
        />
        <AcceptForm signature={signature} />
        {save.error === null ? null : <Problem error={save.error} />}
        {isChanged ? <GpCommand command={signature.command(limitsCommand(name, patch))} /> : null}
        <div className="form-end">
          <Button type="submit" disabled={!isChanged} loading={save.isPending}>
            {TEXTS.save}
          </Button>
        </div>
      </form>
    </Section>
  );
}
