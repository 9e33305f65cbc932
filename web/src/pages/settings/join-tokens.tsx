/** One-time tokens with which machines join. */
import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { GpCommand } from '../../ui/command.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { Problem } from '../../ui/page.tsx';
import { Secret } from './secret.tsx';

const { settings: texts } = TEXTS;
const ROLES = ['host', 'storage', 'control'] as const;

/** See the module's comment. */
export function JoinTokens() {
  const [role, setRole] = useState<(typeof ROLES)[number]>('host');
  const [name, setName] = useState('');
  const create = useMutation({
    meta: { shownInPlace: true },
    mutationFn: () => dataOf(http.POST('/v1/join-tokens', { body: { role, name } })),
  });
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        create.mutate();
      }}
    >
      <p className="hint">{texts.joinHint}</p>
      <div className="form-row">
        <NativeSelect
          label={texts.role}
          value={role}
          data={[...ROLES]}
          onChange={({ currentTarget }) => setRole(ROLES.find((each) => each === currentTarget.value) ?? 'host')}
        />
        <TextInput
          label={texts.nodeName}
          value={name}
          autoComplete="off"
          onChange={({ currentTarget }) => setName(currentTarget.value)}
        />
      </div>
      {create.error === null ? null : <Problem error={create.error} />}
      {create.data === undefined ? null : (
        <>
          <Secret secret={create.data.token} />
          <p className="hint">{texts.validUntil(timeText(create.data.expiresAt))}</p>
        </>
      )}
      <GpCommand command={gpCommand(['join-token', 'create', role, name === '' ? 'NAME' : name])} />
      <div className="form-end">
        <Button size="xs" type="submit" disabled={name === ''} loading={create.isPending}>
          {TEXTS.create}
        </Button>
      </div>
    </form>
  );
}
