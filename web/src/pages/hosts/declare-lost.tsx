/** Gives up a host whose machine is gone for good: what happens is named by the API before it is confirmed. */
import { useMutation, useQuery } from '@tanstack/react-query';
import { CodedError } from '../../../../src/base/errors.ts';
import { dataOf, http } from '../../api/client.ts';
import { TEXTS } from '../../texts/texts.ts';
import { ActionButton, type Actions } from '../../ui/action-button.tsx';
import { useSearch } from '../../ui/address.ts';
import { Dialog } from '../../ui/dialog.tsx';
import { tell } from '../../ui/notices.tsx';
import { Waiting } from '../../ui/page.tsx';

const { host: texts } = TEXTS;

interface DeclareLostProps {
  readonly name: string;
  readonly actions: Actions;
}

/** See the module. */
export function DeclareLost({ name, actions }: DeclareLostProps) {
  const { search, setSearch } = useSearch();
  return (
    <>
      <ActionButton action="declare-lost" {...{ actions }} onAct={() => setSearch({ do: 'declare-lost' })}>
        {texts.declareLost}
      </ActionButton>
      {search['do'] === 'declare-lost' ? <LossDialog name={name} onClose={() => setSearch({ do: '' })} /> : null}
    </>
  );
}

function LossDialog({ name, onClose }: { readonly name: string; readonly onClose: () => void }) {
  const { data: loss } = useQuery({ queryKey: ['host-loss', name], queryFn: () => lossOf(name), staleTime: 0 });
  const declare = useMutation({
    mutationFn: () => remove(name, { lost: true, confirmed: true }),
    onSuccess: () => tell(TEXTS.actionBegan(texts.declareLost, name)),
  });
  return (
    <Dialog
      title={TEXTS.actionBegan(texts.declareLost, name)}
      action={texts.declareLost}
      isDangerous
      isDisabled={loss === undefined}
      onClose={onClose}
      onAct={() => {
        onClose();
        declare.mutate();
      }}
    >
      {loss === undefined ? <Waiting /> : <p>{loss}</p>}
      <p>{texts.lostWarning}</p>
    </Dialog>
  );
}

function remove(host: string, query: { readonly lost: true; readonly confirmed?: true }) {
  return dataOf(http.DELETE('/v1/hosts/{host}', { params: { path: { host }, query } }));
}

/** What the API says would happen: it refuses what is not confirmed, and names that. */
async function lossOf(name: string): Promise<string> {
  try {
    await remove(name, { lost: true });
    return '';
  } catch (error) {
    if (error instanceof CodedError && error.code === 'conflict') return error.message;
    throw error;
  }
}
