/** API tokens. */
import { Button, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { tokensQuery } from '../../api/queries.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { GpCommand } from '../../ui/command.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { Problem } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';
import { Secret } from './secret.tsx';

const { settings: texts } = TEXTS;

/** See the module's comment. */
export function Tokens() {
  const cache = useQueryClient();
  const tokens = useQuery(tokensQuery);
  const [name, setName] = useState('');
  const again = (): void => void cache.invalidateQueries({ queryKey: tokensQuery.queryKey });
  const create = useMutation({
    meta: { shownInPlace: true },
    mutationFn: () => dataOf(http.POST('/v1/tokens', { body: { name } })),
    onSuccess: again,
  });
  const revoke = useMutation({
    mutationFn: (token: string) => dataOf(http.DELETE('/v1/tokens/{token}', { params: { path: { token } } })),
    onSuccess: again,
  });
  return (
    <>
      {tokens.error === null ? null : <Problem error={tokens.error} />}
      <SmallTable
        heads={texts.tokenHeads}
        rows={(tokens.data ?? []).map((token) => ({
          key: token.id,
          cells: [
            token.name,
            timeText(token.createdAt),
            <button key="revoke" type="button" className="quiet" onClick={() => revoke.mutate(token.name)}>
              {texts.revoke}
            </button>,
          ],
        }))}
      />
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate();
        }}
      >
        <TextInput
          label={texts.newToken}
          value={name}
          autoComplete="off"
          onChange={({ currentTarget }) => setName(currentTarget.value)}
        />
        {create.error === null ? null : <Problem error={create.error} />}
        {create.data === undefined ? null : <Secret secret={create.data.token} />}
        <GpCommand command={gpCommand(['token', 'create', name === '' ? 'NAME' : name])} />
        <div className="form-end">
          <Button size="xs" type="submit" disabled={name === ''} loading={create.isPending}>
            {TEXTS.create}
          </Button>
        </div>
      </form>
    </>
  );
}
