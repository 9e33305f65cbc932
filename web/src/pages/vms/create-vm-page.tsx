/** Creating a VM. */
import { Button, Checkbox, NativeSelect, Textarea, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { type FormEvent, useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { useList } from '../../live/lists.ts';
import { TEXTS } from '../../texts/texts.ts';
import { AcceptForm, useSignature } from '../../ui/accept-form.tsx';
import { GpCommand } from '../../ui/command.tsx';
import { tell } from '../../ui/notices.tsx';
import { Page, Problem, Section } from '../../ui/page.tsx';
import { AdmissionSays, useAdmission } from './admission.tsx';
import { type CreateVm, createCommand, createRequest, NEW_VM, type NewVm, pinChoices } from './vm-form.ts';
import './vm-form.css';

const { form: texts } = TEXTS.vm;

/** See the module's comment. */
export function CreateVmPage() {
  const [form, setForm] = useState<NewVm>(NEW_VM);
  const navigate = useNavigate();
  const request = createRequest(form);
  const checked = useAdmission(form.name === '' ? null : request, (signal) =>
    dataOf(http.POST('/v1/vms/check', { body: request, signal })),
  );
  const signature = useSignature(request, checked.answer?.acceptance);
  const create = useMutation({
    meta: { shownInPlace: true },
    mutationFn: (unsigned: CreateVm) => dataOf(http.POST('/v1/vms', { body: signature.signed(unsigned) })),
    onError: signature.hear,
    onSuccess: ({ name }) => {
      tell(TEXTS.actionBegan(TEXTS.vm.create, name));
      void navigate({ to: `/vms/${name}` as '/' });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    create.mutate(request);
  };
  const change = (part: Partial<NewVm>): void => setForm((before) => ({ ...before, ...part }));
  return (
    <Page title={TEXTS.vm.create}>
      <Section title={texts.title}>
        <form className="form" onSubmit={submit}>
          <MainFields form={form} change={change} />
          <MoreFields form={form} change={change} />
          <AdmissionSays checked={checked} fine={({ node }) => TEXTS.admission.created(form.name, node ?? '')} />
          <AcceptForm signature={signature} />
          {create.error === null ? null : <Problem error={create.error} />}
          <GpCommand command={signature.command(createCommand(form))} />
          <div className="form-end">
            <Button type="submit" loading={create.isPending} disabled={form.name === ''}>
              {TEXTS.create}
            </Button>
          </div>
        </form>
      </Section>
    </Page>
  );
}

interface FieldsProps {
  readonly form: NewVm;
  readonly change: (part: Partial<NewVm>) => void;
}

function MainFields({ form, change }: FieldsProps) {
  const images = useList('image').map(({ name }) => name);
  const networks = useList('network').map(({ name }) => name);
  return (
    <>
      <TextInput
        label={texts.name}
        description={texts.nameHint}
        required
        autoComplete="off"
        value={form.name}
        onChange={({ currentTarget }) => change({ name: currentTarget.value })}
      />
      <div className="form-row">
        <NativeSelect
          label={texts.image}
          value={form.image}
          data={[{ value: '', label: texts.noImage }, ...images]}
          onChange={({ currentTarget }) => change({ image: currentTarget.value })}
        />
        <NativeSelect
          label={texts.network}
          value={form.network}
          data={[{ value: '', label: texts.noNetwork }, ...networks]}
          onChange={({ currentTarget }) => change({ network: currentTarget.value })}
        />
      </div>
      <div className="form-row">
        {(['vcpus', 'memoryMib', 'diskGib'] as const).map((field) => (
          <TextInput
            key={field}
            label={texts[field]}
            placeholder={texts.ofImage}
            inputMode="decimal"
            value={form[field]}
            onChange={({ currentTarget }) => change({ [field]: currentTarget.value })}
          />
        ))}
      </div>
    </>
  );
}

function MoreFields({ form, change }: FieldsProps) {
  const hosts = useList('host').map(({ name }) => name);
  return (
    <>
      <TextInput
        label={texts.labels}
        description={texts.labelsHint}
        value={form.labels}
        onChange={({ currentTarget }) => change({ labels: currentTarget.value })}
      />
      <div className="form-row">
        <TextInput
          label={texts.antiAffinity}
          value={form.antiAffinity}
          onChange={({ currentTarget }) => change({ antiAffinity: currentTarget.value })}
        />
        <NativeSelect
          label={texts.restartPolicy}
          value={form.restartPolicy}
          data={[{ value: '', label: texts.standard }, ...texts.policies]}
          onChange={({ currentTarget }) => change({ restartPolicy: currentTarget.value })}
        />
        <NativeSelect
          label={texts.pin}
          value={form.pin}
          data={[{ value: '', label: texts.anyHost }, ...pinChoices(form.pin, hosts)]}
          onChange={({ currentTarget }) => change({ pin: currentTarget.value })}
        />
      </div>
      <Textarea
        label={texts.userData}
        description={texts.userDataHint}
        rows={4}
        value={form.userData}
        onChange={({ currentTarget }) => change({ userData: currentTarget.value })}
      />
      <Checkbox
        label={texts.display}
        checked={form.hasDisplay}
        onChange={({ currentTarget }) => change({ hasDisplay: currentTarget.checked })}
      />
      <Checkbox
        label={texts.start}
        checked={form.isStarted}
        onChange={({ currentTarget }) => change({ isStarted: currentTarget.checked })}
      />
    </>
  );
}
