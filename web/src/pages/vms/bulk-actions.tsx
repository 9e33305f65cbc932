/** Actions on many VMs: one request and one task, however many there are. */
import { Button } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import type { BulkAction, Vm } from '../../api/types.ts';
import { countText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { GpCommand } from '../../ui/command.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { tell } from '../../ui/notices.tsx';

const ACTIONS = ['start', 'stop', 'suspend', 'resume', 'migrate', 'delete'] as const;
type Action = (typeof ACTIONS)[number];
const { vmActions: names } = TEXTS;
/** `gp` calls a suspension a pause. */
const VERBS: Readonly<Record<Action, string>> = {
  ...{ start: 'start', stop: 'stop', suspend: 'pause', resume: 'resume', migrate: 'migrate', delete: 'delete' },
};
/** The most names that are spelled out in the command: nobody reads a longer one. */
const NAMES_MAX = 20;

interface BulkProps {
  readonly vms: readonly Vm[];
  readonly done: () => void;
}

/** See the module's comment. */
export function BulkActions({ vms, done }: BulkProps) {
  const [asked, setAsked] = useState<Action | null>(null);
  const act = useMutation({
    mutationFn: (action: Action) => {
      const body: BulkAction = { action, vms: vms.map(({ id }) => id) };
      return dataOf(http.POST('/v1/vms/actions', { body }));
    },
    onSuccess: (_task, action) => {
      tell(TEXTS.actionBegan(names[action], countText(vms.length, 'VM')));
      setAsked(null);
      done();
    },
  });
  return (
    <>
      {ACTIONS.map((action) => (
        <Button key={action} size="compact-xs" variant="default" onClick={() => setAsked(action)}>
          {names[action]}
        </Button>
      ))}
      {asked === null ? null : (
        <Dialog
          title={TEXTS.actionBegan(names[asked], countText(vms.length, 'VM'))}
          action={names[asked]}
          isDangerous={asked === 'delete'}
          isDisabled={act.isPending}
          onClose={() => setAsked(null)}
          onAct={() => act.mutate(asked)}
        >
          <p>{TEXTS.vm.bulk(namesOf(vms))}</p>
          <GpCommand command={gpCommand(['vm', VERBS[asked], ...vms.slice(0, NAMES_MAX).map(({ name }) => name)])} />
        </Dialog>
      )}
    </>
  );
}

function namesOf(vms: readonly Vm[]): string {
  const named = vms.slice(0, NAMES_MAX).map(({ name }) => name);
  return vms.length > NAMES_MAX ? `${named.join(', ')}, …` : named.join(', ');
}
