/** Changing a VM: only what differs is sent, and only while nobody else changed the VM meanwhile. */
import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { vmQuery } from '../../api/queries.ts';
import type { VmDetail } from '../../api/types.ts';
import { TEXTS } from '../../texts/texts.ts';
import { GpCommand } from '../../ui/command.tsx';
import { tell } from '../../ui/notices.tsx';
import { Problem, Section } from '../../ui/page.tsx';
import { AdmissionSays } from './admission.tsx';
import { type EditedVm, labelsText, patchCommand, patchRequest } from './vm-form.ts';

const MIB = 2 ** 20;
const { form: texts } = TEXTS.vm;

function formOf({ spec, labels }: VmDetail): EditedVm {
  return {
    ...{ vcpus: String(spec.vcpus), memoryMib: String(spec.memoryBytes / MIB), labels: labelsText(labels) },
    ...{ antiAffinity: spec.antiAffinity ?? '', restartPolicy: spec.restartPolicy },
  };
}

/** See the module. */
export function EditVm({ vm }: { readonly vm: VmDetail }) {
  const [before, setBefore] = useState({ form: formOf(vm), revision: vm.revision });
  const [form, setForm] = useState(before.form);
  const cache = useQueryClient();
  const patch = patchRequest(before.form, form);
  const isChanged = Object.keys(patch).length > 0;
  const save = useMutation({
    meta: { shownInPlace: true },
    mutationFn: () => {
      const header = { 'If-Match': before.revision };
      return dataOf(http.PATCH('/v1/vms/{vm}', { params: { path: { vm: vm.name }, header }, body: patch }));
    },
    onSuccess: ({ revision }) => {
      tell(texts.saved(vm.name));
      setBefore({ form, revision });
      void cache.invalidateQueries({ queryKey: vmQuery(vm.name).queryKey });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    save.mutate();
  };
  const text = (field: keyof EditedVm, hint: string | null = null) => (
    <TextInput
      label={texts[field]}
      {...(hint === null ? {} : { description: hint })}
      value={form[field]}
      onChange={({ currentTarget: { value } }) => setForm({ ...form, [field]: value })}
    />
  );
  return (
    <Section title={TEXTS.vm.tabs.edit}>
      <form className="form" onSubmit={submit}>
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
            onChange={({ currentTarget: { value } }) => setForm({ ...form, restartPolicy: value })}
          />
        </div>
        <AdmissionSays
          request={isChanged ? patch : null}
          ask={(signal) =>
            dataOf(http.POST('/v1/vms/{vm}/check', { params: { path: { vm: vm.name } }, body: patch, signal }))
          }
          fine={() => TEXTS.admission.changed(vm.name)}
        />
        {save.error === null ? null : <Problem error={save.error} />}
        {isChanged ? <GpCommand command={patchCommand(vm.name, patch)} /> : null}
        <div className="form-end">
          <Button type="submit" disabled={!isChanged} loading={save.isPending}>
            {TEXTS.save}
          </Button>
        </div>
      </form>
    </Section>
  );
}
