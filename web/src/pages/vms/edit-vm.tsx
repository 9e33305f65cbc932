/** Changing a VM: only differences are sent, and only if nobody else changed the VM in the meantime. */
import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { vmQuery } from '../../api/queries.ts';
import type { VmDetail } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { TEXTS } from '../../texts/texts.ts';
import { AcceptForm, useSignature } from '../../ui/accept-form.tsx';
import { GpCommand } from '../../ui/command.tsx';
import { tell } from '../../ui/notices.tsx';
import { Problem, Section } from '../../ui/page.tsx';
import { AdmissionSays, useAdmission } from './admission.tsx';
import { type EditedVm, labelsText, type PatchVm, patchCommand, patchRequest, pinChoices } from './vm-form.ts';

const MIB = 2 ** 20;
const { form: texts } = TEXTS.vm;

function formOf({ spec, labels }: VmDetail): EditedVm {
  return {
    ...{ vcpus: String(spec.vcpus), memoryMib: String(spec.memoryBytes / MIB), labels: labelsText(labels) },
    ...{ antiAffinity: spec.antiAffinity ?? '', restartPolicy: spec.restartPolicy, pin: spec.pin ?? '' },
  };
}

/** See the module's comment. */
export function EditVm({ vm }: { readonly vm: VmDetail }) {
  const [before, setBefore] = useState({ form: formOf(vm), revision: vm.revision });
  const [form, setForm] = useState(before.form);
  const cache = useQueryClient();
  const patch = patchRequest(before.form, form);
  const isChanged = Object.keys(patch).length > 0;
  const checked = useAdmission(isChanged ? patch : null, (signal) =>
    dataOf(http.POST('/v1/vms/{vm}/check', { params: { path: { vm: vm.name } }, body: patch, signal })),
  );
  const signature = useSignature(patch, checked.answer?.acceptance);
  const save = useMutation({
    meta: { shownInPlace: true },
    mutationFn: (unsigned: PatchVm) => {
      const params = { path: { vm: vm.name }, header: { 'If-Match': before.revision } };
      return dataOf(http.PATCH('/v1/vms/{vm}', { params, body: signature.signed(unsigned) }));
    },
    onError: signature.hear,
    onSuccess: ({ revision }) => {
      tell(texts.saved(vm.name));
      setBefore({ form, revision });
      void cache.invalidateQueries({ queryKey: vmQuery(vm.name).queryKey });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    save.mutate(patch);
  };
  return (
    <Section title={TEXTS.vm.tabs.edit}>
      <form className="form" onSubmit={submit}>
        <Fields form={form} change={(part) => setForm({ ...form, ...part })} />
        <AdmissionSays checked={checked} fine={() => TEXTS.admission.changed(vm.name)} />
        <AcceptForm signature={signature} />
        {save.error === null ? null : <Problem error={save.error} />}
        {isChanged ? <GpCommand command={signature.command(patchCommand(vm.name, patch))} /> : null}
        <div className="form-end">
          <Button type="submit" disabled={!isChanged} loading={save.isPending}>
            {TEXTS.save}
          </Button>
        </div>
      </form>
    </Section>
  );
}

interface FieldsProps {
  readonly form: EditedVm;
  readonly change: (part: Partial<EditedVm>) => void;
}

function Fields({ form, change }: FieldsProps) {
  const hosts = useList('host').map(({ name }) => name);
  const text = (field: keyof EditedVm, hint: string | null = null) => (
    <TextInput
      label={texts[field]}
      {...(hint === null ? {} : { description: hint })}
      value={form[field]}
      onChange={({ currentTarget: { value } }) => change({ [field]: value })}
    />
  );
  return (
    <>
      <div className="form-row">
        {text('vcpus', texts.whileStopped)}
        {text('memoryMib', texts.whileStopped)}
      </div>
      {text('labels', texts.labelsHint)}
      <div className="form-row">
        {text('antiAffinity')}
        <NativeSelect
          label={texts.restartPolicy}
          value={form.restartPolicy}
          data={[...texts.policies]}
          onChange={({ currentTarget: { value } }) => change({ restartPolicy: value })}
        />
        <NativeSelect
          label={texts.pin}
          value={form.pin}
          data={[{ value: '', label: texts.anyHost }, ...pinChoices(form.pin, hosts)]}
          onChange={({ currentTarget: { value } }) => change({ pin: value })}
        />
      </div>
    </>
  );
}
